"""Endpoints of SageMaker for the emulator: they run the model's image for real, or its command as a process.

What a caller sees is as SageMaker shows it: changes take time, new machines come up beside the old ones and take
over when they answer /ping, a change that fails leaves the old ones at work, requests are shared by weight, only
POST /invocations is handed on, and CloudWatch tells the figures later.

A control route scripts what a test needs: POST /moto-api/endpoints with a JSON object of `Control`'s fields.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse

from tests.support.servers import ask, becomes_ready, free_port

from . import containers

METRICS = "AWS/SageMaker"
SETTLED = ("InService", "Failed")
Json = dict[str, Any]


@dataclass
class Control:
    """What the control route sets."""

    command: list[str] = field(default_factory=list)  # serves the folder that is appended; empty: the model's image
    folder: str = "."  # of the command
    seconds: float = 0.2  # that a change takes, beside what the service needs to come up
    delay: float = 0.0  # seconds until CloudWatch tells a figure
    fail_next: str = ""  # reason for which the next new machines do not come up


control = Control()


# ------------------------------------------------------------------ machines


class Machine:
    """One running service of a variant."""

    def __init__(self, variant: str, model: Json) -> None:
        """Bring the artifact from the bucket, and start."""
        self.variant = variant
        self.port = free_port()
        self.name = f"i-{uuid4().hex[:17]}"
        self._folder = tempfile.TemporaryDirectory(prefix="endpoint-")
        root = Path(self._folder.name)
        root.chmod(0o755)
        _download(model["PrimaryContainer"]["ModelDataSource"]["S3DataSource"], root / "model")
        (root / "state").mkdir()
        self.log = (root / "log").open("w+b")
        container = model["PrimaryContainer"]
        environment = (
            container["Environment"] | _login(model["ExecutionRoleArn"]) | {"SAGEMAKER_BIND_TO_PORT": str(self.port)}
        )
        if control.command:
            command = [*control.command, str(root / "model")]
            more = environment | {"PROJECT_STATE": str(root / "state")}
        else:
            mounted = [f"--volume={root / 'model'}:/opt/ml/model:ro"]
            command, more = containers.command(self.name, container["Image"], ["serve"], environment, mounted), {}
        self.process = subprocess.Popen(
            command,
            cwd=control.folder,
            env=os.environ | more,
            stdout=self.log,
            stderr=self.log,
            stdin=subprocess.DEVNULL,
        )

    def answers(self, limit: float) -> bool:
        """Wait until /ping is answered. SageMaker would start again what ends; here that is a failure at once."""
        return becomes_ready(self.process, self.port, "/ping", limit)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
        """Send one request, and return the answer, whatever its status."""
        return ask(self.port, method, path, body, headers)

    def stop(self, name: str) -> None:
        """End it as SageMaker does, and keep its log."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            if not control.command:
                containers.remove(self.name)
        self.log.seek(0)
        stream = f"{self.variant}/{self.name}"
        _keep_log(f"/aws/sagemaker/Endpoints/{name}", stream, self.log.read().decode(errors="replace"))
        self.log.close()
        with suppress(OSError):
            self._folder.cleanup()


def _login(role: str) -> dict[str, str]:
    """Return the variables by which a container has its role's login, and finds the emulator."""
    return {
        "AWS_ENDPOINT_URL": _address(),
        "AWS_ACCESS_KEY_ID": role.rpartition("/")[2],
        "AWS_SECRET_ACCESS_KEY": "testing",
    }


def _address() -> str:
    return f"http://127.0.0.1:{os.environ['MOTO_PORT']}"


def _aws(service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=_address(),
        region_name="eu-west-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def _download(source: Json, target: Path) -> None:
    assert (source["S3DataType"], source["CompressionType"]) == ("S3Prefix", "None"), source
    assert source["S3Uri"].endswith("/"), "SageMaker takes a prefix without its slash for the beginning of a name"
    bucket, _, prefix = source["S3Uri"].removeprefix("s3://").partition("/")
    for each in _aws("s3").list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
        path = target / each["Key"].removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        _aws("s3").download_file(bucket, each["Key"], str(path))


def _keep_log(group: str, stream: str, text: str) -> None:
    logs = _aws("logs")
    with suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": line} for line in text.splitlines() if line.strip()]
    if events:
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


# ------------------------------------------------------------------ endpoints


@dataclass
class Endpoint:
    """An endpoint, and what runs for it."""

    name: str
    arn: str
    configuration: str | None = None
    pending: str | None = None
    status: str = "Creating"
    reason: str | None = None
    made: datetime = field(default_factory=lambda: datetime.now(UTC))
    changed: datetime = field(default_factory=lambda: datetime.now(UTC))
    machines: list[Machine] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    def describe(self) -> Json:
        """Return what DescribeEndpoint answers."""
        found: Json = {
            "EndpointName": self.name,
            "EndpointArn": self.arn,
            "EndpointStatus": self.status,
            "CreationTime": self.made,
            "LastModifiedTime": self.changed,
            "ProductionVariants": [
                {
                    "VariantName": name,
                    "CurrentWeight": weight,
                    "DesiredWeight": weight,
                    "CurrentInstanceCount": self.counts[name],
                    "DesiredInstanceCount": self.counts[name],
                }
                for name, weight in self.weights.items()
            ],
        }
        if self.configuration:
            found["EndpointConfigName"] = self.configuration
        if self.pending:
            found["PendingDeploymentSummary"] = {"EndpointConfigName": self.pending, "StartTime": self.began}
        if self.reason:
            found["FailureReason"] = self.reason
        return found


models: dict[str, Json] = {}
configurations: dict[str, Json] = {}
endpoints: dict[str, Endpoint] = {}
samples: list[tuple[float, str, str, float, int]] = []  # when, endpoint, variant, microseconds, status


def _begin(endpoint: Endpoint, status: str, work: Callable[[], None]) -> None:
    """Change an endpoint in the background, as SageMaker does."""
    endpoint.status, endpoint.reason, endpoint.began = status, None, datetime.now(UTC)

    def run() -> None:
        time.sleep(control.seconds)
        work()

    threading.Thread(target=run, daemon=True).start()


def _replace(endpoint: Endpoint, configuration: str, weights: dict[str, float], counts: dict[str, int]) -> None:
    """Start the machines of a configuration, and let them take over if they come up."""
    variants = configurations[configuration]["ProductionVariants"]
    fault, control.fail_next = control.fail_next, ""
    new = [] if fault else [Machine(each["VariantName"], models[each["ModelName"]]) for each in variants]
    limit = max(each.get("ContainerStartupHealthCheckTimeoutInSeconds", 600) for each in variants)
    ill = next((each for each in new if not each.answers(limit)), None)
    # When the requests move. That the old machines end takes longer, and is no change of the endpoint.
    endpoint.changed, endpoint.pending = datetime.now(UTC), None
    if ill or fault:
        for machine in new:
            machine.stop(endpoint.name)
        endpoint.reason = fault or (
            f"The primary container for production variant {ill.variant if ill else ''} did not pass the ping health "
            "check. Please check CloudWatch logs for this endpoint."
        )
        if endpoint.configuration is None:
            endpoint.configuration = configuration
        endpoint.status = "InService" if endpoint.machines else "Failed"
        return
    old, endpoint.machines = endpoint.machines, new
    endpoint.configuration, endpoint.weights, endpoint.counts = configuration, weights, counts
    endpoint.status = "InService"
    for machine in old:
        machine.stop(endpoint.name)


class _Refused(ServiceException):
    code = "ValidationException"


def _arn(self: BaseResponse, kind: str, name: str) -> str:
    return f"arn:aws:sagemaker:{self.region}:{self.current_account}:{kind}/{name}"


def _find(table: dict[str, Any], self: BaseResponse, kind: str, words: str, name: str) -> Any:
    if name not in table:
        raise _Refused(f'Could not find {words} "{_arn(self, kind, name)}".')
    return table[name]


def _given(self: BaseResponse) -> Json:
    return dict(json.loads(self.body))


def _new(table: dict[str, Json], kind: str, words: str, key: str) -> Callable[[SageMakerResponse], ActionResult]:
    def create(self: SageMakerResponse) -> ActionResult:
        given = _given(self)
        name = given[key]
        if name in table:
            raise _Refused(f'Cannot create already existing {words} "{_arn(self, kind, name)}".')
        if kind == "endpoint-config":
            for each in given["ProductionVariants"]:
                _find(models, self, "model", "model", each["ModelName"])
        table[name] = given | {f"{key[:-4]}Arn": _arn(self, kind, name), "CreationTime": datetime.now(UTC)}
        return ActionResult({f"{key[:-4]}Arn": _arn(self, kind, name)})

    return create


def _shown(table: dict[str, Json], kind: str, words: str, key: str) -> Callable[[SageMakerResponse], ActionResult]:
    def describe(self: SageMakerResponse) -> ActionResult:
        found = _find(table, self, kind, words, self._get_param(key))
        return ActionResult({name: value for name, value in found.items() if name != "Tags"})

    return describe


def _gone(table: dict[str, Json], kind: str, words: str, key: str) -> Callable[[SageMakerResponse], ActionResult]:
    def delete(self: SageMakerResponse) -> ActionResult:
        name = self._get_param(key)
        _find(table, self, kind, words, name)
        used = {each for endpoint in endpoints.values() for each in (endpoint.configuration, endpoint.pending) if each}
        in_use = used | {v["ModelName"] for c in used for v in configurations[c]["ProductionVariants"]}
        # SageMaker does not look, and the endpoint would not come up again after its next maintenance.
        if name in in_use:
            raise _Refused(f"{name} is in use")
        del table[name]
        return ActionResult({})

    return delete


def _listed(table: dict[str, Json], result: str, key: str) -> Callable[[SageMakerResponse], ActionResult]:
    def listing(self: SageMakerResponse) -> ActionResult:
        wanted = self._get_param("NameContains") or ""
        names = ("CreationTime", key, f"{key[:-4]}Arn")
        found = [{name: each[name] for name in names} for each in table.values() if wanted in each[key]]
        return ActionResult({result: found})

    return listing


def _create_endpoint(self: SageMakerResponse) -> ActionResult:
    given = _given(self)
    name, wanted = given["EndpointName"], given["EndpointConfigName"]
    found = _find(configurations, self, "endpoint-config", "endpoint configuration", wanted)
    if name in endpoints:
        raise _Refused(f'Cannot create already existing endpoint "{_arn(self, "endpoint", name)}".')
    endpoint = endpoints[name] = Endpoint(name, _arn(self, "endpoint", name), pending=wanted)
    variants = found["ProductionVariants"]
    weights = {each["VariantName"]: each["InitialVariantWeight"] for each in variants}
    counts = {each["VariantName"]: each["InitialInstanceCount"] for each in variants}
    _begin(endpoint, "Creating", lambda: _replace(endpoint, wanted, weights, counts))
    return ActionResult({"EndpointArn": endpoint.arn})


def _settled(self: SageMakerResponse) -> Endpoint:
    endpoint: Endpoint = _find(endpoints, self, "endpoint", "endpoint", self._get_param("EndpointName"))
    if endpoint.status not in SETTLED:
        raise _Refused(f'Cannot update in-progress endpoint "{endpoint.arn}".')
    return endpoint


def _in_service(self: SageMakerResponse) -> Endpoint:
    endpoint = _settled(self)
    if endpoint.status != "InService":
        raise _Refused(f'Cannot update endpoint "{endpoint.arn}" because it is {endpoint.status}.')
    return endpoint


def _update_endpoint(self: SageMakerResponse) -> ActionResult:
    endpoint, given = _in_service(self), _given(self)
    wanted = given["EndpointConfigName"]
    variants = _find(configurations, self, "endpoint-config", "endpoint configuration", wanted)["ProductionVariants"]
    weights = {each["VariantName"]: each["InitialVariantWeight"] for each in variants}
    counts = {each["VariantName"]: each["InitialInstanceCount"] for each in variants}
    if given.get("RetainAllVariantProperties"):
        excluded = {each["VariantPropertyType"] for each in given.get("ExcludeRetainedVariantProperties", [])}
        if "DesiredInstanceCount" not in excluded:
            counts |= {name: count for name, count in endpoint.counts.items() if name in counts}
        if "DesiredWeight" not in excluded:
            weights |= {name: weight for name, weight in endpoint.weights.items() if name in weights}
    endpoint.pending = wanted
    _begin(endpoint, "Updating", lambda: _replace(endpoint, wanted, weights, counts))
    return ActionResult({"EndpointArn": endpoint.arn})


def _update_weights(self: SageMakerResponse) -> ActionResult:
    endpoint = _in_service(self)

    def change() -> None:
        for each in _given(self)["DesiredWeightsAndCapacities"]:
            endpoint.weights[each["VariantName"]] = each.get("DesiredWeight", endpoint.weights[each["VariantName"]])
            count = each.get("DesiredInstanceCount", endpoint.counts[each["VariantName"]])
            endpoint.counts[each["VariantName"]] = count
        endpoint.changed, endpoint.status = datetime.now(UTC), "InService"

    _begin(endpoint, "Updating", change)
    return ActionResult({"EndpointArn": endpoint.arn})


def _describe_endpoint(self: SageMakerResponse) -> ActionResult:
    found: Endpoint = _find(endpoints, self, "endpoint", "endpoint", self._get_param("EndpointName"))
    return ActionResult(found.describe())


def _list_endpoints(_: SageMakerResponse) -> ActionResult:
    keys = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
    return ActionResult({"Endpoints": [{key: each.describe()[key] for key in keys} for each in endpoints.values()]})


def _delete_endpoint(self: SageMakerResponse) -> ActionResult:
    endpoint = _settled(self)

    def delete() -> None:
        for machine in endpoint.machines:
            machine.stop(endpoint.name)
        del endpoints[endpoint.name]

    _begin(endpoint, "Deleting", delete)
    return ActionResult({})


def tags_of(arn: str) -> list[Json] | None:
    """Return the tags of what this module keeps, or None."""
    kind, _, name = arn.rpartition(":")[2].partition("/")
    table = {"endpoint-config": configurations, "model": models}.get(kind, {})
    return list(table[name].get("Tags", [])) if name in table else None


# ------------------------------------------------------------------ requests


def _invoke(self: SageMakerRuntimeResponse) -> Any:
    name = self.path.split("/")[2]
    endpoint = endpoints.get(name)
    if endpoint is None or not endpoint.machines:
        return _error(400, "ValidationError", f"Endpoint {name} of account {self.current_account} not found.")
    sent = {"Content-Type": self.headers.get("Content-Type", "application/octet-stream")}
    along = self.headers.get("X-Amzn-SageMaker-Custom-Attributes")
    if along:
        sent["X-Amzn-SageMaker-Custom-Attributes"] = along
    body = self.body if isinstance(self.body, bytes) else (self.body or "").encode()
    begin = time.perf_counter()
    while True:
        machine = _chosen(endpoint)
        try:
            with machine.ask("POST", "/invocations", body, sent) as answer:
                status, content, kind = answer.status, answer.read().decode(), answer.headers["Content-Type"]
                break
        except OSError as error:
            if machine in endpoint.machines:  # else it was replaced in this moment
                status, content, kind = 500, str(error), "text/plain"
                break
    variant = machine.variant
    samples.append((time.time(), name, variant, (time.perf_counter() - begin) * 1_000_000, status))
    if status == 200:
        return 200, {"Content-Type": kind, "x-Amzn-Invoked-Production-Variant": variant}, content
    side = "client" if status < 500 else "server"
    message = f'Received {side} error ({status}) from {variant} with message "{content}".'
    more = {"OriginalStatusCode": status, "OriginalMessage": content, "LogStreamArn": endpoint.arn}
    return _error(424, "ModelError", message, **more)


def _chosen(endpoint: Endpoint) -> Machine:
    """Return the machine for a request, by the weights of the variants."""
    machines = endpoint.machines
    return random.choices(machines, [endpoint.weights.get(each.variant, 1e-9) for each in machines])[0]  # noqa: S311


def _error(status: int, code: str, message: str, **more: Any) -> Any:
    headers = {"status": status, "Content-Type": "application/json", "x-amzn-errortype": code}
    return status, headers, json.dumps({"Message": message, **more})


def _metric(name: str, statistic: str, endpoint: str, variant: str, since: float, until: float) -> dict[float, float]:
    """Return a statistic by minute; one that SageMaker or CloudWatch does not have is an error."""
    values: dict[float, list[float]] = defaultdict(list)
    for at, where, which, took, status in list(samples):
        if (where, which) == (endpoint, variant) and since <= at < min(until, time.time() - control.delay):
            value = {
                "Invocations": 1.0,
                "Invocation4XXErrors": float(400 <= status < 500),
                "Invocation5XXErrors": float(status >= 500),
                "ModelLatency": took,
            }[name]
            values[at // 60 * 60].append(value)
    share = re.fullmatch(r"PR\(:(\d+)\)", statistic)
    if share:
        bound = float(share[1])
        return {minute: 100 * sum(v <= bound for v in found) / len(found) for minute, found in values.items()}
    if statistic == "SampleCount":
        return {minute: float(len(found)) for minute, found in values.items()}
    assert statistic == "Sum", statistic
    return {minute: sum(found) for minute, found in values.items()}


_get_metric_data = CloudWatchResponse.get_metric_data


def _figures(self: CloudWatchResponse) -> ActionResult:
    given = self._get_params()
    queries = given["MetricDataQueries"]
    if any(query["MetricStat"]["Metric"]["Namespace"] != METRICS for query in queries):
        return _get_metric_data(self)
    results = []
    for query in queries:
        metric, where = query["MetricStat"]["Metric"], {}
        where = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
        found = _metric(
            metric["MetricName"],
            query["MetricStat"]["Stat"],
            where["EndpointName"],
            where["VariantName"],
            given["StartTime"].timestamp(),
            given["EndTime"].timestamp(),
        )
        times = [datetime.fromtimestamp(minute, UTC) for minute in found]
        results.append(
            {"Id": query["Id"], "Timestamps": times, "Values": list(found.values()), "StatusCode": "Complete"}
        )
    return ActionResult({"MetricDataResults": results})


# ------------------------------------------------------------------ control


def controlled(request: Any, full_url: str, headers: Any) -> tuple[int, Json, str]:
    """Take what a test sets."""
    for name, value in json.loads(request.data or b"{}").items():
        assert hasattr(control, name), name
        setattr(control, name, value)
    return 200, {}, json.dumps({"requests": len(samples)})


def lacking() -> Iterator[tuple[type, dict[str, Any]]]:
    """Yield what moto lacks, by class."""
    yield CloudWatchResponse, {"get_metric_data": _figures}
    yield SageMakerRuntimeResponse, {"invoke_endpoint": _invoke}
    model = (models, "model", "model", "ModelName")
    configuration = (configurations, "endpoint-config", "endpoint configuration", "EndpointConfigName")
    yield (
        SageMakerResponse,
        {
            "create_model": _new(*model),
            "describe_model": _shown(*model),
            "delete_model": _gone(*model),
            "list_models": _listed(models, "Models", "ModelName"),
            "create_endpoint_config": _new(*configuration),
            "describe_endpoint_config": _shown(*configuration),
            "delete_endpoint_config": _gone(*configuration),
            "list_endpoint_configs": _listed(configurations, "EndpointConfigs", "EndpointConfigName"),
            "create_endpoint": _create_endpoint,
            "describe_endpoint": _describe_endpoint,
            "update_endpoint": _update_endpoint,
            "update_endpoint_weights_and_capacities": _update_weights,
            "delete_endpoint": _delete_endpoint,
            "list_endpoints": _list_endpoints,
        },
    )
