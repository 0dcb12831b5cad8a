"""Endpoints of SageMaker: what each environment runs, and how that changes.

Three kinds of things lie behind each other, and this module alone makes them:

    model          the image, an artifact in the bucket, and in its variables the release that it is
    configuration  the models that share the requests as variants, `stable` and perhaps `canary`
    endpoint       points to one configuration, and is moved to the next

Models and configurations are named after what they consist of, and never change: making one again
finds it. So a deployment that was cut off is taken up by the same call. SageMaker starts the machines
of a new configuration beside the old ones, and moves the requests when the new ones answer /ping;
when they do not, the old ones go on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

from botocore.exceptions import ClientError

from twoloops import config
from twoloops.contracts.release import Deployment, Release, Status, Traffic, UnfitError
from twoloops.errors import ProjectError
from twoloops.platforms.aws import bucket, images, machines
from twoloops.platforms.aws.account import account, client, explain_errors, settings, tags
from twoloops.platforms.aws.connection import Endpoint
from twoloops.platforms.aws.machines import Service
from twoloops.platforms.aws.metrics import traffic_of
from twoloops.platforms.shared.images import SERVE
from twoloops.platforms.shared.objects import store_release

STABLE, CANARY = "stable", "canary"  # as infra/modules/monitoring names them
MODEL_FIELDS = {"version": "MODEL_VERSION", "identity": "MODEL_IDENTITY", "registered_at": "MODEL_REGISTERED_AT"}
DEPLOYER = "Deployer"  # the tag that says who has made a configuration
MOVING = {"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"}
ANSWERING = {"InService", "Updating", "SystemUpdating", "RollingBack"}
BROKEN = {"Failed", "OutOfService", "UpdateRollbackFailed"}
NO_MACHINES = "InsufficientInstanceCapacity"
START_SECONDS = 300  # in which a container must answer /ping
CHANGE_SECONDS = 3600.0
FIRST_LOOK, LONGEST_WAIT = 0.5, 10.0  # seconds between two looks at a change: more as it takes longer
LOG_LINES = 5


def deployment(environment: str) -> Deployment | None:
    """Return what the environment was last told to run, or None."""
    found = _endpoint(_endpoint_name(environment))
    return _deployment(_target_configuration(found)) if found else None


def deploy(environment: str, wanted: Deployment) -> None:
    """Let the environment run `wanted`, and return when it does.

    It can be repeated at any time: what is under way ends first, and what runs already is left as it is.

    Raises:
        UnfitError: a model does not come up; what ran before goes on.
        ProjectError: an artifact, the image or machines cannot be had, or AWS refuses.
    """
    name = _endpoint_name(environment)
    size = machines.load().serving[environment]
    before = _wait_until_settled(name)
    if before and before["EndpointStatus"] in BROKEN:
        _delete(name)  # SageMaker allows nothing else
        before = None
    configuration = _configuration(environment, name, wanted, size)
    if before is None:
        with _changing(name, "Making"):
            client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=configuration, Tags=tags())
    elif before["EndpointConfigName"] != configuration:
        _drain_canary(name, before, wanted)
        _update(name, configuration, size)
    after = _wait_until_settled(name)
    if after is None or after["EndpointStatus"] != "InService" or after["EndpointConfigName"] != configuration:
        raise _clean_up_failure(name, before, after, configuration)
    _scale(name, size)
    _clear(name, configuration)


def status(environment: str) -> Status | None:
    """Return how the environment's service is, or None when there is none."""
    name = _endpoint_name(environment)
    found = _endpoint(name)
    if found is None:
        return None
    runs, variants = _deployment(_serving_configuration(found)), found.get("ProductionVariants", [])
    return Status(
        ready=found["EndpointStatus"] in ANSWERING,
        stable=runs.stable.version,
        canary=runs.canary.version if runs.canary else None,
        share=_share({each["VariantName"]: each.get("CurrentWeight", 0.0) for each in variants}),
        problem=_problem(name, found, runs),
    )


def endpoint(environment: str) -> Endpoint:
    """Return where the environment's service answers.

    Raises:
        ProjectError: there is none.
    """
    return Endpoint(_running(environment)["EndpointName"])


def traffic(environment: str) -> dict[str, Traffic]:
    """Return what SageMaker has counted for each version since the last change; late.

    Raises:
        ProjectError: there is no service, or its figures cannot be had.
    """
    found = _running(environment)
    runs, since = _deployment(_serving_configuration(found)), found["LastModifiedTime"]
    variants = {STABLE: runs.stable} | ({CANARY: runs.canary} if runs.canary else {})
    return {each.version: traffic_of(found["EndpointName"], name, since) for name, each in variants.items()}


def exists(environment: str) -> bool:
    """Say whether the environment has an endpoint, well or not."""
    return _endpoint(_endpoint_name(environment)) is not None


def remove(environment: str) -> None:
    """Delete the environment's endpoint, and all that this module made for it."""
    name = _endpoint_name(environment)
    if _wait_until_settled(name):
        _delete(name)
    _stop_scaling(name)
    _clear(name, None)


@contextmanager
def lock(what: str) -> Iterator[None]:
    """See to it that nobody else changes what runs; SageMaker itself refuses a second change meanwhile.

    Raises:
        ProjectError: somebody else's change is under way.
    """
    with explain_errors("Looking who is logged in"):
        me = client("sts").get_caller_identity()["Arn"]
    for name in settings().environments.values():
        found = _endpoint(name)
        if found and "PendingDeploymentSummary" in found:
            who = _find_deployer(_target_configuration(found))
            if who != me:
                since = found["PendingDeploymentSummary"].get("StartTime", found["LastModifiedTime"])
                raise _busy(name, f" by {who} since {since:%Y-%m-%d %H:%M} UTC")
    yield


# ------------------------------------------------------------------ what is there


def _endpoint_name(environment: str) -> str:
    """Return the name of an environment's endpoint."""
    config.current().check_environment(environment)
    names = settings().environments
    if environment not in names:
        raise ProjectError(
            f"The account knows no environment {environment!r}, only {', '.join(names)}.",
            hint="infra/bootstrap has been applied before it was added: apply it again, as infra/README.md tells.",
        )
    return names[environment]


def _endpoint(name: str) -> dict[str, Any] | None:
    with explain_errors(f"Looking at the endpoint {name}"):
        try:
            found: dict[str, Any] = client("sagemaker").describe_endpoint(EndpointName=name)
        except ClientError as error:
            if _is_missing(error):
                return None
            raise
    return found


def _running(environment: str) -> dict[str, Any]:
    found = _endpoint(_endpoint_name(environment))
    if found is None:
        raise ProjectError(
            f"No service runs in {environment}.", hint=f"Start it with the verb 'deploy --to {environment}'."
        )
    return found


def _is_missing(error: ClientError) -> bool:
    """Say whether SageMaker refused because there is no such thing: it has no error of its own for that."""
    return "Could not find" in error.response["Error"].get("Message", "")


def _target_configuration(found: Mapping[str, Any]) -> str:
    """Return the configuration that an endpoint is to have: while it changes, the next one."""
    return str(found.get("PendingDeploymentSummary", found)["EndpointConfigName"])


def _serving_configuration(found: Mapping[str, Any]) -> str:
    """Return the configuration that answers: while the endpoint is made, the one that will."""
    return str(found.get("EndpointConfigName") or _target_configuration(found))


@lru_cache
def _deployment(configuration: str) -> Deployment:
    """Return what a configuration means; it never changes."""
    with explain_errors(f"Looking at the configuration {configuration}"):
        found = client("sagemaker").describe_endpoint_config(EndpointConfigName=configuration)["ProductionVariants"]
        releases = {each["VariantName"]: _release(each["ModelName"]) for each in found}
    share = _share({each["VariantName"]: each["InitialVariantWeight"] for each in found})
    try:
        return Deployment(releases[STABLE], releases.get(CANARY), share)
    except KeyError as error:
        raise _unknown_maker(configuration) from error


def _release(model: str) -> Release:
    said = client("sagemaker").describe_model(ModelName=model)["PrimaryContainer"].get("Environment", {})
    try:
        return Release(**{field: said[variable] for field, variable in MODEL_FIELDS.items()})
    except KeyError as error:
        raise _unknown_maker(model) from error


def _unknown_maker(name: str) -> ProjectError:
    return ProjectError(
        f"{name} is not as the verb 'deploy' makes it: somebody else has made it.",
        hint="Delete the endpoint in the console of SageMaker, and deploy again.",
    )


def _share(weights: Mapping[str, float]) -> float:
    """Return the canary's share of the requests."""
    total = sum(weights.values())
    return round(weights.get(CANARY, 0.0) / total, 4) if total else 0.0


def _problem(name: str, found: Mapping[str, Any], runs: Deployment) -> str | None:
    now = found["EndpointStatus"]
    if now in BROKEN:
        return f"{now}: {found.get('FailureReason', 'SageMaker does not say why')}"
    if now == "RollingBack":
        return "SageMaker takes the last change back"
    return _find_alarm(name, found["LastModifiedTime"]) if runs.canary else None


def _find_alarm(name: str, since: Any) -> str | None:
    """Return which alarm of the canary has begun to ring since it takes requests."""
    with explain_errors("Looking at the canary's alarms"):
        alarms = client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{name}--{CANARY}-", StateValue="ALARM")
    for alarm in alarms["MetricAlarms"]:
        if alarm["StateUpdatedTimestamp"] >= since:
            return f"the alarm {alarm['AlarmName']} rings: {alarm.get('StateReason', '')}".rstrip(": ")
    return None


def _find_deployer(configuration: str) -> str:
    arn = f"arn:aws:sagemaker:{account().region}:{account().account}:endpoint-config/{configuration}"
    with explain_errors(f"Looking who made {configuration}"):
        tags = client("sagemaker").list_tags(ResourceArn=arn)["Tags"]
    return next((tag["Value"] for tag in tags if tag["Key"] == DEPLOYER), "somebody else")


# ------------------------------------------------------------------ what is made


def _configuration(environment: str, name: str, wanted: Deployment, size: Service) -> str:
    """Make a configuration and its models, unless they are there, and return its name."""
    share = wanted.share if wanted.canary else 0.0
    variants = [_variant(STABLE, _model(environment, name, wanted.stable), size, 1 - share, size.least)]
    if wanted.canary:
        variants.append(_variant(CANARY, _model(environment, name, wanted.canary), size, share, 1))
    content = {"ProductionVariants": variants, "KmsKeyId": settings().key_arn}
    called = _name_by_content(name, content)
    with explain_errors("Looking who is logged in"):
        me = client("sts").get_caller_identity()["Arn"]
    own = [*tags(), {"Key": DEPLOYER, "Value": me}]
    _make(called, lambda: client("sagemaker").create_endpoint_config(EndpointConfigName=called, Tags=own, **content))
    return called


def _variant(name: str, model: str, size: Service, weight: float, count: int) -> dict[str, Any]:
    return {
        "VariantName": name,
        "ModelName": model,
        "InstanceType": size.machine,
        "InitialInstanceCount": count,
        "InitialVariantWeight": round(weight, 4),
        "ContainerStartupHealthCheckTimeoutInSeconds": START_SECONDS,
    }


def _model(environment: str, name: str, release: Release) -> str:
    known = settings()
    folder = f"{store_release(bucket, known.home, release)}/"
    artifact = {"S3Uri": folder, "S3DataType": "S3Prefix", "CompressionType": "None"}
    content = {
        "PrimaryContainer": {
            "Image": images.reference(SERVE),
            "ModelDataSource": {"S3DataSource": artifact},
            "Environment": {variable: getattr(release, field) for field, variable in MODEL_FIELDS.items()}
            | {"AWS_REGION": account().region, "SERVE_CAPTURES": f"{known.home}/captures/{environment}"},
        },
        "ExecutionRoleArn": known.serving_role_arns[environment],
        **known.network,
    }
    called = _name_by_content(name, content)
    _make(called, lambda: client("sagemaker").create_model(ModelName=called, Tags=tags(), **content))
    return called


def _name_by_content(name: str, content: Mapping[str, Any]) -> str:
    """Return a name that only this very content has."""
    return f"{name}--{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]}"


def _make(name: str, make: Callable[[], Any]) -> None:
    with explain_errors(f"Making {name}"):
        try:
            make()
        except ClientError as error:
            if "already existing" not in error.response["Error"].get("Message", ""):
                raise


def _clear(name: str, used: str | None) -> None:
    """Delete the environment's configurations and models that the endpoint does not use any more."""
    service = client("sagemaker")
    with explain_errors("Deleting what is used no more"):
        models = set()
        if used:
            variants = service.describe_endpoint_config(EndpointConfigName=used)["ProductionVariants"]
            models = {each["ModelName"] for each in variants}
        kinds = [
            ("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName", service.delete_endpoint_config, {used}),
            ("list_models", "Models", "ModelName", service.delete_model, models),
        ]
        for listing, kind, key, delete, kept in kinds:
            for page in service.get_paginator(listing).paginate(NameContains=f"{name}--"):
                for each in page[kind]:
                    if each[key].startswith(f"{name}--") and each[key] not in kept:
                        delete(**{key: each[key]})


# ------------------------------------------------------------------ what is changed


@contextmanager
def _changing(name: str, what: str) -> Iterator[None]:
    """Tell in words when SageMaker refuses a change because another one is under way."""
    with explain_errors(f"{what} the endpoint {name}"):
        try:
            yield
        except ClientError as error:
            if "in-progress" in error.response["Error"].get("Message", ""):
                raise _busy(name, "") from error
            raise


def _busy(name: str, by: str) -> ProjectError:
    return ProjectError(
        f"The endpoint {name} is being changed{by}.",
        hint="Wait for the end of that, some minutes, and run the same verb again. 'status' tells what runs.",
    )


def _drain_canary(name: str, before: Mapping[str, Any], wanted: Deployment) -> None:
    """Send no more requests to a canary that is to go: that takes seconds, and the change itself minutes."""
    runs = _deployment(before["EndpointConfigName"])
    if runs.canary is None or wanted != Deployment(runs.stable):
        return
    weights = [{"VariantName": STABLE, "DesiredWeight": 1.0}, {"VariantName": CANARY, "DesiredWeight": 0.0}]
    with _changing(name, "Taking the requests from the canary of"):
        client("sagemaker").update_endpoint_weights_and_capacities(
            EndpointName=name, DesiredWeightsAndCapacities=weights
        )
    _wait_until_settled(name)


def _update(name: str, configuration: str, size: Service) -> None:
    """Move the endpoint to a configuration; where scaling decides how many machines there are, they remain."""
    changed = ["DesiredWeight"] if size.scales else ["DesiredWeight", "DesiredInstanceCount"]
    with _changing(name, "Changing"):
        client("sagemaker").update_endpoint(
            EndpointName=name,
            EndpointConfigName=configuration,
            RetainAllVariantProperties=True,
            ExcludeRetainedVariantProperties=[{"VariantPropertyType": each} for each in changed],
        )


def _wait_until_settled(name: str) -> dict[str, Any] | None:
    """Return the endpoint when no change of it is under way any more."""
    begin, wait = time.monotonic(), FIRST_LOOK
    while (found := _endpoint(name)) and found["EndpointStatus"] in MOVING:
        if time.monotonic() - begin > CHANGE_SECONDS:
            raise ProjectError(
                f"The endpoint {name} has been {found['EndpointStatus']} for {CHANGE_SECONDS / 60:.0f} minutes.",
                hint="SageMaker's console tells what it waits for. Run the same verb again: it goes on from there.",
            )
        time.sleep(wait)
        wait = min(1.5 * wait, LONGEST_WAIT)
    return found


def _delete(name: str) -> None:
    with _changing(name, "Deleting"):
        client("sagemaker").delete_endpoint(EndpointName=name)
    _wait_until_settled(name)


def _clean_up_failure(
    name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, configuration: str
) -> ProjectError:
    """Take away what did not come up, and return what to tell."""
    if after is None or (before and after["EndpointConfigName"] not in (before["EndpointConfigName"], configuration)):
        return _busy(name, " by somebody else")
    reason = after.get("FailureReason", "SageMaker does not say why")
    lines = _read_log(name)
    if before is None:
        _delete(name)
    _clear(name, before["EndpointConfigName"] if before else None)
    if NO_MACHINES in reason:
        return ProjectError(
            f"AWS has no machine for the endpoint {name} now: {reason}",
            hint="Run the same verb again later, or name another machine in infra/machines.yaml.",
        )
    what = "what ran before goes on" if before else "nothing runs there"
    return UnfitError(
        f"{configuration} did not come up, and {what}: {reason}" + "".join(f"\n  {line}" for line in lines),
        hint=f"The log group /aws/sagemaker/Endpoints/{name} in CloudWatch says more.",
    )


def _read_log(name: str) -> list[str]:
    """Return the last lines of the service's log, if there are any and they may be read."""
    since = int((time.time() - START_SECONDS) * 1000)
    with suppress(ProjectError), explain_errors("Reading the log"):
        pages = client("logs").get_paginator("filter_log_events")
        found = pages.paginate(logGroupName=f"/aws/sagemaker/Endpoints/{name}", startTime=since)
        return [event["message"].rstrip() for page in found for event in page["events"]][-LOG_LINES:]
    return []


# ------------------------------------------------------------------ how many machines


def _scale(name: str, size: Service) -> None:
    """Let the number of the stable version's machines follow the requests, or not any more."""
    if not size.scales:
        _stop_scaling(name)
        return
    target = _scaling_target(name)
    with explain_errors(f"Setting how {name} scales"):
        service = client("application-autoscaling")
        service.register_scalable_target(**target, MinCapacity=size.least, MaxCapacity=size.most)
        service.put_scaling_policy(
            **target,
            PolicyName=name,
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": float(size.requests_per_minute or 0),
                "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
            },
        )


def _stop_scaling(name: str) -> None:
    service, target = client("application-autoscaling"), _scaling_target(name)
    with explain_errors(f"Ending how {name} scales"):
        found = service.describe_scalable_targets(
            ServiceNamespace=target["ServiceNamespace"], ResourceIds=[target["ResourceId"]]
        )
        if found["ScalableTargets"]:
            service.deregister_scalable_target(**target)


def _scaling_target(name: str) -> dict[str, str]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/{STABLE}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
