"""SageMaker's pipelines in the emulator: an execution really runs the containers' commands, one step after another.

A step runs as a process: the program `python` of its entry point is that of STEPS_PYTHON, and the working
folder is STEPS_FOLDER, which stands for the image. With STEPS_ENGINE=podman it runs in its image instead.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import string
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult
from moto.sagemaker.responses import SageMakerResponse

from . import containers, definitions

LOGS = "/aws/sagemaker/ProcessingJobs"
UNDER_WAY = ("Executing", "Stopping")
# What the machine that runs the emulator has in its environment is not the container's.
FROM_HERE = ("PATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "NO_PROXY", "OMP_NUM_THREADS", "PYTHONPATH")
_lock = threading.RLock()


@dataclass
class Pipeline:
    """A pipeline, with its executions by ARN, oldest first."""

    arn: str
    role: str
    definition: str
    executions: dict[str, Execution] = field(default_factory=dict)
    made: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Execution:
    """One execution; its definition is the pipeline's when it started."""

    arn: str
    name: str | None
    pipeline: str
    definition: dict[str, Any]
    parameters: dict[str, str]
    status: str = "Executing"
    reason: str | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Run the steps, as SageMaker does."""
        for step in self.definition["Steps"]:
            if self.status == "Stopping":
                break
            if not self._run(step):
                break
        with _lock:
            failed = any(step["StepStatus"] == "Failed" for step in self.steps)
            if self.status == "Stopping":
                self.status = "Stopped"
            elif failed:
                self.status, self.reason = "Failed", "Step failure: One or multiple steps failed."
            else:
                self.status = "Succeeded"

    def _run(self, step: Mapping[str, Any]) -> bool:
        identifier = self.arn.rpartition("/")[2]
        job = f"pipelines-{identifier}-{step['Name']}-{_letters(10)}"
        arn = f"{self.arn.partition(':pipeline/')[0]}:processing-job/{job}"
        about = {
            "StepName": step["Name"],
            "StartTime": _seconds(),
            "StepStatus": "Executing",
            "Metadata": {"ProcessingJob": {"Arn": arn}},
            "AttemptCount": 1,
        }
        with _lock:
            self.steps.append(about)
        code = self._process(definitions.job(step, self.parameters), job)
        with _lock:
            about["EndTime"] = _seconds()
            about["StepStatus"] = "Stopped" if self.status == "Stopping" else "Failed" if code else "Succeeded"
            if about["StepStatus"] == "Failed":
                about["FailureReason"] = f"ClientError: AlgorithmError: , exit code: {code}"
        return code == 0

    def _process(self, job: Mapping[str, Any], name: str) -> int:
        container = job["AppSpecification"]
        command = [*container["ContainerEntrypoint"], *container["ContainerArguments"]]
        own = {name: value for name, value in os.environ.items() if name.startswith("AWS_")} | dict(job["Environment"])
        own["AWS_ACCESS_KEY_ID"] = job["RoleArn"].rpartition("/")[2]
        if in_containers():
            first, *others = command
            command = containers.command(name, container["ImageUri"], others, own, [f"--entrypoint={first}"])
            environment = dict(os.environ)
        else:
            command[0] = os.environ["STEPS_PYTHON"] if command[0] == "python" else command[0]
            environment = {key: os.environ[key] for key in FROM_HERE if key in os.environ} | own
        with _lock:
            if self.status == "Stopping":
                return 143
            self.process = subprocess.Popen(
                command,
                cwd=os.environ.get("STEPS_FOLDER"),
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        try:
            output, _ = self.process.communicate(timeout=job["StoppingCondition"]["MaxRuntimeInSeconds"])
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            if in_containers():
                containers.remove(name)
            output, _ = self.process.communicate()
        _log(name, output)
        return self.process.returncode

    def stop(self) -> None:
        """Stop the step that runs, and begin no other."""
        with _lock:
            if self.status == "Executing":
                self.status = "Stopping"
                if self.process and self.process.poll() is None:
                    os.killpg(self.process.pid, signal.SIGTERM)


def in_containers() -> bool:
    """Say whether steps run in their images."""
    return os.environ.get("STEPS_ENGINE") == "podman"


_pipelines: dict[str, Pipeline] = {}
_tokens: dict[str, str] = {}  # of starts, with what they have started; they outlive a pipeline


def _letters(count: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(count))


def _seconds() -> float:
    return time.time()


def _log(job: str, output: str) -> None:
    port = sys.argv[sys.argv.index("-p") + 1]
    logs = boto3.client("logs", endpoint_url=f"http://127.0.0.1:{port}")
    with suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=LOGS)
    stream, now = f"{job}/algo-1-{int(time.time())}", int(time.time() * 1000)
    logs.create_log_stream(logGroupName=LOGS, logStreamName=stream)
    events = [{"timestamp": now, "message": line} for line in output.splitlines() if line]
    if events:
        logs.put_log_events(logGroupName=LOGS, logStreamName=stream, logEvents=events)


def _found(name: str) -> Pipeline:
    if name not in _pipelines:
        raise JsonRESTError("ResourceNotFound", f"Pipeline '{name}' does not exist.")
    return _pipelines[name]


def _execution(arn: str) -> Execution:
    for pipeline in _pipelines.values():
        if arn in pipeline.executions:
            return pipeline.executions[arn]
    raise JsonRESTError("ResourceNotFound", f"Pipeline execution {arn} does not exist.")


def _checked(text: str) -> str:
    try:
        definitions.read(text)
    except definitions.WrongError as error:
        raise JsonRESTError("ValidationException", f"Unable to parse pipeline definition: {error}") from error
    return text


def _create(self: SageMakerResponse) -> ActionResult:
    given = json.loads(self.body)
    name = given["PipelineName"]
    if name in _pipelines:
        raise JsonRESTError("ValidationException", f"Pipeline names must be unique: {name}")
    arn = f"arn:aws:sagemaker:{self.region}:{self.current_account}:pipeline/{name}"
    _pipelines[name] = Pipeline(arn, given["RoleArn"], _checked(given["PipelineDefinition"]))
    return ActionResult({"PipelineArn": arn})


def _update(self: SageMakerResponse) -> ActionResult:
    given = json.loads(self.body)
    found = _found(given["PipelineName"])
    found.definition, found.role = _checked(given["PipelineDefinition"]), given["RoleArn"]
    return ActionResult({"PipelineArn": found.arn})


def _describe(self: SageMakerResponse) -> ActionResult:
    name = json.loads(self.body)["PipelineName"]
    found = _found(name)
    about = {"PipelineArn": found.arn, "PipelineName": name, "RoleArn": found.role, "PipelineStatus": "Active"}
    return ActionResult(about | {"PipelineDefinition": found.definition, "CreationTime": found.made})


def _delete(self: SageMakerResponse) -> ActionResult:
    name = json.loads(self.body)["PipelineName"]
    arn = _found(name).arn
    if any(each.status in UNDER_WAY for each in _found(name).executions.values()):
        raise JsonRESTError("ConflictException", f"Pipeline {name} has executions that are under way.")
    del _pipelines[name]
    return ActionResult({"PipelineArn": arn})


def start(name: str, given: Mapping[str, Any]) -> str:
    """Start an execution and return its ARN; what a schedule does as well."""
    found = _found(name)
    with _lock:
        if given["ClientRequestToken"] in _tokens:
            return _tokens[given["ClientRequestToken"]]
        definition = definitions.read(found.definition)
        wanted = {each["Name"]: each.get("DefaultValue") for each in definition["Parameters"]}
        values = {each["Name"]: each["Value"] for each in given.get("PipelineParameters", [])}
        values = {key: value for key, value in (wanted | values).items() if value is not None}
        if set(values) != set(wanted):
            raise JsonRESTError("ValidationException", f"Parameters: {sorted(values)}, wanted {sorted(wanted)}")
        arn = f"{found.arn}/execution/{_letters(12).lower()}"
        label = given.get("PipelineExecutionDisplayName")
        execution = Execution(arn, label, found.arn, definition, values)
        found.executions[arn] = execution
        _tokens[given["ClientRequestToken"]] = arn
    threading.Thread(target=execution.run, daemon=True).start()
    return arn


def _start(self: SageMakerResponse) -> ActionResult:
    given = json.loads(self.body)
    return ActionResult({"PipelineExecutionArn": start(given["PipelineName"], given)})


def _stop(self: SageMakerResponse) -> ActionResult:
    arn = json.loads(self.body)["PipelineExecutionArn"]
    _execution(arn).stop()
    return ActionResult({"PipelineExecutionArn": arn})


def _about(execution: Execution) -> dict[str, Any]:
    about = {
        "PipelineArn": execution.pipeline,
        "PipelineExecutionArn": execution.arn,
        "PipelineExecutionDisplayName": execution.name,
        "PipelineExecutionStatus": execution.status,
        "FailureReason": execution.reason,
        "CreationTime": execution.begun,
    }
    return {key: value for key, value in about.items() if value is not None}


def _describe_execution(self: SageMakerResponse) -> ActionResult:
    with _lock:
        return ActionResult(_about(_execution(json.loads(self.body)["PipelineExecutionArn"])))


def _list_executions(self: SageMakerResponse) -> ActionResult:
    keys = ("PipelineExecutionArn", "PipelineExecutionDisplayName", "PipelineExecutionStatus")
    with _lock:
        newest_first = reversed(_found(json.loads(self.body)["PipelineName"]).executions.values())
        found = [{key: value for key, value in _about(each).items() if key in keys} for each in newest_first]
    return ActionResult({"PipelineExecutionSummaries": found})


def _list_steps(self: SageMakerResponse) -> ActionResult:
    given = json.loads(self.body)
    with _lock:
        steps = [dict(step) for step in _execution(given["PipelineExecutionArn"]).steps]
    ordered = steps if given.get("SortOrder") == "Ascending" else steps[::-1]
    return ActionResult({"PipelineExecutionSteps": ordered})


def _list(self: SageMakerResponse) -> ActionResult:
    return ActionResult({"PipelineSummaries": [{"PipelineName": name} for name in _pipelines]})


ACTIONS = {
    "list_pipelines": _list,
    "create_pipeline": _create,
    "update_pipeline": _update,
    "describe_pipeline": _describe,
    "delete_pipeline": _delete,
    "start_pipeline_execution": _start,
    "stop_pipeline_execution": _stop,
    "describe_pipeline_execution": _describe_execution,
    "list_pipeline_executions": _list_executions,
    "list_pipeline_execution_steps": _list_steps,
}
