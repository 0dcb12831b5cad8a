"""Endpoints of SageMaker. AWS's answers are given by botocore's Stubber, which checks each call against the API."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore import exceptions
from botocore.response import StreamingBody
from botocore.stub import ANY, Stubber
from twoloops import artifact, registry
from twoloops.contracts.client import SilentError
from twoloops.contracts.release import Deployment, Release, UnfitError
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.platforms import aws as platform
from twoloops.platforms.aws import account, bucket, connection, endpoints, machines, metrics
from twoloops.platforms.shared.objects import store_release

from tests.engine.support.aws_stubs import ACCOUNT, REGION, machines_file
from tests.engine.support.project import Project

FIRST, LAST = ENVIRONMENTS = ("staging", "production")
NAMES = {name: f"project--{name}" for name in ENVIRONMENTS}
NAME = NAMES[LAST]
ARN = "arn:aws:sagemaker:eu-west-1:1:any/thing"
ME = f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/me"
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
ONE, TWO = Release("1", "a" * 64, "2026-01-01"), Release("2", "b" * 64, "2026-01-02")
STUBBED = ("sagemaker", "cloudwatch", "logs", "sts", "application-autoscaling", "s3")

Stubs = dict[str, Stubber]


@pytest.fixture
def aws(configured: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubs]:
    """Give a stub of each service; every answer that a test adds must be asked for."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    given = account.Settings(
        bucket="data",
        key_arn=f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1",
        image_repository="registry/image",
        model_package_group="project",
        tracking_uri=None,
        training_role_arn="arn:aws:iam::1:role/training-of-project",
        training_pipeline="project--train",
        serving_role_arns={name: f"arn:aws:iam::{ACCOUNT}:role/serving-{name}" for name in NAMES},
        schedule_role_arns={},
        flow_role_arns={},
        environments=NAMES,
        subnet_ids=["subnet-1"],
        security_group_id="sg-1",
    )
    monkeypatch.setattr(endpoints, "settings", lambda: given)
    monkeypatch.setattr(endpoints.images, "reference", lambda kind: f"registry/image@sha256:{kind}")
    monkeypatch.setattr(endpoints, "store_release", lambda _, home, release: f"{home}/models/{release.identity}")
    monkeypatch.setattr(endpoints, "FIRST_LOOK", 0.0)
    account._client.cache_clear()
    endpoints._deployment.cache_clear()
    with ExitStack() as stack:
        stubs = {service: stack.enter_context(Stubber(account.client(service))) for service in STUBBED}
        yield stubs
        for stub in stubs.values():
            stub.assert_no_pending_responses()
    account._client.cache_clear()


def told(status: str, configuration: str | None = "old", **more: Any) -> dict[str, Any]:
    """Return what DescribeEndpoint answers."""
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/{NAME}"
    found = {"EndpointName": NAME, "EndpointArn": arn, "EndpointStatus": status, "CreationTime": NOW}
    return found | {"LastModifiedTime": NOW} | ({"EndpointConfigName": configuration} if configuration else {}) | more


def looks(aws: Stubs, *answers: dict[str, Any] | None, name: str = NAME) -> None:
    """Let DescribeEndpoint answer so, one after the other; None: there is none."""
    for answer in answers:
        if answer is None:
            message = f"Could not find endpoint {name}."
            aws["sagemaker"].add_client_error("describe_endpoint", "ValidationException", message)
        else:
            aws["sagemaker"].add_response("describe_endpoint", answer, {"EndpointName": name})


def means(aws: Stubs, configuration: str, **releases: tuple[Release, float]) -> None:
    """Let a configuration be described, and its models."""
    variants = [
        {"VariantName": variant, "ModelName": f"model-{release.version}", "InitialVariantWeight": weight}
        for variant, (release, weight) in releases.items()
    ]
    configured(aws, configuration, variants)
    for release, _ in releases.values():
        said = {variable: getattr(release, field) for field, variable in endpoints.MODEL_FIELDS.items()}
        model(aws, release.version, said)


def configured(aws: Stubs, configuration: str, variants: list[dict[str, Any]]) -> None:
    answer = {"EndpointConfigName": configuration, "EndpointConfigArn": ARN, "CreationTime": NOW}
    expected = {"EndpointConfigName": configuration}
    aws["sagemaker"].add_response("describe_endpoint_config", answer | {"ProductionVariants": variants}, expected)


def model(aws: Stubs, number: str, said: dict[str, str]) -> None:
    answer = {"ModelName": f"model-{number}", "ModelArn": ARN, "CreationTime": NOW}
    answer |= {"PrimaryContainer": {"Environment": said}}
    aws["sagemaker"].add_response("describe_model", answer, {"ModelName": f"model-{number}"})


def logged_in(aws: Stubs) -> None:
    aws["sts"].add_response("get_caller_identity", {"Account": ACCOUNT, "Arn": ME})


def made(aws: Stubs, models: int) -> list[dict[str, Any]]:
    """Let models and a configuration be made; return what the calls were, once they are."""
    calls: list[dict[str, Any]] = []
    for _ in range(models):
        aws["sagemaker"].add_response("create_model", {"ModelArn": ARN})
    logged_in(aws)
    aws["sagemaker"].add_response("create_endpoint_config", {"EndpointConfigArn": ARN})

    def note(params: dict[str, Any], **_: Any) -> None:
        calls.append(params)

    for name in ("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint"):
        account.client("sagemaker").meta.events.register(f"provide-client-params.sagemaker.{name}", note)
    return calls


def cleared(aws: Stubs, kept: str | None, *gone: str) -> None:
    """Let what is used no more be looked for and deleted."""
    if kept:
        configured(aws, kept, [{"VariantName": "stable", "ModelName": "model-kept", "InitialVariantWeight": 1.0}])
    dated = {"CreationTime": NOW}
    found = [{"EndpointConfigName": each, "EndpointConfigArn": ARN, **dated} for each in (*gone, *[kept or NAME])]
    expected = {"NameContains": f"{NAME}--"}
    aws["sagemaker"].add_response("list_endpoint_configs", {"EndpointConfigs": found}, expected)
    for each in gone:
        aws["sagemaker"].add_response("delete_endpoint_config", {}, {"EndpointConfigName": each})
    aws["sagemaker"].add_response("list_models", {"Models": []}, expected)


def scaled(aws: Stubs) -> None:
    aws["application-autoscaling"].add_response("register_scalable_target", {})
    aws["application-autoscaling"].add_response("put_scaling_policy", {"PolicyARN": "a"})


def name_of(aws: Stubs, wanted: Deployment, environment: str = LAST) -> str:
    """Return the name of the configuration that means `wanted`: making it anew gives the same."""
    made(aws, 2 if wanted.canary else 1)
    size = machines.load().serving[environment]
    return endpoints._configuration(environment, NAMES[environment], wanted, size)


def test_nothing_runs(aws: Stubs) -> None:
    looks(aws, None, None, None, None)
    assert platform.deployment(LAST) is None
    assert platform.status(LAST) is None
    for call in (platform.endpoint, platform.traffic):
        with pytest.raises(ProjectError, match=f"No service runs in {LAST}"):
            call(LAST)
    with pytest.raises(ProjectError, match="There is no environment 'nowhere'"):
        platform.deployment("nowhere")
    assert platform.lasts()


def test_what_runs_is_read_from_what_sagemaker_describes(aws: Stubs) -> None:
    looks(aws, told("Updating", PendingDeploymentSummary={"EndpointConfigName": "new"}))
    means(aws, "new", stable=(ONE, 0.9), canary=(TWO, 0.1))
    assert platform.deployment(LAST) == Deployment(ONE, TWO, 0.1)
    looks(aws, told("InService"))
    configured(aws, "old", [{"VariantName": "stable", "ModelName": "model-1", "InitialVariantWeight": 1.0}])
    model(aws, "1", {})
    with pytest.raises(ProjectError, match="somebody else has made it"):
        platform.deployment(LAST)


def test_an_endpoint_is_made(aws: Stubs) -> None:
    configuration = name_of(aws, Deployment(ONE))
    looks(aws, None)
    calls = made(aws, 1)
    aws["sagemaker"].add_response("create_endpoint", {"EndpointArn": ARN})
    looks(aws, told("Creating", None), told("InService", configuration))
    scaled(aws)
    cleared(aws, configuration, f"{NAME}--older")
    platform.deploy(LAST, Deployment(ONE))
    container = calls[0]["PrimaryContainer"]
    assert container["Environment"]["MODEL_VERSION"] == "1"
    assert container["Environment"]["SERVE_CAPTURES"] == f"s3://data/captures/{LAST}"
    assert container["ModelDataSource"]["S3DataSource"]["S3Uri"] == f"s3://data/models/{ONE.identity}/"
    assert calls[0]["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert {"Key": "Deployer", "Value": ME} in calls[1]["Tags"]
    assert calls[2] == {"EndpointName": NAME, "EndpointConfigName": configuration, "Tags": account.tags()}


def test_a_canary_goes_in_two_steps(aws: Stubs) -> None:
    configuration = name_of(aws, Deployment(ONE))
    looks(aws, told("Updating"), told("InService"))  # what is under way ends first
    calls = made(aws, 1)
    means(aws, "old", stable=(ONE, 0.9), canary=(TWO, 0.1))
    weights = [{"VariantName": "stable", "DesiredWeight": 1.0}, {"VariantName": "canary", "DesiredWeight": 0.0}]
    aws["sagemaker"].add_response(
        "update_endpoint_weights_and_capacities",
        {"EndpointArn": ARN},
        {"EndpointName": NAME, "DesiredWeightsAndCapacities": weights},
    )
    looks(aws, told("InService"))
    aws["sagemaker"].add_response("update_endpoint", {"EndpointArn": ARN})
    looks(aws, told("InService", configuration))
    scaled(aws)
    cleared(aws, configuration)
    platform.deploy(LAST, Deployment(ONE))
    # Scaling decides how many machines there are: a deployment must not.
    assert calls[-1]["RetainAllVariantProperties"]
    assert calls[-1]["ExcludeRetainedVariantProperties"] == [{"VariantPropertyType": "DesiredWeight"}]


@pytest.mark.parametrize("runs", [True, False])
def test_a_model_that_does_not_come_up_is_told_with_its_last_words(aws: Stubs, runs: bool) -> None:
    configuration = name_of(aws, Deployment(TWO))
    looks(aws, told("InService") if runs else None)
    made(aws, 1)
    if runs:
        means(aws, "old", stable=(ONE, 1.0))
        aws["sagemaker"].add_response("update_endpoint", {"EndpointArn": ARN})
        looks(aws, told("InService", FailureReason="no ping"))
    else:
        aws["sagemaker"].add_response("create_endpoint", {"EndpointArn": ARN})
        looks(aws, told("Failed", configuration, FailureReason="no ping"))
    aws["logs"].add_response("filter_log_events", {"events": [{"message": "Error: no model\n"}]})
    if not runs:
        aws["sagemaker"].add_response("delete_endpoint", {})
        looks(aws, None)
    cleared(aws, "old" if runs else None)
    with pytest.raises(UnfitError, match=r"did not come up, and .*: no ping\n  Error: no model") as caught:
        platform.deploy(LAST, Deployment(TWO))
    assert ("what ran before goes on" in str(caught.value)) == runs


def test_that_aws_has_no_machine_is_nobodys_fault(aws: Stubs) -> None:
    looks(aws, told("InService"))
    made(aws, 1)
    means(aws, "old", stable=(ONE, 1.0))
    aws["sagemaker"].add_response("update_endpoint", {"EndpointArn": ARN})
    looks(aws, told("InService", FailureReason="InsufficientInstanceCapacity: try again"))
    aws["logs"].add_client_error("filter_log_events", "ResourceNotFoundException")
    cleared(aws, "old")
    with pytest.raises(ProjectError, match="AWS has no machine") as caught:
        platform.deploy(LAST, Deployment(TWO))
    assert not isinstance(caught.value, UnfitError)


def test_somebody_else_changes_it_meanwhile(aws: Stubs) -> None:
    looks(aws, told("InService"))
    made(aws, 1)
    means(aws, "old", stable=(ONE, 1.0))
    message = "Cannot update in-progress endpoint"
    aws["sagemaker"].add_client_error("update_endpoint", "ValidationException", message)
    with pytest.raises(ProjectError, match="is being changed"):
        platform.deploy(LAST, Deployment(TWO))
    looks(aws, told("InService"))
    made(aws, 1)
    aws["sagemaker"].add_response("update_endpoint", {"EndpointArn": ARN})
    looks(aws, told("InService", "a third one"))
    with pytest.raises(ProjectError, match="is being changed by somebody else"):
        platform.deploy(LAST, Deployment(TWO))


@pytest.mark.parametrize(("who", "refused"), [(ME, False), ("arn:aws:sts::1:assumed-role/deploy/you", True)])
def test_a_change_of_somebody_else_is_waited_for(aws: Stubs, who: str, refused: bool) -> None:
    logged_in(aws)
    pending = {"EndpointConfigName": "new", "StartTime": NOW}
    looks(aws, told("Updating", PendingDeploymentSummary=pending), name=NAMES[FIRST])
    aws["sagemaker"].add_response("list_tags", {"Tags": [{"Key": "Deployer", "Value": who}]})
    if refused:
        with pytest.raises(ProjectError, match=r"by .*/you since 2026-01-31 12:00"), platform.lock("A test"):
            pass
        return
    for name in list(NAMES.values())[1:]:
        looks(aws, None, name=name)
    with platform.lock("A test"):
        pass


def test_what_is_wrong_is_told(aws: Stubs) -> None:
    looks(aws, told("InService", ProductionVariants=[{"VariantName": "canary", "CurrentWeight": 1.0}]))
    means(aws, "old", stable=(ONE, 0.5), canary=(TWO, 0.5))
    rings = {"AlarmName": f"{NAME}--canary-errors", "StateReason": "too many"}
    early = rings | {"StateUpdatedTimestamp": NOW - timedelta(hours=1)}
    aws["cloudwatch"].add_response("describe_alarms", {"MetricAlarms": [early, rings | {"StateUpdatedTimestamp": NOW}]})
    found = platform.status(LAST)
    assert found is not None
    assert (found.ready, found.stable, found.canary, found.share) == (True, "1", "2", 1.0)
    assert found.problem == f"the alarm {NAME}--canary-errors rings: too many"
    looks(aws, told("InService"))
    aws["cloudwatch"].add_response("describe_alarms", {"MetricAlarms": [early]})
    found = platform.status(LAST)
    assert found is not None
    assert found.problem is None, "it rang before this canary took requests"
    for now, words in {"RollingBack": "takes the last change back", "Failed": "Failed: no machine"}.items():
        looks(aws, told(now, FailureReason="no machine"))
        found = platform.status(LAST)
        assert found is not None
        assert words in str(found.problem)


def test_figures_come_from_cloudwatch(aws: Stubs) -> None:
    looks(aws, told("InService"))
    means(aws, "old", stable=(ONE, 1.0))
    values = {"requests": [10.0, 4.0], "refused": [1.0], "errors": [2.0], "seconds": [50_000.0], "counted": [10.0, 4.0]}
    values |= {f"below{place}": [100.0, 50.0] for place in range(len(metrics.BOUNDS))}
    results = [
        {"Id": name, "Values": found, "Timestamps": [NOW + timedelta(minutes=place) for place in range(len(found))]}
        for name, found in values.items()
    ]
    aws["cloudwatch"].add_response(
        "get_metric_data",
        {"MetricDataResults": results},
        {"StartTime": NOW, "EndTime": ANY, "MetricDataQueries": ANY},
    )
    found = platform.traffic(LAST)["1"]
    assert (found.answered, found.errors, found.seconds) == (11, 2, 0.05)
    assert found.buckets[0] == (0.001, 12)
    assert found.buckets[-1] == (float("inf"), 14)


def test_nothing_is_left(aws: Stubs) -> None:
    looks(aws, told("InService"))
    assert endpoints.exists(LAST)
    looks(aws, told("InService"))
    aws["sagemaker"].add_response("delete_endpoint", {}, {"EndpointName": NAME})
    looks(aws, told("Deleting"), None)
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{NAME}/variant/stable",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    found = target | {"MinCapacity": 1, "MaxCapacity": 4, "RoleARN": "arn", "CreationTime": NOW}
    aws["application-autoscaling"].add_response("describe_scalable_targets", {"ScalableTargets": [found]})
    aws["application-autoscaling"].add_response("deregister_scalable_target", {}, target)
    cleared(aws, None, f"{NAME}--older")
    platform.remove(LAST)


# ------------------------------------------------------------------ the way in


@pytest.fixture
def runtime(aws: Stubs) -> Iterator[Stubber]:
    connection._runtime_in.cache_clear()
    with Stubber(connection._runtime()) as stub:
        yield stub
        stub.assert_no_pending_responses()
    connection._runtime_in.cache_clear()


def test_a_request_is_handed_on(runtime: Stubber) -> None:
    body = StreamingBody(io.BytesIO(b'{"predictions": []}'), 19)
    given = {"Body": body, "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {"Content-Type": "json"}}}
    expected = {"EndpointName": NAME, "Body": b"{}", "ContentType": "application/json", "CustomAttributes": "deploy-1"}
    runtime.add_response("invoke_endpoint", given, expected)
    endpoint = connection.Endpoint(NAME)
    assert endpoint.url.endswith(f"/endpoints/{NAME}/invocations")
    assert endpoint.reaches("/predict")
    assert not endpoint.reaches("/health/ready")
    with endpoint.connect() as client:
        answer = client.send("POST", "/predict", b"{}", X_Request_ID="deploy-1")
        assert (answer.status, answer.headers, answer.json()) == (200, {"content-type": "json"}, {"predictions": []})
        assert client.send("POST", "/predict", b" " * (connection.LARGEST_BODY + 1)).status == 413
        with pytest.raises(ValueError, match="does not bring GET /ping"):
            client.send("GET", "/ping")


def test_the_services_own_answer_comes_back(runtime: Stubber) -> None:
    fields = {"OriginalStatusCode": 422, "OriginalMessage": '{"error": "a problem"}'}
    runtime.add_client_error("invoke_endpoint", "ModelError", http_status_code=424, modeled_fields=fields)
    with connection.Endpoint(NAME).connect() as client:
        answer = client.send("POST", "/predict", b"{}")
        assert (answer.status, answer.json()) == (422, {"error": "a problem"})
        for code in ("ThrottlingException", "ServiceUnavailable", "ModelNotReadyException"):
            runtime.add_client_error("invoke_endpoint", code)
            answer = client.send("POST", "/predict", b"{}")
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        runtime.add_client_error("invoke_endpoint", "ExpiredTokenException")
        with pytest.raises(ProjectError, match="the login has expired"):
            client.send("POST", "/predict", b"{}")


def test_an_endpoint_that_is_silent(aws: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(**_: Any) -> None:
        raise exceptions.EndpointConnectionError(endpoint_url="https://nowhere")

    monkeypatch.setattr(connection._runtime(), "invoke_endpoint", silent)
    with pytest.raises(SilentError, match="does not answer"):
        connection.Endpoint(NAME).connect().send("POST", "/predict", b"{}")


# ------------------------------------------------------------------ artifacts and machines


def test_an_artifact_is_stored_once(promoted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    release = Release.of(registry.get("1"))
    there: set[str] = set()
    monkeypatch.setattr(bucket, "exists", lambda uri: uri in there)
    monkeypatch.setattr(bucket, "create", lambda content, uri: there.add(uri))
    place = f"s3://data/models/{release.identity}"
    assert store_release(bucket, "s3://data", release) == place
    assert f"{place}/{artifact.MANIFEST}" in there
    monkeypatch.setattr(bucket, "create", lambda *_: pytest.fail("it is there"))
    assert store_release(bucket, "s3://data", release) == place
    with pytest.raises(ProjectError, match="the registry holds"):
        store_release(bucket, "s3://data", Release("1", "c" * 64, ""))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found["training"].update(machine="t2.micro"), "training.machine"),
        (lambda found: found["training"].update(gpus=1), "training.gpus: Extra inputs"),
        (lambda found: found["serving"][LAST].update(most=0), f"serving.{LAST}.most"),
        (lambda found: found["serving"][LAST].update(least=9), "is less than least"),
        (lambda found: found["serving"][LAST].pop("requests_per_minute"), "requests_per_minute is missing"),
        (lambda found: found["serving"].pop(FIRST), "must name these environments"),
    ],
)
def test_bad_machines_are_refused(change: Callable[[Any], Any], words: str) -> None:
    found = example()
    write(found)
    assert machines.load().training.seconds == 4 * 3600
    change(found)
    write(found)
    with pytest.raises(ProjectError, match=words):
        machines.load()


def example() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(machines_file())
    return found


def write(content: Any) -> None:
    paths().machines.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def test_machines_that_cannot_be_read() -> None:
    paths().machines.unlink()
    with pytest.raises(ProjectError, match="does not exist"):
        machines.load()
    write("training: [")
    with pytest.raises(ProjectError, match="not valid YAML"):
        machines.load()
