"""A project on AWS from nothing to production and back to nothing, with the images that are deployed.

Terraform, the verbs, the images, their registry, their containers and MLflow's server are real. AWS is the emulator:
it runs the pipelines' steps and the endpoints' machines as containers of those images. It allows everybody everything,
and notes who asks for what: in the end no role has asked for what its policy lacks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Installed, install, need
from tests.support import podman
from tests.support.aws.account import NAME, PIPELINE, PRODUCTION, REPOSITORY, SCORING, STAGING, STEPS, Account
from tests.support.aws.harness import bootstrap, emulator, left, prepared, tell
from tests.support.aws.policies import FREE, RENAMED, allows
from tests.support.aws.registry import Registry, registry
from tests.support.models import LENIENT, QUICK
from tests.support.projects import change, commit_all
from tests.support.servers import tracking_server
from tests.support.terraform import Terraform

# The same days as in test_emulator.py and tests/flows/test_cloud.py, here in containers: ten minutes, for releases.
pytestmark = [pytest.mark.slow, pytest.mark.twin]
ANSWERS = {"infrastructure": "aws", "serving_mode": "online_and_batch", "project_name": "Churn"}
ROWS = 2000
TABLE = "data/raw/simulated.parquet"
# The roles, as the flows take them: calls.py.
TRAIN, TRAINING = f"{NAME}--ci-train", f"{NAME}--training"
DEPLOY = {environment: f"{environment}--deploy" for environment in (STAGING, PRODUCTION)}
APPLY = f"{STAGING}--apply"
SERVING = {f"{environment}--serving" for environment in (STAGING, PRODUCTION)}


@pytest.fixture
def project(tmp_path: Path) -> Installed:
    """Return a project with simulated data, and trials that are short."""
    need("podman")
    found = install(tmp_path / "project", ANSWERS)
    change(found, "gate", **LENIENT)
    change(found, "deploy", **QUICK)
    found.verb("simulate", "--rows", str(ROWS))
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Yield the variables by which podman keeps images and containers for this test alone."""
    (tmp_path / "store").mkdir()
    with podman.own_store(tmp_path / "store") as settings:
        yield settings


@pytest.fixture
def there(project: Installed, providers: None, store: dict[str, str], tmp_path: Path) -> Iterator[Account]:
    """Yield an empty account, and an MLflow server."""
    containers = store | {"STEPS_ENGINE": "podman"}
    with emulator(tmp_path / "emulator.log", containers) as aws, tracking_server(tmp_path) as server:
        terraform = prepared(Terraform(project.folder / "infra", aws))
        commit_all(project)
        found = Account(project, terraform.environment | {"MLFLOW_TRACKING_URI": server})
        try:
            yield found
        finally:
            found.end()


@pytest.mark.timeout(1800)  # some ten minutes beside others
def test_from_nothing_to_production_and_back_to_nothing(there: Account, store: dict[str, str], tmp_path: Path) -> None:
    applied(there)
    # The emulator's ECR keeps what it is told about images, and not the images.
    with registry(there.client("ecr")) as held:
        there.settle(image_repository=f"{held.address}/{REPOSITORY}")
        serve = pushed(there, held, store | held.settings(tmp_path))
    trained(there)
    deployed(there, serve, store)
    scored(there)
    retrained(there)
    stopped(there)
    destroyed(there)
    every_role_had_what_it_asked_for(there)


def as_role(role: str) -> dict[str, str]:
    """Return the variables by which a verb is run as a flow runs it."""
    return {"AWS_ACCESS_KEY_ID": role}


def applied(there: Account) -> None:
    """What infra/ describes is made, in the order that its page tells."""
    bootstrap(Terraform(there.project.folder / "infra", there.environment))
    there.verb("infrastructure", "--plan", "--apply", "--yes")
    assert {each["AlarmName"].rpartition("--")[0] for each in left(there.environment)["alarms"]} == {
        STAGING,
        PRODUCTION,
    }


def pushed(there: Account, held: Registry, engine: dict[str, str]) -> str:
    """Both images are built and pushed; return that which serves. SageMaker would pull them by their digests."""
    dockerfile = (there.project.folder / "Dockerfile").read_text(encoding="utf-8")
    podman.base_images(re.findall(rf"{podman.UV_IMAGE}:(\S+)", dockerfile)[0], engine)
    found = json.loads(there.verb("image", "--engine", "podman", "--json", env=engine | as_role(TRAIN)).stdout)
    for reference in found.values():
        podman.call("pull", "--quiet", "--creds", held.login(), reference, env=engine)
    return str(found["serve"])


def trained(there: Account) -> None:
    """The pipeline's steps run in containers, and a version is registered twice: with MLflow and with SageMaker."""
    told = there.verb("run", "--submit", env=as_role(TRAIN)).stdout
    assert "Verdict: green" in told
    (execution,) = there.executions()
    steps = there.steps(execution["PipelineExecutionArn"])
    assert {name: step["StepStatus"] for name, step in steps.items()} == dict.fromkeys(STEPS, "Succeeded")
    assert [each["ModelApprovalStatus"] for each in packages(there)] == ["PendingManualApproval"]


def packages(there: Account) -> list[dict[str, Any]]:
    found = there.client("sagemaker").list_model_packages(ModelPackageGroupName=NAME)
    return list(found["ModelPackageSummaryList"])


def running(image: str, store: dict[str, str]) -> list[str]:
    """Return the names of the containers of an image."""
    lines = podman.call("ps", "--format", "{{.Image}} {{.Names}}", env=store).stdout.splitlines()
    return [line.split()[1] for line in lines if line.split()[0] == image]


def deployed(there: Account, serve: str, store: dict[str, str]) -> None:
    """The version comes into use, answered by containers of the image, and is approved."""
    there.verb("deploy", "--to", "staging", "--yes", env=as_role(DEPLOY[STAGING]))
    told = there.verb("deploy", "1", "--to", "production", "--yes", env=as_role(DEPLOY[PRODUCTION])).stdout
    assert "Version 1 runs in production and is the champion" in told
    assert [each["ModelApprovalStatus"] for each in packages(there)] == ["Approved"]
    names = running(serve, store)
    assert len(names) == 2, "a machine in each environment"
    for name in names:
        (about,) = json.loads(podman.call("inspect", name, env=store).stdout)
        assert about["HostConfig"]["ReadonlyRootfs"]
        assert about["EffectiveCaps"] in ([], None)
        assert {mount["Destination"]: mount["RW"] for mount in about["Mounts"]}["/opt/ml/model"] is False
        assert podman.call("top", name, "huser", env=store).stdout.split()[1:] == ["10001"]
    told = there.verb("invoke", TABLE, "answers.csv", env=as_role(DEPLOY[PRODUCTION])).stdout
    assert f"{ROWS:,} of {ROWS:,} rows were answered by version 1" in told


def scored(there: Account) -> None:
    """The champion scores in a container as well."""
    assert there.schedule()["State"] == "ENABLED"
    summary = json.loads(there.verb("score", "--submit", "--json", env=as_role(DEPLOY[PRODUCTION])).stdout)["summary"]
    assert (summary["rows"], summary["model"]["version"]) == (ROWS, "1")


def retrained(there: Account) -> None:
    """A second version takes over from the first as canary, and the first one comes back."""
    there.verb("simulate", "--rows", str(ROWS), "--seed", "8", "--force")
    retrained = there.verb("retrain", "--submit", "--reason", "drift", env=as_role(TRAIN)).stdout
    assert "Version 2 is the challenger." in retrained
    there.verb("deploy", "--to", "staging", "--yes", env=as_role(DEPLOY[STAGING]))
    told = there.verb("deploy", "2", "--to", "production", "--yes", env=as_role(DEPLOY[PRODUCTION])).stdout
    assert "canary: version 2 takes 50% of the requests" in told
    assert there.runs() == {"stable": "2"}
    assert "Champion: version 1 (before: 2)" in there.verb("rollback", env=as_role(DEPLOY[PRODUCTION])).stdout
    assert there.runs() == {"stable": "1"}
    assert "version 1, well" in there.verb("status", env=as_role(DEPLOY[PRODUCTION])).stdout


def stopped(there: Account) -> None:
    """What was deployed goes, and what it was asked stays for the monitor."""
    refused = there.verb("infrastructure", "staging", "--destroy", "--yes", code=1, env=as_role(APPLY)).stderr
    assert "staging still has its endpoint" in refused
    assert "uv run churn stop staging" in refused
    for name in ("staging", "production"):
        there.verb("stop", name, env=as_role(DEPLOY[f"{NAME}--{name}"]))
    assert set(map(len, there.deployed().values())) == {0}
    assert there.pipelines() == [PIPELINE]
    assert there.schedule()["State"] == "DISABLED"
    for environment in ("staging", "production"):
        assert there.objects(f"captures/{environment}/")
    window = json.loads(there.verb("monitor", "--json", env=as_role(TRAIN)).stdout)["window"]
    assert window["rows"] > ROWS, "of the service, and of scoring"


def destroyed(there: Account) -> None:
    """The environments go; what bootstrap/ has made stays."""
    there.verb("infrastructure", "staging", "--destroy", "--yes", env=as_role(APPLY))
    typed = "echo production | churn infrastructure production --destroy"
    there.project.run("sh", "-c", typed, env=there.environment)
    found = left(there.environment)
    assert {kind: found[kind] for kind in ("alarms", "dashboards", "schedules", "topics")} == {
        "alarms": [],
        "dashboards": [],
        "schedules": [],
        "topics": [],
    }
    # What jobs have said stays for a while, whatever becomes of the environments.
    assert [each["logGroupName"] for each in found["logs"]] == ["/aws/sagemaker/ProcessingJobs"]
    assert there.objects("models/")
    assert SCORING not in there.pipelines()


def every_role_had_what_it_asked_for(there: Account) -> None:
    """Each call is one that the policies which Terraform has made allow, of the bucket also the very object."""
    iam, asked = there.client("iam"), tell(there.environment, "calls", None)
    roles = {each["key"] for each in asked} - {there.environment["AWS_ACCESS_KEY_ID"]}  # an administrator has that one
    assert roles == {TRAIN, TRAINING, APPLY, *DEPLOY.values(), *SERVING}
    lacking = []
    for role in sorted(roles):
        names = iam.list_role_policies(RoleName=role)["PolicyNames"]
        policies = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
        for each in asked:
            action = RENAMED.get(each["action"], each["action"])
            allowed = action in FREE or any(allows(policy, action, each["resource"]) for policy in policies)
            if each["key"] == role and not allowed:
                lacking.append(f"{role}: {action} {each['resource']}")
    assert lacking == []
