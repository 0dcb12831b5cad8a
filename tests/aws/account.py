"""A project on AWS, installed, in an account on the emulator that has what infra/ makes; without Terraform.

What Terraform makes is tested with Terraform. Here it stands for an account whose infrastructure is applied.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from commands.rendering import clean_environment
from tests.conftest import Installed

from .harness import emulator, tell

ACCOUNT, REGION, NAME = "123456789012", "eu-west-1", "churn"
BUCKET = f"{ACCOUNT}-{NAME}-data"
REPOSITORY = f"{NAME}-image"
GROUP = f"{NAME}--production"
PIPELINE = f"{NAME}--train"


def role(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{NAME}--{name}"


@dataclass
class Account:
    """An account on the emulator, and a project of it."""

    project: Installed
    environment: dict[str, str]

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def verb(
        self, *words: str, code: int | None = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.project.verb(*words, code=code, env=self.environment | dict(env or {}))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a verb in the background. Not by `uv run`: it would pass on a signal that the group gets anyway."""
        return subprocess.Popen(
            [self.project.folder / ".venv/bin" / self.project.package, *words],
            cwd=self.project.folder,
            env=clean_environment() | {"OMP_NUM_THREADS": "1"} | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def fail(self, action: str, code: str, times: int = 100) -> None:
        """Let the next calls of an action be refused."""
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

    def until(self, condition: Any, seconds: float = 60) -> None:
        """Wait until a call returns something true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s"
            time.sleep(0.2)

    def settle(self, repository: str = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}") -> None:
        """Leave what bootstrap/ leaves to know."""
        settings = {
            "bucket": BUCKET,
            "key_arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef",
            "image_repository": repository,
            "model_package_group": NAME,
            "tracking_uri": None,
            "training_role_arn": role("training"),
            "training_pipeline": PIPELINE,
            "serving_role_arns": {"production": role("production--serving")},
            "schedule_role_arns": {"production": role("production--schedule")},
            "flow_role_arns": {},
            "environments": {"production": GROUP},
        }
        name = f"/ml/{NAME}/settings"
        self.client("ssm").put_parameter(Name=name, Value=json.dumps(settings), Type="String", Overwrite=True)

    def make(self) -> None:
        """Make what infra/ makes."""
        self.settle()
        place = {"LocationConstraint": REGION}
        self.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
        self.client("ecr").create_repository(repositoryName=REPOSITORY, imageTagMutability="IMMUTABLE")
        self.client("sagemaker").create_model_package_group(ModelPackageGroupName=NAME)
        self.schedule()

    def schedule(self) -> None:
        """Make the schedule of scoring as modules/batch does: switched off."""
        scheduler = self.client("scheduler")
        scheduler.create_schedule_group(Name=GROUP)
        scheduler.create_schedule(
            GroupName=GROUP,
            Name="score",
            Description="Scores the newest tables",
            ScheduleExpression="cron(0 3 * * ? *)",
            ScheduleExpressionTimezone="Europe/Berlin",
            State="DISABLED",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={
                "Arn": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/{GROUP}--score",
                "RoleArn": role("production--schedule"),
                "RetryPolicy": {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 3},
            },
        )

    def push(self) -> dict[str, str]:
        """Let the registry have the images of the project's code, as `image` leaves it; return the digests."""
        code = f"from {self.project.package}.platform import images; print(*map(images.tag, images.KINDS))"
        digests = {}
        for tag in self.project.run("python", "-c", code, env=self.environment).stdout.split():
            kind = "application/vnd.oci.image.manifest.v1+json"
            manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "name": tag})
            ecr = self.client("ecr")
            with suppress(ecr.exceptions.ImageAlreadyExistsException):
                ecr.put_image(repositoryName=REPOSITORY, imageManifest=manifest, imageTag=tag)
            found = ecr.describe_images(repositoryName=REPOSITORY, imageIds=[{"imageTag": tag}])
            digests[tag.partition("-")[0]] = found["imageDetails"][0]["imageDigest"]
        return digests


@contextmanager
def account(project: Installed, folder: Path, tracking_uri: str) -> Iterator[Account]:
    """Give an account on an emulator of its own, in which everything is made."""
    steps = {
        "STEPS_PYTHON": str(project.folder / ".venv/bin/python"),
        "STEPS_FOLDER": str(project.folder),
    }
    with emulator(folder / "emulator.log", steps) as environment:
        found = Account(project, environment | {"MLFLOW_TRACKING_URI": tracking_uri})
        found.make()
        yield found
