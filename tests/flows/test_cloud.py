"""The flows of a project on AWS, on each code host by the same test, so that they are equal.

Real are the verbs `bootstrap` and `login`, Terraform, the flows' order and conditions, and each login: the code host's
token against the trust that infra/bootstrap has given to each role, held by the emulator. `infrastructure` and `stop`
are run; a stand-in is in the place of the verbs that let the cloud's machines work, and tests/aws runs those.
"""

from __future__ import annotations

import json
import subprocess
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Render
from tests.support.aws.harness import client, emulator, options, tell
from tests.support.terraform import Terraform, demand_providers
from tests.support.twins import twins

from .asked import ASKED
from .hosts import BY_HAND, HOSTS, PUSH, SCHEDULE, CodeHost, Outcome
from .project import begin

pytestmark = pytest.mark.slow
ANSWERS: dict[str, Any] = {"infrastructure": "aws", "serving_mode": "online_and_batch"}
TUNED = "infra/environment/environments.auto.tfvars"
ARN = "arn:aws:iam::123456789012:role/churn--"
REFUSED = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
# The verbs that are run as they are; the others are played.
REAL = ("infrastructure", "login", "stop")
# As whom each flow logs in to the cloud, in this order.
LOGINS: dict[str, list[str]] = {
    "train": ["ci-train", "staging--deploy", "production--deploy"],
    "monitor": ["ci-train"],
    "infrastructure on a change": ["ci-plan"],
    "infrastructure": ["ci-plan", "staging--apply", "ci-plan", "production--apply"],
    "infrastructure, destroy": ["staging--deploy", "staging--apply"],
}


class Setting:
    """A project, its code host and its cloud."""

    def __init__(self, code_host: CodeHost, aws: dict[str, str]) -> None:
        self.code_host, self.project, self.aws = code_host, code_host.project, aws

    def run(self, flow: str, event: str = BY_HAND, *, approved: bool = True, **inputs: str) -> Outcome:
        return self.code_host.run(flow, event, approved=approved, **inputs)

    def logins(self) -> list[str]:
        """Return the roles that were taken since the last call; one that is taken again at once counts as one."""
        names = [each["role"].removeprefix("churn--") for each in tell(self.aws, "logins", None)]
        return [name for name, _ in groupby(names)]

    def alarms(self, environment: str) -> list[tuple[str, str]]:
        """Return the alarms of an environment: a name, and what it watches."""
        asked = {"AlarmNamePrefix": f"churn--{environment}--"}
        found = client("cloudwatch", self.aws).describe_alarms(**asked)["MetricAlarms"]
        return sorted((each["AlarmName"], f"{each.get('Threshold')} {each.get('Metrics')}") for each in found)


@pytest.mark.parametrize("provider", ["github", *twins(["gitlab", "azure_devops"])])
def test_from_a_push_to_production(provider: str, tmp_path: Path) -> None:
    (tmp_path / "providers").mkdir()
    demand_providers("aws", tmp_path / "providers")
    project = begin(tmp_path / "churn", provider, real=REAL, **ANSWERS)
    with emulator(tmp_path / "emulator.log") as aws, HOSTS[provider].around(project) as code_host:
        # What a machine of the code host has: a way to the cloud, and neither a key nor a region.
        names = ("AWS_EC2_METADATA_DISABLED", "AWS_ENDPOINT_URL", "AWS_MAX_ATTEMPTS", "NO_PROXY")
        terraform = Terraform(project.folder / "infra").environment
        names_of_terraform = ("CHECKPOINT_DISABLE", "GOGC", "TF_CLI_CONFIG_FILE")
        project.installed |= {name: aws[name] for name in names}
        # Terraform looks for the service of logins here, where it is given a token and no key.
        project.installed["AWS_ENDPOINT_URL_STS"] = aws["AWS_ENDPOINT_URL"]
        project.installed |= {name: terraform[name] for name in names_of_terraform if name in terraform}
        setting = Setting(code_host, aws)
        three_commands(setting)
        a_change_shows_what_it_would_do(setting)
        a_push_goes_as_far_as_it_is_approved(setting)
        the_monitor_logs_in(setting)
        an_environment_is_taken_away(setting)
        no_other_job_gets_a_role(setting)


def three_commands(setting: Setting) -> None:
    """`git push` was the first; `bootstrap` and the approval are the others."""
    project, code_host = setting.project, setting.code_host
    with code_host.owner() as login:
        # The emulator cannot say what somebody may do: infra/bootstrap/preflight.tf.
        environment: dict[str, Any] = {"TF_VAR_preflight": "false", **login, **setting.aws}
        project.verb("bootstrap", "--yes", **environment)
    assert setting.alarms("production") == []

    told = setting.run("infrastructure")
    assert told.succeeded, told.log
    assert setting.logins() == LOGINS["infrastructure"]
    assert setting.alarms("staging")
    assert setting.alarms("production")

    told = setting.run("train")
    assert told.succeeded, told.log
    assert setting.logins() == LOGINS["train"]


def a_change_shows_what_it_would_do(setting: Setting) -> None:
    before = setting.alarms("staging")
    setting.project.edit(TUNED, "error_percent        = 1 ", "error_percent        = 2 ")
    told = setting.code_host.change()
    assert told.succeeded, told.log
    assert setting.logins() == LOGINS["infrastructure on a change"]
    assert setting.alarms("staging") == before


def a_push_goes_as_far_as_it_is_approved(setting: Setting) -> None:
    before = {name: setting.alarms(name) for name in ("staging", "production")}
    setting.run("infrastructure", PUSH, approved=False)
    assert setting.logins() == LOGINS["infrastructure"][:3]
    assert setting.alarms("staging") != before["staging"]
    assert setting.alarms("production") == before["production"]


def the_monitor_logs_in(setting: Setting) -> None:
    told = setting.run("monitor", SCHEDULE)
    assert told.succeeded, told.log
    assert setting.logins() == LOGINS["monitor"]


def an_environment_is_taken_away(setting: Setting) -> None:
    told = setting.run("infrastructure", destroy="staging")
    assert told.succeeded, told.log
    assert setting.logins() == LOGINS["infrastructure, destroy"]
    assert setting.alarms("staging") == []
    assert setting.alarms("production")


def no_other_job_gets_a_role(setting: Setting) -> None:
    """A token for another role, or of another repository: AWS refuses both."""
    with setting.code_host.mixed_up():
        told = setting.run("infrastructure")
    assert not told.succeeded
    assert REFUSED in told.log
    # The variables of the project name another role for who plans.
    setting.code_host.set("CLOUD_ROLE_PLAN", f"{ARN}production--apply")
    told = setting.run("infrastructure")
    assert not told.succeeded
    assert REFUSED in told.log
    assert "Traceback" not in told.log
    assert setting.logins() == []


# -------------------------------------------------------------------------------------------- names

# Names that both Terraform and the flows must shorten, or write in another way.
AWKWARD = {"package_name": "a_" + "b" * 37, "environments": "a--b, dev-, " + "p" * 20}


def trusted(folder: Path, provider: str) -> dict[str, dict[str, Any]]:
    """Return the roles of the flows as Terraform makes them: by purpose, the name and what a token must say."""
    terraform = Terraform(folder / "infra")
    local = 'terraform {\n  backend "local" {}\n}\n'
    (folder / "infra/bootstrap/first_override.tf").write_text(local, encoding="utf-8")
    terraform.run("bootstrap", "init", "-input=false")
    done = subprocess.run(
        ["terraform", "console", *options(provider, preflight="false")[1:]],
        cwd=folder / "infra/bootstrap",
        env=terraform.environment,
        input="jsonencode({ roles = module.project.roles, trust = local.trust })",
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(json.loads(done.stdout))
    names = {purpose: said["roles"][purpose] for purpose in ("plan", "train")}
    for environment, roles in said["roles"]["environments"].items():
        names |= {f"{purpose}/{environment}": roles[purpose] for purpose in ("apply", "deploy")}
    return {purpose: {"name": names[purpose], **trust} for purpose, trust in said["trust"].items()}


@pytest.mark.parametrize("provider", HOSTS)
def test_the_flows_ask_for_the_roles_that_terraform_makes(provider: str, rendered: Render, tmp_path: Path) -> None:
    demand_providers("aws", tmp_path)
    folder = rendered({"infrastructure": "aws", "ci_provider": provider, **AWKWARD})
    roles = {name.replace("/", "-"): role for name, role in trusted(folder, provider).items()}
    assert len(roles) == 8
    guards = ASKED[provider](folder)
    assert set(guards) == set(roles)
    for name, role in roles.items():
        subjects = role["subjects"]
        expected = {
            "gitlab": {role["audience"]},
            "github": {subject.partition(":environment:")[2] for subject in subjects},
            "azure_devops": {subject.rpartition("/")[2] for subject in subjects},
        }[provider]
        assert guards[name] == expected
        if provider == "gitlab":
            assert role["audience"] == f"arn:aws:iam::123456789012:role/{role['name']}"
