"""A project on AWS, installed, and its account on the emulator, which has what infra/ makes; without Terraform.

What Terraform makes is tested with Terraform. Here it stands for an account whose infrastructure is applied.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import yaml

from commands.rendering import clean_environment
from tests.support.projects import Installed

from .harness import ACCOUNT, emulator, tell

REGION, NAME = "eu-west-1", "churn"
STAGING, PRODUCTION = f"{NAME}--staging", f"{NAME}--production"
BUCKET = f"{ACCOUNT}-{NAME}-data"
REPOSITORY = f"{NAME}-image"
STEPS = ["prepare", "train", "evaluate", "refit", "register"]  # of the pipeline
PIPELINE, SCORING = f"{NAME}--train", f"{PRODUCTION}--score"
MANIFEST = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}
SETTLED = ("InService", "Failed")  # an endpoint that may be changed


def role(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{NAME}--{name}"


class EmulatedAccount:
    """An account on the emulator."""

    def __init__(self, environment: Mapping[str, str], *, online: bool, batch: bool) -> None:
        """Keep the environment in which programs find the emulator, and what the account is made for."""
        self.environment, self.online, self.batch = dict(environment), online, batch
        names = ("staging", "production") if online else ("production",)
        self.environments = {name: f"{NAME}--{name}" for name in names}

    # ------------------------------------------------------------------ the account's side

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def control(self, **settings: Any) -> None:
        """Set how the emulator's endpoints behave: the fields of endpoints.Control."""
        tell(self.environment, "endpoints", settings)

    def refuse(self, action: str, code: str, times: int = 100) -> None:
        """Let the next calls of an action be refused, and those of no other."""
        tell(self.environment, "faults", [{"action": action, "code": code, "times": times}])

    def recover(self) -> None:
        tell(self.environment, "faults", [])

    def objects(self, prefix: str) -> list[str]:
        found = self.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [each["Key"] for each in found.get("Contents", [])]

    def read(self, key: str) -> bytes:
        content: bytes = self.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    def executions(self, pipeline: str = PIPELINE) -> list[dict[str, Any]]:
        found = self.client("sagemaker").list_pipeline_executions(PipelineName=pipeline)
        summaries: list[dict[str, Any]] = found["PipelineExecutionSummaries"]
        return summaries

    def steps(self, execution: str) -> dict[str, dict[str, Any]]:
        found = self.client("sagemaker").list_pipeline_execution_steps(
            PipelineExecutionArn=execution, SortOrder="Ascending"
        )
        return {step["StepName"]: step for step in found["PipelineExecutionSteps"]}

    def endpoint(self, name: str = PRODUCTION) -> str:
        """Return the status of an endpoint."""
        return str(self.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"])

    def runs(self, endpoint: str = PRODUCTION) -> dict[str, str]:
        """Return what SageMaker says which versions run, by variant."""
        sagemaker = self.client("sagemaker")
        name = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
        variants = sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"]
        models = {each["VariantName"]: sagemaker.describe_model(ModelName=each["ModelName"]) for each in variants}
        return {name: model["PrimaryContainer"]["Environment"]["MODEL_VERSION"] for name, model in models.items()}

    def deployed(self) -> dict[str, list[str]]:
        """Return everything of SageMaker that deployments have made and is there, by kind."""
        sagemaker, scaling = self.client("sagemaker"), self.client("application-autoscaling")
        targets = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
        return {
            "endpoints": [each["EndpointName"] for each in sagemaker.list_endpoints()["Endpoints"]],
            "configurations": [c["EndpointConfigName"] for c in sagemaker.list_endpoint_configs()["EndpointConfigs"]],
            "models": [each["ModelName"] for each in sagemaker.list_models()["Models"]],
            "scaled": [each["ResourceId"] for each in targets],
        }

    def pipelines(self) -> list[str]:
        return [each["PipelineName"] for each in self.client("sagemaker").list_pipelines()["PipelineSummaries"]]

    def schedule(self) -> dict[str, Any]:
        """Return the schedule of scoring."""
        found: dict[str, Any] = self.client("scheduler").get_schedule(GroupName=PRODUCTION, Name="score")
        return found

    @staticmethod
    def until(condition: Callable[[], Any], seconds: float = 60) -> None:
        """Wait until a call returns something true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s"
            time.sleep(0.1)

    # ------------------------------------------------------------------ what infra/ makes

    def make(self) -> None:
        """Make what infra/ makes, as far as the verbs meet it."""
        self.settle(
            bucket=BUCKET,
            key_arn=f"arn:aws:kms:{REGION}:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef",
            image_repository=f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}",
            model_package_group=NAME,
            tracking_uri=None,
            training_role_arn=role("training"),
            training_pipeline=PIPELINE,
            serving_role_arns={name: role(f"{name}--serving") for name in self.environments},
            schedule_role_arns={"production": role("production--schedule")} if self.batch else {},
            flow_role_arns={},
            environments=self.environments,
        )
        self.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.client("ecr").create_repository(repositoryName=REPOSITORY, imageTagMutability="IMMUTABLE")
        self.client("sagemaker").create_model_package_group(ModelPackageGroupName=NAME)
        if self.online:
            self._make_alarms()
        if self.batch:
            self._make_schedule()

    def settle(self, **changes: Any) -> None:
        """Change what bootstrap/ has left to know."""
        ssm, name = self.client("ssm"), f"/ml/{NAME}/settings"
        known = {}
        with suppress(ssm.exceptions.ParameterNotFound):
            known = json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
        ssm.put_parameter(Name=name, Value=json.dumps(known | changes), Type="String", Overwrite=True)

    def _make_alarms(self) -> None:
        for alarm in ("canary-errors", "canary-latency"):
            self.client("cloudwatch").put_metric_alarm(
                AlarmName=f"{PRODUCTION}--{alarm}",
                ComparisonOperator="GreaterThanThreshold",
                EvaluationPeriods=1,
                Namespace="AWS/SageMaker",
                MetricName="ModelLatency",
                Period=300,
                Statistic="Sum",
                Threshold=1e12,
            )

    def _make_schedule(self) -> None:
        """Make the schedule of scoring as modules/batch does: switched off."""
        scheduler = self.client("scheduler")
        scheduler.create_schedule_group(Name=PRODUCTION)
        scheduler.create_schedule(
            GroupName=PRODUCTION,
            Name="score",
            Description="Scores the newest tables",
            ScheduleExpression="cron(0 3 * * ? *)",
            ScheduleExpressionTimezone="Europe/Berlin",
            State="DISABLED",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={
                "Arn": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/{SCORING}",
                "RoleArn": role("production--schedule"),
                "RetryPolicy": {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 3},
            },
        )

    def push(self, tags: Iterable[str]) -> None:
        """Let the registry have images with these tags. Nobody looks into them."""
        ecr = self.client("ecr")
        for tag in tags:
            manifest = json.dumps(MANIFEST | {"annotations": {"tag": tag}})
            with suppress(ecr.exceptions.ImageAlreadyExistsException):
                ecr.put_image(repositoryName=REPOSITORY, imageManifest=manifest, imageTag=tag)

    def end(self) -> None:
        """Delete the endpoints that are left, so that their services end before the emulator does."""
        sagemaker = self.client("sagemaker")
        self.recover()
        self.control(seconds=0.0)

        def gone() -> bool:
            found = sagemaker.list_endpoints()["Endpoints"]
            for each in found:
                if each["EndpointStatus"] in SETTLED:
                    sagemaker.delete_endpoint(EndpointName=each["EndpointName"])
            return not found

        self.until(gone, 120)


class Account(EmulatedAccount):
    """An account on the emulator, and an installed project that uses it."""

    def __init__(self, project: Installed, environment: Mapping[str, str]) -> None:
        """Keep the project, and the environment in which its verbs find the emulator."""
        answers = yaml.safe_load((project.folder / ".copier-answers.yml").read_text(encoding="utf-8"))
        modes = answers["serving_mode"]
        super().__init__(environment, online="online" in modes, batch="batch" in modes)
        self.project = project

    def verb(
        self, *words: str, code: int | None = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the project's verbs; what it cannot do is said in words."""
        answer = self.project.verb(*words, code=code, env=self.environment | dict(env or {}))
        assert "Traceback" not in answer.stderr, answer.stderr
        return answer

    def begin(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a verb in the background. Not by `uv run`: it would pass on a signal that the group gets anyway."""
        return subprocess.Popen(
            [self.project.folder / ".venv/bin" / self.project.package, *words],
            cwd=self.project.folder,
            env=clean_environment() | {"OMP_NUM_THREADS": "1"} | self.environment | dict(env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def code(self, code: str, *words: str) -> str:
        """Run code in the project, with {package} for its package, and return what it prints."""
        command = ("python", "-c", code.format(package=self.project.package), *words)
        return self.project.run(*command, env=self.environment).stdout.strip()

    def push(self, tags: Iterable[str] = ()) -> None:
        """Let the registry have images: those of the project's code, as `image` leaves them, or those named."""
        code = "from twoloops.platforms.shared import images\nprint(*map(images.tag, images.KINDS))"
        super().push(tags or self.code(code).split())


@contextmanager
def emulated_account(
    folder: Path, python: str, log: Path, *, online: bool = True, batch: bool = True, **environment: str
) -> Iterator[EmulatedAccount]:
    """Give an account on an emulator of its own, in which everything is made but images.

    Containers are processes of a Python.

    Args:
        folder: of the project, in which containers begin.
        python: has the engine and the project's package.
        log: the emulator's.
        online: whether there are services.
        batch: whether tables are scored.
        environment: of containers.
    """
    own = {"STEPS_PYTHON": python, "STEPS_FOLDER": str(folder), **environment}
    with emulator(log, own) as aws:
        found = EmulatedAccount(aws, online=online, batch=batch)
        with _made(found, folder, python):
            yield found


@contextmanager
def _made(found: EmulatedAccount, folder: Path, python: str) -> Iterator[None]:
    found.control(command=[python, "-m", "twoloops", "serve"], folder=str(folder))
    found.make()
    try:
        yield
    finally:
        found.end()


@contextmanager
def account(project: Installed, folder: Path, **environment: str) -> Iterator[Account]:
    """Give an account on an emulator of its own, in which everything is made; `push` adds the images.

    Containers are processes of the project's own environment.

    Args:
        project: whose account it is.
        folder: the emulator's log goes there.
        environment: of the verbs, beside what they need to find the emulator.
    """
    python = str(project.folder / ".venv/bin/python")
    steps = {"STEPS_PYTHON": python, "STEPS_FOLDER": str(project.folder)}
    with emulator(folder / "emulator.log", steps) as aws:
        found = Account(project, aws | environment)
        with _made(found, project.folder, python):
            yield found
