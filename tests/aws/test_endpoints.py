"""Deployments to SageMaker, at its wire protocol: endpoints that serve for real, canaries, faults, the way back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from tests.conftest import Installed, install
from tests.support.aws.account import ACCOUNT, PRODUCTION, STAGING, Account, account
from tests.support.models import FAULTY, QUICK, REGISTER, START

# In CI the conformance suite of platforms shows the same, in one process: engine/platforms/aws/test_conformance.py.
pytestmark = [pytest.mark.slow, pytest.mark.twin]
CHAMPION = "from twoloops import registry; registry.set_alias(registry.CHAMPION, registry.get('1'))"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Return a project on AWS whose inner loop has run here, and whose model is champion; tests copy its state."""
    project = install(tmp_path_factory.mktemp("cloud") / "project", {"infrastructure": "aws", "project_name": "Churn"})
    for verb in ("simulate", "run"):
        project.verb(verb)
    # As `promote` does, which asks AWS whether somebody deploys: there is no account yet.
    project.run("python", "-c", CHAMPION)
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
def cloud(original: Installed, tmp_path: Path) -> Iterator[Account]:
    """Yield an account on which nothing runs; version 1 is registered, and champion."""
    database = original.folder / "mlflow.db"
    database.write_bytes((original.folder / "mlflow.begin").read_bytes())
    with account(original, tmp_path) as found:
        found.push()
        yield found


def start(cloud: Account) -> None:
    """Let version 1 run in production."""
    cloud.code(START)


def register(cloud: Account, fault: str = "", *, outputs: int = 2) -> str:
    """Register a challenger that has been in staging; return its number."""
    code = REGISTER.replace("Faulty(fault)", f"Faulty(fault, {outputs})")
    return cloud.code(code, fault, "passed", uuid4().hex).split()[-1]


def champion(cloud: Account) -> str:
    return cloud.code(
        "from twoloops import registry\nfound = registry.find(registry.CHAMPION)\nprint(found and found.number)"
    )


def test_the_first_version_the_second_and_the_way_back(cloud: Account) -> None:
    told = cloud.verb("deploy").stdout
    assert "route answers" in told
    assert "deploy 1 --to production --yes" in told
    assert cloud.deployed()["endpoints"] == [STAGING]
    told = cloud.verb("deploy", "1", "--to", "production", "--yes").stdout
    assert "Version 1 runs in production and is the champion" in told
    assert cloud.runs() == {"stable": "1"}
    assert cloud.deployed()["scaled"] == [f"endpoint/{PRODUCTION}/variant/stable"]
    assert "version 1, well, at http" in cloud.verb("status").stdout
    # Given again, it makes sure that it runs, and makes nothing.
    before = cloud.deployed()
    assert "runs version 1 already" in cloud.verb("deploy", "--yes").stdout
    assert cloud.deployed() == before

    told = cloud.verb("invoke", "data/raw/simulated.parquet", "answers.csv").stdout
    assert "8,000 of 8,000 rows were answered by version 1" in told

    second = register(cloud)
    told = cloud.verb("deploy", "--yes").stdout
    for words in ("smoke test", "contract test", "load test of version 1", "canary: version 2 takes 50%"):
        assert words in told
    assert cloud.runs() == {"stable": second}
    assert champion(cloud) == second
    assert {name: len(found) for name, found in cloud.deployed().items()} == {
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
    assert set(map(len, cloud.deployed().values())) == {0}
    assert "nothing has been deployed" in cloud.verb("status").stdout
    for environment in ("staging", "production"):
        assert cloud.objects(f"captures/{environment}/")


def test_a_canary_that_errs_is_taken_back(cloud: Account) -> None:
    start(cloud)
    number = register(cloud, "raises")
    answer = cloud.verb("deploy", "--to", "production", "--yes", code=2)
    assert f"Version {number} failed as canary in production" in answer.stderr
    assert "rolled back: version 1 takes all requests" in answer.stdout
    assert cloud.runs() == {"stable": "1"}
    assert champion(cloud) == "1"
    assert {name: len(found) for name, found in cloud.deployed().items()} == {
        "endpoints": 1,
        "configurations": 1,
        "models": 1,
        "scaled": 1,
    }


def test_an_alarm_takes_a_canary_back(cloud: Account) -> None:
    start(cloud)
    register(cloud)

    def ring() -> None:
        cloud.until(lambda: "canary" in cloud.runs() and cloud.endpoint() == "InService", 300)
        cloud.client("cloudwatch").set_alarm_state(
            AlarmName=f"{PRODUCTION}--canary-latency", StateValue="ALARM", StateReason="one in a hundred is slow"
        )

    thread = threading.Thread(target=ring)
    thread.start()
    answer = cloud.verb("deploy", "--to", "production", "--yes", code=2)
    thread.join()
    assert f"the alarm {PRODUCTION}--canary-latency rings: one in a hundred is slow" in answer.stderr
    assert cloud.runs() == {"stable": "1"}


def test_a_model_that_cannot_start_leaves_users_alone(cloud: Account) -> None:
    start(cloud)
    before = cloud.deployed()
    register(cloud, "wide", outputs=3)
    answer = cloud.verb("deploy", "--to", "production", "--yes", code=2)
    assert "did not come up, and what ran before goes on" in answer.stderr
    assert "did not pass the ping health check" in answer.stderr
    assert "answers with 3 numbers a row" in answer.stderr, "the last words of its log"
    assert cloud.deployed() == before
    assert "8,000 of 8,000 rows" in cloud.verb("invoke", "data/raw/simulated.parquet", "answers.csv").stdout


def test_a_deployment_that_is_killed_is_taken_up(cloud: Account) -> None:
    start(cloud)
    number = register(cloud)
    cloud.control(seconds=10.0)
    deployment = cloud.begin("deploy", "--to", "production", "--yes")
    cloud.until(lambda: cloud.endpoint() == "Updating", 300)
    deployment.kill()
    deployment.communicate()
    cloud.control(seconds=0.2)
    told = cloud.verb("deploy", number, "--to", "production", "--yes").stdout
    assert f"Version {number} runs in production and is the champion" in told
    assert cloud.runs() == {"stable": number}
    assert len(cloud.deployed()["configurations"]) == 1


def test_refusals_are_told_in_words_and_leave_users_alone(cloud: Account) -> None:
    start(cloud)
    register(cloud)
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


def test_somebody_elses_change_and_somebody_elses_account(cloud: Account) -> None:
    start(cloud)
    register(cloud)
    cloud.control(seconds=30.0)
    deployment = cloud.begin("deploy", "--to", "production", "--yes", env=login(cloud, ACCOUNT, "colleague"))
    cloud.until(lambda: cloud.endpoint() == "Updating", 300)
    told = cloud.verb("rollback", code=1).stderr
    assert f"The endpoint {PRODUCTION} is being changed by arn:aws:sts::{ACCOUNT}:assumed-role/deploy/colleague" in told
    deployment.kill()
    deployment.communicate()
    told = cloud.verb("status", code=1, env=login(cloud, "210987654321", "stranger")).stderr
    assert f"The login is of the AWS account 210987654321, and the project belongs to {ACCOUNT}" in told


def login(cloud: Account, number: str, name: str) -> dict[str, str]:
    """Return the variables by which somebody else is logged in."""
    role = f"arn:aws:iam::{number}:role/deploy"
    found = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName=name)["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": found["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": found["SecretAccessKey"],
        "AWS_SESSION_TOKEN": found["SessionToken"],
    }
