"""Pipelines of SageMaker: their definition, and an execution from its start to its end.

A definition is plain JSON (schema 2020-12-01). Each step is a container, and begins when those before it have
succeeded.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twoloops.errors import ProjectError
from twoloops.platforms.aws.account import account, client, explain_errors, settings, tags
from twoloops.platforms.aws.machines import Job
from twoloops.platforms.shared.loop import Attempt

VERSION = "2020-12-01"
ENTRYPOINT = ["python", "-m", "twoloops.platforms.aws.steps"]
LOGS = "/aws/sagemaker/ProcessingJobs"
LOG_LINES = 30
LOG_TRIES = 5  # logs arrive some seconds after a step has ended
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0  # seconds between two looks at an execution
STOP_GRACE_SECONDS = 5.0  # in which a second Ctrl-C leaves an execution alone

SUCCEEDED, STOPPED, FAILED = "Succeeded", "Stopped", "Failed"
EXECUTING = "Executing"
UNDER_WAY = (EXECUTING, "Stopping")
Tell = Callable[[str], None]


def parameter(name: str) -> dict[str, str]:
    """Return what stands in a definition for a parameter of the execution."""
    return {"Get": f"Parameters.{name}"}


def step(
    name: str,
    *,
    image: Any,
    arguments: Sequence[Any],
    environment: Mapping[str, Any],
    role: str,
    job: Job,
    entrypoint: Sequence[str] = ENTRYPOINT,
    after: Sequence[str] = (),
) -> dict[str, Any]:
    """Return a step that runs a container of the project.

    Args:
        name: of the step.
        image: in the registry, or a parameter.
        arguments: of the entry point; texts or parameters.
        environment: of the container; nothing secret, for all who may look at the job read it.
        role: what the container may do.
        job: the machine.
        entrypoint: the program.
        after: the steps that have to succeed before.
    """
    made = settings()
    arguments_of_job: dict[str, Any] = {
        "AppSpecification": {
            "ImageUri": image,
            "ContainerEntrypoint": list(entrypoint),
            "ContainerArguments": list(arguments),
        },
        "Environment": dict(environment),
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType": job.machine,
                "VolumeSizeInGB": job.volume_gb,
                "VolumeKmsKeyId": made.key_arn,
            }
        },
        "RoleArn": role,
        "StoppingCondition": {"MaxRuntimeInSeconds": job.seconds},
        "Tags": tags(),
    }
    if made.network:
        arguments_of_job["NetworkConfig"] = made.network
    order = {"DependsOn": list(after)} if after else {}
    return {"Name": name, "Type": "Processing", "Arguments": arguments_of_job, **order}


def definition(steps: Sequence[Mapping[str, Any]], parameters: Sequence[str] = ()) -> dict[str, Any]:
    """Return the definition of a pipeline with these steps and text parameters."""
    return {
        "Version": VERSION,
        "Parameters": [{"Name": name, "Type": "String"} for name in parameters],
        "Steps": list(steps),
    }


def put(name: str, role: str, content: Mapping[str, Any]) -> None:
    """Make a pipeline, or give it a new definition. An execution that is under way keeps the one it has."""
    sagemaker = client("sagemaker")
    text = json.dumps(content, sort_keys=True)
    with explain_errors(f"Making the pipeline {name}"):
        try:
            sagemaker.update_pipeline(PipelineName=name, PipelineDefinition=text, RoleArn=role)
        except sagemaker.exceptions.ResourceNotFound:
            sagemaker.create_pipeline(PipelineName=name, PipelineDefinition=text, RoleArn=role, Tags=tags())


def exists(name: str) -> bool:
    """Say whether there is a pipeline of this name."""
    sagemaker = client("sagemaker")
    with explain_errors(f"Looking for the pipeline {name}"):
        try:
            sagemaker.describe_pipeline(PipelineName=name)
        except sagemaker.exceptions.ResourceNotFound:
            return False
    return True


def remove(name: str) -> None:
    """Delete a pipeline, if there is one, after what it executes has been stopped."""
    if not exists(name):
        return
    while under_way := [each for each in _executions(name) if each["PipelineExecutionStatus"] in UNDER_WAY]:
        for each in under_way:
            if each["PipelineExecutionStatus"] == EXECUTING:
                _stop(each["PipelineExecutionArn"])
        time.sleep(FIRST_PAUSE)
    with explain_errors(f"Deleting the pipeline {name}"):
        client("sagemaker").delete_pipeline(PipelineName=name)


def find_attempt(pipeline: str, inputs: str) -> Attempt:
    """Return the execution of these inputs that is under way, or the name of the next one.

    Args:
        pipeline: its name.
        inputs: a digest of what goes into the execution.
    """
    taken = 0
    for each in _executions(pipeline):
        label, _, number = each.get("PipelineExecutionDisplayName", "").rpartition("-")
        if label != inputs:
            continue
        if each["PipelineExecutionStatus"] == EXECUTING:
            return Attempt(each["PipelineExecutionDisplayName"], each["PipelineExecutionArn"])
        taken = max(taken, int(number))
    return Attempt(f"{inputs}-{taken + 1}", None)


def _executions(pipeline: str) -> list[dict[str, Any]]:
    """Return a pipeline's executions; one that has never been made has none."""
    sagemaker = client("sagemaker")
    with explain_errors(f"Looking at the executions of {pipeline}"):
        try:
            pages = sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=pipeline)
            return [each for page in pages for each in page["PipelineExecutionSummaries"]]
        except sagemaker.exceptions.ResourceNotFound:
            return []


def start(pipeline: str, name: str, parameters: Mapping[str, str]) -> str:
    """Start an execution, and return its address. Starting the same name twice starts it once."""
    sagemaker = client("sagemaker")
    with explain_errors(f"Starting the pipeline {pipeline}"):
        # Of a pipeline that was deleted and made again, names begin anew; SageMaker remembers tokens.
        made_at = sagemaker.describe_pipeline(PipelineName=pipeline)["CreationTime"]
        started = sagemaker.start_pipeline_execution(
            PipelineName=pipeline,
            PipelineExecutionDisplayName=name,
            PipelineParameters=[{"Name": key, "Value": value} for key, value in parameters.items()],
            ClientRequestToken=_token(pipeline, made_at.isoformat(), name),
        )
    return str(started["PipelineExecutionArn"])


def _token(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """How an execution ended: Succeeded, Failed or Stopped, and its steps as SageMaker lists them."""

    status: str
    reason: str
    steps: Sequence[Mapping[str, Any]]

    @property
    def failed(self) -> Mapping[str, Any] | None:
        """The step that failed."""
        return next((step for step in self.steps if step["StepStatus"] == FAILED), None)


def wait(address: str, tell: Tell) -> Outcome:
    """Wait until an execution has ended, and tell of each step.

    Ctrl-C stops the execution; a second one, soon after, leaves it alone.

    Args:
        address: the execution's ARN.
        tell: prints a line.

    Raises:
        KeyboardInterrupt: somebody pressed Ctrl-C.
    """
    try:
        return _watch(address, tell)
    except KeyboardInterrupt:
        tell(
            f"Stopping the execution in {STOP_GRACE_SECONDS:.0f} seconds. Ctrl-C once more leaves it alone; the same "
            "verb then takes it up again."
        )
        time.sleep(STOP_GRACE_SECONDS)
        _stop(address)
        tell("It is being stopped.")
        raise


def _stop(address: str) -> None:
    with explain_errors("Stopping the execution"):
        client("sagemaker").stop_pipeline_execution(
            PipelineExecutionArn=address, ClientRequestToken=_token("stop", address)
        )


def _watch(address: str, tell: Tell) -> Outcome:
    told: set[tuple[str, str]] = set()
    pause = FIRST_PAUSE
    while True:
        # First the whole, then its steps: so that nothing of an ended execution is missed.
        with explain_errors("Looking at the execution"):
            found = client("sagemaker").describe_pipeline_execution(PipelineExecutionArn=address)
            steps = _steps(address)
        for each in steps:
            _tell(each, told, tell)
        if found["PipelineExecutionStatus"] not in UNDER_WAY:
            return Outcome(found["PipelineExecutionStatus"], found.get("FailureReason", ""), steps)
        time.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)


def _steps(address: str) -> list[dict[str, Any]]:
    pages = client("sagemaker").get_paginator("list_pipeline_execution_steps")
    found = pages.paginate(PipelineExecutionArn=address, SortOrder="Ascending")
    return [each for page in found for each in page["PipelineExecutionSteps"]]


def _tell(each: Mapping[str, Any], told: set[tuple[str, str]], tell: Tell) -> None:
    job = _job(each)
    if job and (each["StepName"], "job") not in told:
        told.add((each["StepName"], "job"))
        tell(f"{each['StepName']}: {job_page(job)}")
    if "EndTime" in each and (each["StepName"], "end") not in told:
        told.add((each["StepName"], "end"))
        seconds = (each["EndTime"] - each["StartTime"]).total_seconds()
        tell(f"{each['StepName']}: {each['StepStatus'].lower()} after {seconds:.0f} s")


def _job(each: Mapping[str, Any]) -> str:
    address: str = each.get("Metadata", {}).get("ProcessingJob", {}).get("Arn", "")
    return address.rpartition("/")[2]


def job_page(job: str) -> str:
    """Return the address of a job's page in the console."""
    return f"https://{account().region}.console.aws.amazon.com/sagemaker/home?region={account().region}#/processing-jobs/{job}"


def explain_failure(outcome: Outcome) -> ProjectError:
    """Return the error that tells people why an execution did not succeed."""
    step = outcome.failed
    if outcome.status == STOPPED:
        return ProjectError("The execution was stopped.", hint="The same verb starts another one.")
    if step is None:
        return ProjectError(
            f"The pipeline failed before a step began: {outcome.reason or 'no reason is given'}",
            hint="If it names a role or a key: infra/bootstrap.sh makes them. If it names a quota: Service Quotas.",
        )
    job = _job(step)
    lines = "".join(f"\n  {line}" for line in read_log(job)) if job else ""
    return ProjectError(
        f"The step {step['StepName']} failed on the platform: {step.get('FailureReason', 'no reason is given')}{lines}",
        hint=f"The whole log: {job_page(job)}. Put it right, and run the same verb again.",
    )


def read_log(job: str) -> list[str]:
    """Return the last lines that a job has printed."""
    logs = client("logs")
    with explain_errors(f"Reading the log of {job}"):
        for _ in range(LOG_TRIES):
            try:
                found = logs.describe_log_streams(logGroupName=LOGS, logStreamNamePrefix=f"{job}/")["logStreams"]
            except logs.exceptions.ResourceNotFoundException:
                found = []
            if found:
                name = found[-1]["logStreamName"]
                events = logs.get_log_events(logGroupName=LOGS, logStreamName=name, limit=LOG_LINES)["events"]
                return [event["message"].rstrip() for event in events]
            time.sleep(FIRST_PAUSE)
    return []
