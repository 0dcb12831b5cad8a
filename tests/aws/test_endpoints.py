"""Deployments to SageMaker, at its wire protocol: endpoints that serve for real, canaries, faults, the way back."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from tests.conftest import Installed, install
from tests.test_deployment import FAULTY, QUICK, REGISTER

from .harness import emulator, tell

pytestmark = pytest.mark.slow
ACCOUNT, REGION = "123456789012", "eu-west-1"
BUCKET, REPOSITORY = f"{ACCOUNT}-churn-data", "churn-image"
STAGING, PRODUCTION = "churn--staging", "churn--production"
SETTINGS = {
    "account": ACCOUNT,
    "region": REGION,
    "bucket": BUCKET,
    "key_arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1",
    "image_repository": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}",
    "model_package_group": "churn",
    "tracking_uri": None,
    "training_role_arn": f"arn:aws:iam::{ACCOUNT}:role/churn--training",
    "training_pipeline": "churn--train",
    "serving_role_arns": {
        name: f"arn:aws:iam::{ACCOUNT}:role/churn--{name}--serving" for name in ("staging", "production")
    },
    "schedule_role_arns": {},
    "flow_role_arns": {},
    "environments": {"staging": STAGING, "production": PRODUCTION},
    "subnet_ids": None,
    "security_group_id": None,
}
MANIFEST = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}


class Cloud:
    """A project that deploys to the emulator, and what the emulator shows of it."""

    def __init__(self, project: Installed, aws: dict[str, str]) -> None:
        """Make what bootstrap/ makes of it, and the image of its code."""
        self.project, self.aws = project, aws
        self._made = 0
        self.control(
            command=[str(project.folder / ".venv/bin/python"), "-m", f"{project.package}.cli", "serve"],
            folder=str(project.folder),
        )
        self.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.client("ecr").create_repository(repositoryName=REPOSITORY)
        self.client("ssm").put_parameter(Name="/ml/churn/settings", Type="String", Value=json.dumps(SETTINGS))
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
        self.push()

    def push(self) -> None:
        """Put an image of this very code into the registry: what it is made of, the control route says."""
        tag = self.code("from {package}.platform import images\nprint(images.tag('serve'))")
        self.client("ecr").put_image(
            repositoryName=REPOSITORY, imageTag=tag, imageManifest=json.dumps(MANIFEST | {"annotations": {"tag": tag}})
        )

    def client(self, service: str, **login: str) -> Any:
        given = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"} | login
        return boto3.client(service, endpoint_url=self.aws["AWS_ENDPOINT_URL"], region_name=REGION, **given)

    def control(self, **settings: Any) -> dict[str, Any]:
        found: dict[str, Any] = tell(self.aws, "endpoints", settings)
        return found

    def refuse(self, action: str, code: str, times: int = 1) -> None:
        """Let the next calls of an action be refused."""
        tell(self.aws, "faults", [{"action": action, "code": code, "times": times}])

    def verb(self, *words: str, code: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        answer = self.project.verb(*words, code=code, env=self.aws | env)
        assert "Traceback" not in answer.stderr, answer.stderr
        return answer

    def code(self, code: str) -> str:
        words = ("python", "-c", code.format(package=self.project.package))
        return self.project.run(*words, env=self.aws).stdout.strip()

    def begin(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """Start a verb and do not wait for it."""
        return subprocess.Popen(
            [str(self.project.folder / ".venv/bin" / self.project.package), *words],
            cwd=self.project.folder,
            env={**self.aws, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def register(self, fault: str = "", *, outputs: int = 2) -> str:
        """Register a challenger that has been in staging; return its number."""
        self._made += 1
        code = REGISTER.replace("Faulty(fault)", f"Faulty(fault, {outputs})").format(package=self.project.package)
        told = self.project.run("python", "-c", code, fault, "passed", str(self._made))
        return told.stdout.split()[-1]

    def start(self) -> None:
        """Let version 1, the champion, run in production."""
        self.code(
            "from {package} import platform, registry\nfrom {package}.outer_loop.release import Deployment, Release\n"
            "platform.deploy('production', Deployment(Release.of(registry.get('1'))))"
        )

    def champion(self) -> str:
        return self.code(
            "from {package} import registry\nfound = registry.find(registry.CHAMPION)\nprint(found and found.number)"
        )

    def runs(self, endpoint: str = PRODUCTION) -> dict[str, str]:
        """Return what SageMaker says which versions run, by variant."""
        sagemaker = self.client("sagemaker")
        name = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
        variants = sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"]
        return {
            each["VariantName"]: sagemaker.describe_model(ModelName=each["ModelName"])["PrimaryContainer"][
                "Environment"
            ]["MODEL_VERSION"]
            for each in variants
        }

    def there(self) -> dict[str, list[str]]:
        """Return everything of SageMaker that is there, by kind."""
        sagemaker = self.client("sagemaker")
        return {
            "endpoints": [each["EndpointName"] for each in sagemaker.list_endpoints()["Endpoints"]],
            "configurations": [c["EndpointConfigName"] for c in sagemaker.list_endpoint_configs()["EndpointConfigs"]],
            "models": [each["ModelName"] for each in sagemaker.list_models()["Models"]],
            "scaled": [
                each["ResourceId"]
                for each in self.client("application-autoscaling").describe_scalable_targets(
                    ServiceNamespace="sagemaker"
                )["ScalableTargets"]
            ],
        }

    def captures(self, environment: str) -> list[str]:
        found = self.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"captures/{environment}/")
        return [each["Key"] for each in found.get("Contents", [])]

    @staticmethod
    def wait_for(happened: Callable[[], Any], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Return a project on AWS whose inner loop has run here, and whose model is champion; tests copy its state."""
    project = install(tmp_path_factory.mktemp("cloud") / "project", {"infrastructure": "aws", "project_name": "Churn"})
    for words in (["simulate"], ["run"], ["promote"]):
        project.verb(*words)
    prepare(project)
    return project


def prepare(project: Installed) -> None:
    """Make its trials short, give it a module for faulty models, and keep the registry as it is now."""
    parameters = project.folder / "params.yaml"
    content = yaml.safe_load(parameters.read_text(encoding="utf-8"))
    content["deploy"] |= QUICK
    content["serve"] |= {"capture_seconds": 1.0}
    parameters.write_text(yaml.safe_dump(content), encoding="utf-8")
    (project.folder / f"src/{project.package}/problem/faulty.py").write_text(FAULTY, encoding="utf-8")
    (project.folder / "mlflow.db").rename(project.folder / "mlflow.begin")


@pytest.fixture
def cloud(original: Installed, tmp_path: Path) -> Iterator[Cloud]:
    database = original.folder / "mlflow.db"
    database.write_bytes((original.folder / "mlflow.begin").read_bytes())
    with emulator(tmp_path / "emulator.log") as aws:
        project = Cloud(original, aws)
        yield project
        for name in project.there()["endpoints"]:
            Cloud.wait_for(partial(_deleted, project, name))


def _deleted(cloud: Cloud, name: str) -> bool:
    """Delete an endpoint, so that its services end before the emulator does; say whether it is gone."""
    sagemaker = cloud.client("sagemaker")
    found = {each["EndpointName"]: each["EndpointStatus"] for each in sagemaker.list_endpoints()["Endpoints"]}
    if found.get(name) in ("InService", "Failed"):
        sagemaker.delete_endpoint(EndpointName=name)
    return name not in found


def test_the_first_version_the_second_and_the_way_back(cloud: Cloud) -> None:
    told = cloud.verb("deploy").stdout
    assert "route answers" in told
    assert "deploy 1 --to production --yes" in told
    assert cloud.there()["endpoints"] == [STAGING]
    told = cloud.verb("deploy", "1", "--to", "production", "--yes").stdout
    assert "Version 1 runs in production and is the champion" in told
    assert cloud.runs() == {"stable": "1"}
    assert cloud.there()["scaled"] == [f"endpoint/{PRODUCTION}/variant/stable"]
    assert "version 1, well, at http" in cloud.verb("status").stdout
    # Given again, it makes sure that it runs, and makes nothing.
    before = cloud.there()
    assert "runs version 1 already" in cloud.verb("deploy", "--yes").stdout
    assert cloud.there() == before

    told = cloud.verb("invoke", "data/raw/simulated.parquet", "answers.csv").stdout
    assert "8,000 of 8,000 rows were answered by version 1" in told

    second = cloud.register()
    told = cloud.verb("deploy", "--yes").stdout
    for words in ("smoke test", "contract test", "load test of version 1", "canary: version 2 takes 50%"):
        assert words in told
    assert cloud.runs() == {"stable": second}
    assert cloud.champion() == second
    assert {name: len(found) for name, found in cloud.there().items()} == {
        "endpoints": 2,
        "configurations": 2,
        "models": 2,
        "scaled": 1,
    }

    told = cloud.verb("rollback").stdout
    assert "Champion: version 1 (before: 2)" in told
    assert cloud.runs() == {"stable": "1"}

    told = cloud.verb("stop").stdout
    assert "production: deleted, because SageMaker has no stop." in told
    assert set(map(len, cloud.there().values())) == {0}
    assert "nothing has been deployed" in cloud.verb("status").stdout
    for environment in ("staging", "production"):
        assert cloud.captures(environment)


def test_a_canary_that_errs_is_taken_back(cloud: Cloud) -> None:
    cloud.start()
    number = cloud.register("raises")
    answer = cloud.verb("deploy", "--to", "production", "--yes", code=2)
    assert f"Version {number} failed as canary in production" in answer.stderr
    assert "rolled back: version 1 takes all requests" in answer.stdout
    assert cloud.runs() == {"stable": "1"}
    assert cloud.champion() == "1"
    assert {name: len(found) for name, found in cloud.there().items()} == {
        "endpoints": 1,
        "configurations": 1,
        "models": 1,
        "scaled": 1,
    }


def test_an_alarm_takes_a_canary_back(cloud: Cloud) -> None:
    cloud.start()
    cloud.register()

    def ring() -> None:
        cloud.wait_for(lambda: "canary" in cloud.runs(), 300)
        cloud.client("cloudwatch").set_alarm_state(
            AlarmName=f"{PRODUCTION}--canary-latency", StateValue="ALARM", StateReason="one in a hundred is slow"
        )

    thread = threading.Thread(target=ring)
    thread.start()
    answer = cloud.verb("deploy", "--to", "production", "--yes", code=2)
    thread.join()
    assert f"the alarm {PRODUCTION}--canary-latency rings: one in a hundred is slow" in answer.stderr
    assert cloud.runs() == {"stable": "1"}


def test_a_model_that_cannot_start_leaves_users_alone(cloud: Cloud) -> None:
    cloud.start()
    before = cloud.there()
    cloud.register("wide", outputs=3)
    answer = cloud.verb("deploy", "--to", "production", "--yes", code=2)
    assert "did not come up, and what ran before goes on" in answer.stderr
    assert "did not pass the ping health check" in answer.stderr
    assert "answers with 3 numbers a row" in answer.stderr, "the last words of its log"
    assert cloud.there() == before
    assert "8,000 of 8,000 rows" in cloud.verb("invoke", "data/raw/simulated.parquet", "answers.csv").stdout


def test_a_deployment_that_is_killed_is_taken_up(cloud: Cloud) -> None:
    cloud.start()
    number = cloud.register()
    cloud.control(seconds=10.0)
    deployment = cloud.begin("deploy", "--to", "production", "--yes")
    sagemaker = cloud.client("sagemaker")
    cloud.wait_for(lambda: sagemaker.describe_endpoint(EndpointName=PRODUCTION)["EndpointStatus"] == "Updating", 300)
    deployment.kill()
    deployment.communicate()
    cloud.control(seconds=0.2)
    told = cloud.verb("deploy", number, "--to", "production", "--yes").stdout
    assert f"Version {number} runs in production and is the champion" in told
    assert cloud.runs() == {"stable": number}
    assert len(cloud.there()["configurations"]) == 1


def test_refusals_are_told_in_words_and_leave_users_alone(cloud: Cloud) -> None:
    cloud.start()
    cloud.register()
    refusals = [
        ("UpdateEndpoint", "AccessDeniedException", "the login may not do that"),
        ("UpdateEndpoint", "ResourceLimitExceeded", "a quota of the account is used up"),
        ("CreateModel", "ExpiredTokenException", "the login has expired"),
    ]
    for action, code, words in refusals:
        cloud.refuse(action, code)
        answer = cloud.verb("deploy", "--to", "production", "--yes", code=1)
        assert words in answer.stderr, answer.stderr
        assert cloud.runs() == {"stable": "1"}
    # AWS asks to slow down: what it asks for is done, unseen.
    cloud.refuse("DescribeEndpoint", "ThrottlingException", times=2)
    assert "version 1, well" in cloud.verb("status").stdout
    # A machine that AWS does not have is no fault of the version.
    cloud.control(fail_next="Unable to provision: InsufficientInstanceCapacity")
    answer = cloud.verb("deploy", "--to", "production", "--yes", code=1)
    assert "AWS has no machine" in answer.stderr
    assert cloud.runs() == {"stable": "1"}


def test_somebody_elses_change_and_somebody_elses_account(cloud: Cloud) -> None:
    cloud.start()
    cloud.register()
    cloud.control(seconds=30.0)
    deployment = cloud.begin("deploy", "--to", "production", "--yes", **login(cloud, ACCOUNT, "colleague"))
    sagemaker = cloud.client("sagemaker")
    cloud.wait_for(lambda: sagemaker.describe_endpoint(EndpointName=PRODUCTION)["EndpointStatus"] == "Updating", 300)
    told = cloud.verb("rollback", code=1).stderr
    assert f"The endpoint {PRODUCTION} is being changed by arn:aws:sts::{ACCOUNT}:assumed-role/deploy/colleague" in told
    deployment.kill()
    deployment.communicate()
    told = cloud.verb("status", code=1, **login(cloud, "210987654321", "stranger")).stderr
    assert f"The login is of the AWS account 210987654321, and the project belongs to {ACCOUNT}" in told


def login(cloud: Cloud, account: str, name: str) -> dict[str, str]:
    """Return the variables by which somebody else is logged in."""
    role = f"arn:aws:iam::{account}:role/deploy"
    found = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName=name)["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": found["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": found["SecretAccessKey"],
        "AWS_SESSION_TOKEN": found["SessionToken"],
    }
