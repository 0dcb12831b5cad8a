"""The verb `infrastructure` as people and flows run it: real Terraform, and an emulator of AWS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import UV, commit
from tests.flows.hosts.github_api import GitHub, serving
from tests.support.aws.harness import ACCOUNT, client, left, prepared
from tests.support.terraform import Make, Terraform

# In CI the same infrastructure is made by test_emulator.py and, through the flows, by flows/test_cloud.py.
pytestmark = [pytest.mark.slow, pytest.mark.twin]
LOCK = {"Bucket": f"{ACCOUNT}-churn-state", "Key": "environments/staging/environment.tfstate.tflock"}
ALARM = "churn--staging--stable-errors"


class Project:
    """An installed project, with Terraform in its folder infra/."""

    def __init__(self, terraform: Terraform, aws: dict[str, str]) -> None:
        """Install it."""
        self.terraform, self.aws = terraform, aws
        self.folder = terraform.folder.parent
        commit(self.folder)
        subprocess.run([UV, "sync", "--quiet"], cwd=self.folder, env=terraform.environment, check=True)

    def command(self, *words: str, verb: str = "infrastructure") -> list[str]:
        return [UV, "run", "--quiet", "--no-sync", "churn", verb, *words]

    def verb(
        self, *words: str, code: int = 0, typed: str = "", verb: str = "infrastructure", **environment: str
    ) -> str:
        """Run the verb, demand its exit code, and return what it says; what it cannot do is said in words."""
        env = self.terraform.environment | environment
        done = subprocess.run(
            self.command(*words, verb=verb),
            cwd=self.folder,
            env=env,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert (code == 1) == ("What to do:" in done.stderr), done.stderr
        return done.stdout if "--json" in words else done.stdout + done.stderr

    def plan(self, name: str = "staging") -> Any:
        (found,) = json.loads(self.verb(name, "--plan", "--json"))["plans"]
        return found

    def of_environment(self, name: str) -> int:
        """Return how many things there are of an environment, without the roles, which bootstrap/ has made."""
        found = left(self.aws)
        kinds = ("alarms", "dashboards", "logs", "schedules", "topics")
        return sum(f"churn--{name}" in str(each) for kind in kinds for each in found[kind])


@pytest.fixture
def installed(project: Make, aws: dict[str, str]) -> Project:
    """Return a project on whose emulated account nothing has been applied."""
    return Project(prepared(project({"serving_mode": "online_and_batch"}, aws)), aws)


def test_an_environment_from_its_first_plan_to_its_end(installed: Project, tmp_path: Path) -> None:
    nothing_works_before_bootstrap(installed)
    one_command_makes_all_that_flows_need(installed)
    who_only_plans_writes_nothing(installed)
    exactly_the_plan_is_applied(installed)
    drift_is_told_and_taken_back(installed)
    a_stale_plan_is_refused(installed)
    a_lock_is_told(installed)
    an_interrupted_apply_is_repeated(installed, tmp_path / "interrupted.log")
    refusals_are_told(installed)
    destroyed(installed)


def nothing_works_before_bootstrap(installed: Project) -> None:
    assert "no environment 'stagin'" in installed.verb("stagin", code=1)
    told = installed.verb("staging", code=1)
    assert "There is no parameter /ml/churn/settings in eu-west-1 yet." in told
    assert "uv run churn bootstrap" in told
    assert "There is no plan for staging" in installed.verb("staging", "--apply", code=1)
    assert "Terraform is not installed" in installed.verb("staging", code=1, PATH=os.path.dirname(UV))


def one_command_makes_all_that_flows_need(installed: Project) -> None:
    """What infra/bootstrap describes on the cloud, and on the code host the variables by which flows know it."""
    origin = installed.folder.parent / "origin.git"
    for command in (["git", "init", "--quiet", "--bare", str(origin)], ["git", "push", "--quiet", str(origin), "main"]):
        subprocess.run(command, cwd=installed.folder, check=True)
    with serving(GitHub(origin, installed.folder / ".github/workflows")) as github:

        def bootstrap(*words: str, code: int = 0, typed: str = "") -> str:
            host = {"GITHUB_API_URL": github.address, "GITHUB_REPOSITORY": github.name, "GITHUB_TOKEN": "owner"}
            # The emulator cannot say what somebody may do: infra/bootstrap/preflight.tf.
            return installed.verb(*words, code=code, typed=typed, verb="bootstrap", TF_VAR_preflight="false", **host)

        assert "  missing   what infra/bootstrap.sh makes on the cloud" in bootstrap("--dry-run")
        assert "Nothing was changed." in bootstrap(code=1, typed="n\n")
        github.immutable = None
        assert "no role trusts them" in bootstrap("--yes", code=1)
        github.immutable = True
        assert github.changes() == []
        assert states_exist(installed) is False

        told = bootstrap("--yes")
        assert "Apply complete!" in told
        role = f"arn:aws:iam::{ACCOUNT}:role/churn--"
        assert {name: value for name, value in github.variables.items() if name != "BOOTSTRAP_MADE"} == {
            "CLOUD_REGION": "eu-west-1",
            "CLOUD_ROLE_PLAN": f"{role}ci-plan",
            "CLOUD_ROLE_TRAIN": f"{role}ci-train",
            "CLOUD_ROLE_APPLY_STAGING": f"{role}staging--apply",
            "CLOUD_ROLE_APPLY_PRODUCTION": f"{role}production--apply",
            "CLOUD_ROLE_DEPLOY_STAGING": f"{role}staging--deploy",
            "CLOUD_ROLE_DEPLOY_PRODUCTION": f"{role}production--deploy",
            "MLFLOW_TRACKING_URI": f"arn:aws:sagemaker:eu-west-1:{ACCOUNT}:mlflow-tracking-server/churn-mlflow",
            "APPROVAL": "enforced",
        }
        assert [each["flow"] for each in github.dispatched] == ["infrastructure.yml", "train.yml"]
        trust = str(client("iam", installed.aws).get_role(RoleName="churn--ci-train")["Role"])
        assert "repo:ml-team@1/churn@2:ref:refs/heads/main" in trust

        github.changes()
        assert "Everything is there." in bootstrap("--yes")
        assert github.changes() == []
        told = bootstrap("--undo", "--yes")
        assert "What infra/bootstrap.sh has made stays" in told
        assert github.variables == {}
        assert states_exist(installed)


def states_exist(installed: Project) -> bool:
    return LOCK["Bucket"] in str(left(installed.aws)["buckets"])


def states(installed: Project) -> dict[str, str]:
    found = client("s3", installed.aws).list_objects_v2(Bucket=LOCK["Bucket"])["Contents"]
    return {each["Key"]: each["ETag"] for each in found}


def who_only_plans_writes_nothing(installed: Project) -> None:
    before = states(installed)
    assert "environments/staging/environment.tfstate" in before, "bootstrap.sh has begun it"
    told = installed.verb("--plan", TF_LOG="")
    assert "staging: " in told
    assert "production: " in told
    assert states(installed) == before
    assert installed.of_environment("staging") == 0
    page = (installed.folder / "reports/infrastructure/plan.md").read_text(encoding="utf-8")
    assert '| create | `module.monitoring.aws_cloudwatch_metric_alarm.errors["stable"]` |' in page
    assert "ml-team@example.com" not in page, "values are left out"


def exactly_the_plan_is_applied(installed: Project) -> None:
    assert "Applied: nothing." in installed.verb("staging", "--apply", typed="n\n")
    assert installed.of_environment("staging") == 0
    # As in a flow: another job, a fresh checkout, the plan fetched.
    for path in (installed.folder / "infra/environment").glob(".terraform*"):
        subprocess.run(["rm", "-r", str(path)], check=True)
    assert "Applied: staging." in installed.verb("staging", "--apply", "--yes")
    assert installed.of_environment("staging") > 5
    assert installed.of_environment("production") == 0
    assert "There is no plan for staging" in installed.verb("staging", "--apply", "--yes", code=1), "it is used up"
    assert installed.plan()["changes"] == []
    assert "Applied: nothing." in installed.verb("staging", "--apply", "--yes"), "and nobody is asked for nothing"


def drift_is_told_and_taken_back(installed: Project) -> None:
    alarms = client("cloudwatch", installed.aws)
    alarms.delete_alarms(AlarmNames=[ALARM])
    found = installed.plan()
    assert [(each["action"], each["address"]) for each in found["changes"]] == [
        ("create", 'module.monitoring.aws_cloudwatch_metric_alarm.errors["stable"]')
    ]
    assert found["drift"] == ['module.monitoring.aws_cloudwatch_metric_alarm.errors["stable"]']
    installed.verb("staging", "--plan", "--apply", "--yes")
    assert len(alarms.describe_alarms(AlarmNames=[ALARM])["MetricAlarms"]) == 1


def settle(installed: Project, old: str, new: str) -> None:
    file = installed.folder / "infra/environment/environments.auto.tfvars"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def a_stale_plan_is_refused(installed: Project) -> None:
    settle(installed, "error_percent        = 1 ", "error_percent        = 2 ")
    found = installed.plan()
    assert {each["action"] for each in found["changes"]} == {"change"}
    assert all(
        "threshold" in str(each["attributes"]) or "metric_query" in each["attributes"] for each in found["changes"]
    )
    plan = installed.folder / "reports/infrastructure/staging"
    kept = installed.folder / "kept"
    subprocess.run(["cp", "-r", str(plan), str(kept)], check=True)
    installed.verb("staging", "--apply", "--yes")
    subprocess.run(["cp", "-r", str(kept), str(plan)], check=True)
    told = installed.verb("staging", "--apply", "--yes", code=1)
    assert "it has changed since the plan was made" in told
    assert installed.plan()["changes"] == []


def a_lock_is_told(installed: Project) -> None:
    lock = {"ID": "42", "Operation": "OperationTypeApply", "Who": "a-colleague@laptop", "Version": "1.11.4", "Path": ""}
    store = client("s3", installed.aws)
    store.put_object(**LOCK, Body=json.dumps({**lock, "Created": "2026-11-21T00:00:00Z", "Info": ""}))
    settle(installed, "error_percent        = 2 ", "error_percent        = 3 ")
    assert installed.plan()["changes"], "who only looks waits for nobody"
    told = installed.verb("staging", "--apply", "--yes", code=1)
    assert "somebody is changing it at this moment: a-colleague@laptop, since 2026-11-21" in told
    assert "TF_WORKSPACE=staging terraform -chdir=infra/environment force-unlock 42" in told
    store.delete_object(**LOCK)
    installed.verb("staging", "--apply", "--yes")


def an_interrupted_apply_is_repeated(installed: Project, log: Path) -> None:
    installed.verb("production", "--plan")
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["env", "--default-signal=INT", *installed.command("production", "--apply", "--yes")],
            cwd=installed.folder,
            env=installed.terraform.environment,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while "Creation complete" not in log.read_text(encoding="utf-8"):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(180) != 0
    said = log.read_text(encoding="utf-8")
    assert "Traceback" not in said
    assert "Interrupted: apply of production. What was made until then is noted." in said
    assert "environments/production/environment.tfstate.tflock" not in states(installed), "the lock is released"
    assert "the plan was made" in installed.verb("production", "--apply", "--yes", code=1)
    installed.verb("production", "--plan", "--apply", "--yes")
    assert installed.plan("production")["changes"] == []


def refusals_are_told(installed: Project) -> None:
    told = installed.verb("staging", code=1, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert "nobody is logged in" in told
    told = installed.verb("staging", code=1, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert "does not answer" in told
    chosen = installed.folder / "pyproject.toml"
    text = chosen.read_text(encoding="utf-8")

    def refused(old: str, new: str) -> str:
        assert text.count(old) == 1, text
        chosen.write_text(text.replace(old, new), encoding="utf-8")
        return installed.verb("staging", code=1)

    told = refused(f'account = "{ACCOUNT}"', 'account = "210987654321"')
    assert f"The login is of the AWS account {ACCOUNT}" in told
    assert "in eu-central-1 yet" in refused('region = "eu-west-1"', 'region = "eu-central-1"')
    chosen.write_text(text, encoding="utf-8")


def destroyed(installed: Project) -> None:
    assert "Name an environment" in installed.verb("--destroy", "--yes", code=1)
    assert "production serves users" in installed.verb("production", "--destroy", "--yes", code=1)
    assert "not its name" in installed.verb("production", "--destroy", typed="staging\n", code=1)
    assert installed.of_environment("production") > 5
    installed.verb("staging", "--destroy", "--yes")
    found = left(installed.aws)
    assert "churn--staging" not in str(
        [found[kind] for kind in ("alarms", "dashboards", "logs", "schedules", "topics")]
    )
    assert "churn--production" in str(found["alarms"])
    assert any(bucket["Name"] == f"{ACCOUNT}-churn-data" for bucket in found["buckets"]), "the data stays"
    installed.verb("production", "--destroy", typed="production\n")
    assert left(installed.aws)["alarms"] == []
