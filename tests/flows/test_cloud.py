"""The flows of a project on a cloud, on each code host by the same test, so that they are equal.

Real are the verb `bootstrap`, Terraform, the flows' order and conditions, and each login: the code host's token against
the trust that infra/bootstrap has given to each role, held by the emulator. `infrastructure`, `fetch`, `report` and
`stop` are run; a stand-in is in the place of the verbs that let the cloud's machines work (STOOD_IN in harness.py), and
tests/aws runs those.
"""

from __future__ import annotations

import json
import re
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..aws.harness import Terraform, demand_providers, emulator, options, tell
from ..aws.test_emulator import client
from ..conftest import Render
from . import act, azure_devops_api, github_api, gitlab_api
from .gitlab_local import Pipelines
from .harness import FLOWS, LOGINS, Hosted, hosted
from .test_azure_devops import MANUAL, ON_A_CLOUD, PUSH, SCHEDULE, Azure, expanded, steps_of
from .test_github import PUSHED
from .test_gitlab import CHANGE, inputs_of, pushed

pytestmark = pytest.mark.slow
ANSWERS = {"infrastructure": "aws", "serving_mode": "online_and_batch"}
TUNED = "infra/environment/environments.auto.tfvars"
ARN = "arn:aws:iam::123456789012:role/churn--"
TRACKING = "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/churn-mlflow"
REFUSED = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
BY_HAND, PUSHING, SCHEDULED = "by hand", "push", "schedule"


@dataclass(frozen=True)
class Told:
    """What became of a flow."""

    succeeded: bool
    log: str


class CodeHost(ABC):
    """A code host around a project: how its flows are begun, and what they read and leave there."""

    def __init__(self, project: Hosted, host: Any) -> None:
        self.project, self.host = project, host

    @abstractmethod
    def bootstrap(self, **environment: str) -> str:
        """Run the verb as the project's owner, and return what it says."""

    @abstractmethod
    def started(self) -> list[str]:
        """Return the flows that were begun over the host's interface."""

    @abstractmethod
    def run(self, flow: str, event: str = BY_HAND, *, approved: bool = True, **inputs: str) -> Told:
        """Run a flow to its end, or without an approval as far as it comes."""

    @abstractmethod
    def change(self) -> Told:
        """Run what a change runs, but for the checks that know no cloud."""

    @abstractmethod
    def comments(self) -> list[str]:
        """Return what the flows have written on the change."""

    @abstractmethod
    def mix_up(self) -> None:
        """Let the project's variables name another role for who plans: the one that applies to production."""


class OnGitHub(CodeHost):
    def bootstrap(self, **environment: str) -> str:
        login = {"GITHUB_API_URL": self.host.address, "GITHUB_REPOSITORY": self.host.name, "GITHUB_TOKEN": "owner"}
        return self.project.verb("bootstrap", "--yes", code=0, **login, **environment).stdout

    def started(self) -> list[str]:
        return [each["flow"].removesuffix(".yml") for each in self.host.dispatched]

    def run(self, flow: str, event: str = BY_HAND, *, approved: bool = True, **inputs: str) -> Told:
        told = PUSHED if event == PUSHING else {"inputs": inputs}
        # act asks nobody: without an approval a run ends before the job that waits for it.
        job = "" if approved else "plan-production"
        return self._run(flow, "workflow_dispatch" if event == BY_HAND else event, told, job)

    def change(self) -> Told:
        told = self.host.pull_request()
        parts = [self._run("check", "pull_request", told, "judge"), self._run("infrastructure", "pull_request", told)]
        return Told(all(part.succeeded for part in parts), "\n".join(part.log for part in parts))

    def comments(self) -> list[str]:
        return [each["body"] for each in self.host.comments.values()]

    def mix_up(self) -> None:
        self.host.variables["CLOUD_ROLE_PLAN"] = f"{ARN}production--apply"

    def _run(self, flow: str, event: str, told: Any, job: str = "") -> Told:
        run = act.run(self.project, self.host, flow, event, told=told, variables=self.host.variables, job=job)
        return Told(run.code == 0, run.log)


class OnGitLab(CodeHost):
    def __init__(self, project: Hosted, host: gitlab_api.GitLab) -> None:
        super().__init__(project, host)
        host.inputs = inputs_of(project.folder)
        host.merge_requests["1"] = dict(CHANGE)
        self._pipelines = Pipelines(project, host)

    def bootstrap(self, **environment: str) -> str:
        login = {"CI_PROJECT_ID": str(gitlab_api.NUMBER), "GITLAB_TOKEN": gitlab_api.TOKEN}
        login["CI_API_V4_URL"] = f"{self.host.url}/api/v4"
        return self.project.verb("bootstrap", "--yes", code=0, **login, **environment).stdout

    def started(self) -> list[str]:
        return [each["inputs"]["flow"] for each in self.host.pipelines]

    def run(self, flow: str, event: str = BY_HAND, *, approved: bool = True, **inputs: str) -> Told:
        last = {"infrastructure": "apply production", "train": "deploy to production"}.get(flow, "")
        jobs = ["plan staging", "apply staging", "plan production", "apply production"] if event == PUSHING else []
        with pushed(self.project) if event == PUSHING else nullcontext():
            run = self._pipelines.run(
                "web" if event == BY_HAND else event,
                inputs=None if event == PUSHING else {"flow": flow, **inputs},
                manual=[last] if approved and last else [],
                jobs=jobs if approved else jobs[:-1],
                variables=self._variables(),
                own_machine=False,
            )
        return Told(run.code == 0, run.log)

    def change(self) -> Told:
        with pushed(self.project):
            # The variables are protected: the branch of a change does not see them.
            run = self._pipelines.run("merge_request_event", jobs=["judge", "plan"], own_machine=False)
        return Told(run.code == 0, run.log)

    def comments(self) -> list[str]:
        return [each["body"] for each in self.host.notes["merge_requests/1"]]

    def mix_up(self) -> None:
        self.host.variables["AWS_ROLE_ARN"] = {"value": f"{ARN}production--apply"}

    def _variables(self) -> dict[str, str]:
        return {name: each["value"] for name, each in self.host.variables.items() if name != "BOOTSTRAP_MADE"}


class OnAzureDevOps(CodeHost):
    def __init__(self, project: Hosted, host: azure_devops_api.AzureDevOps) -> None:
        super().__init__(project, host)
        self._azure = Azure(project, host)

    def bootstrap(self, **environment: str) -> str:
        place = f"{self.host.url}/{azure_devops_api.PROJECT}/_git/{azure_devops_api.REPOSITORY}"
        self.project.git("remote", "set-url", "origin", place)
        try:
            return self.project.verb(
                "bootstrap", "--yes", code=0, AZURE_DEVOPS_EXT_PAT="personal", **environment
            ).stdout
        finally:
            self.project.git("remote", "set-url", "origin", str(self.project.origin))

    def started(self) -> list[str]:
        return [each["pipeline"].removeprefix("churn-") for each in self.host.runs]

    def run(self, flow: str, event: str = BY_HAND, *, approved: bool = True, **inputs: str) -> Told:
        self._azure.approve = lambda resource: approved or "production" not in resource
        return self._run(flow, {PUSHING: PUSH, SCHEDULED: SCHEDULE}.get(event, MANUAL), given=inputs)

    def change(self) -> Told:
        try:
            return self._run("check", self._azure.pull_request(), only=["judge", "plan"])
        finally:
            self.project.git("switch", "--quiet", "main")

    def comments(self) -> list[str]:
        return [
            each["content"]
            for threads in self.host.threads.values()
            for thread in threads
            for each in thread["comments"]
        ]

    def mix_up(self) -> None:
        group = next(group for group in self.host.groups if group["name"] == "churn-cloud")
        group["variables"]["CLOUD_ROLE_PLAN"] = {"value": f"{ARN}production--apply"}

    def _run(self, flow: str, told: dict[str, str], **more: Any) -> Told:
        run = self._azure.run(flow, told, **more)
        return Told(run.result == "succeeded", run.log())


class Setting:
    """A project, its code host and its cloud."""

    def __init__(self, code_host: CodeHost, aws: dict[str, str]) -> None:
        self.code_host, self.project, self.aws = code_host, code_host.project, aws

    def run(self, flow: str, event: str = BY_HAND, *, approved: bool = True, **inputs: str) -> Told:
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


@contextmanager
def on_github(project: Hosted) -> Iterator[CodeHost]:
    act.readable(project)
    host = github_api.GitHub(project.origin, project.folder / ".github/workflows", name="ml-team/churn")
    with github_api.serving(host):
        yield OnGitHub(project, host)
    assert host.wrong == []


@contextmanager
def on_gitlab(project: Hosted) -> Iterator[CodeHost]:
    with gitlab_api.serving(gitlab_api.GitLab()) as host:
        yield OnGitLab(project, host)


@contextmanager
def on_azure_devops(project: Hosted) -> Iterator[CodeHost]:
    # As Azure Repos: an agent asks for the one commit that it builds.
    project.git(f"--git-dir={project.origin}", "config", "uploadpack.allowAnySHA1InWant", "true")
    with azure_devops_api.serving() as host:
        yield OnAzureDevOps(project, host)
    assert host.unknown == []


HOSTS: dict[str, Callable[[Hosted], Any]] = {
    "github": on_github, "gitlab": on_gitlab, "azure_devops": on_azure_devops,
}  # fmt: skip


@pytest.mark.parametrize(
    "provider", ["github", *[pytest.param(name, marks=pytest.mark.twin) for name in ("gitlab", "azure_devops")]]
)
def test_from_a_push_to_production(provider: str, tmp_path: Path) -> None:
    (tmp_path / "providers").mkdir()
    demand_providers(tmp_path / "providers")
    project = hosted(tmp_path / "churn", provider, **ANSWERS)
    project.stand_in()
    with emulator(tmp_path / "emulator.log") as aws, HOSTS[provider](project) as code_host:
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
    # The emulator cannot say what somebody may do: infra/bootstrap/preflight.tf.
    code_host.bootstrap(TF_VAR_preflight="false", **setting.aws)
    assert code_host.started() == ["infrastructure", "train"]
    assert setting.alarms("production") == []

    told = setting.run("infrastructure")
    assert told.succeeded, told.log
    assert project.verbs() == FLOWS["infrastructure"]
    assert setting.logins() == LOGINS["infrastructure"]
    assert setting.alarms("staging")
    assert setting.alarms("production")

    told = setting.run("train")
    assert told.succeeded, told.log
    assert project.verbs() == FLOWS["train, cloud"] + FLOWS["deploy"]
    assert setting.logins() == LOGINS["train"]
    notes = project.notes()
    deploying = [(f"deploy --to {name} --yes", f"churn--{name}--deploy", "1") for name in ("staging", "production")]
    noted = [(note["verb"], note["role"], note["MODEL_VERSION"]) for note in notes]
    assert [each for each in noted if each[0].startswith("deploy")] == deploying
    assert [each[:2] for each in noted[:2]] == [("image", "churn--ci-train"), ("retrain --submit", "churn--ci-train")]
    assert {note["MLFLOW_TRACKING_URI"] for note in notes} == {TRACKING}


def a_change_shows_what_it_would_do(setting: Setting) -> None:
    before = setting.alarms("staging")
    setting.project.edit(TUNED, "error_percent        = 1 ", "error_percent        = 2 ")
    told = setting.code_host.change()
    assert told.succeeded, told.log
    # Two jobs, or two flows, side by side: each in its order.
    judge = ["fetch", "run --until evaluate", "report --publish"]
    assert sorted(setting.project.verbs()) == sorted(judge + FLOWS["infrastructure on a change"])
    assert setting.logins() == LOGINS["infrastructure on a change"]
    report, plan = sorted(setting.code_host.comments())
    assert "Verdict: green" in report + plan
    (page,) = (text for text in (report, plan) if "# What this does to the infrastructure" in text)
    assert "## staging: " in page
    assert "## production: " in page
    assert '| change | `module.monitoring.aws_cloudwatch_metric_alarm.errors["stable"]` |' in page
    assert setting.alarms("staging") == before


def a_push_goes_as_far_as_it_is_approved(setting: Setting) -> None:
    before = {name: setting.alarms(name) for name in ("staging", "production")}
    setting.run("infrastructure", PUSHING, approved=False)
    assert setting.project.verbs() == FLOWS["infrastructure"][:3]
    assert setting.logins() == LOGINS["infrastructure"][:3]
    assert setting.alarms("staging") != before["staging"]
    assert setting.alarms("production") == before["production"]


def the_monitor_logs_in(setting: Setting) -> None:
    told = setting.run("monitor", SCHEDULED)
    assert told.succeeded, told.log
    assert setting.project.verbs() == FLOWS["monitor, cloud"]
    assert setting.logins() == LOGINS["monitor"]


def an_environment_is_taken_away(setting: Setting) -> None:
    told = setting.run("infrastructure", destroy="staging")
    assert told.succeeded, told.log
    assert setting.project.verbs() == FLOWS["infrastructure, destroy"]
    assert setting.logins() == LOGINS["infrastructure, destroy"]
    assert setting.alarms("staging") == []
    assert setting.alarms("production")


def no_other_job_gets_a_role(setting: Setting) -> None:
    """A token for another role, or of another repository: AWS refuses both."""
    host = setting.code_host.host
    own, host.known_as = host.known_as, host.known_as.replace("churn", "stranger")
    told = setting.run("infrastructure")
    assert not told.succeeded
    assert REFUSED in told.log
    host.known_as = own
    setting.code_host.mix_up()
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


def variable(purpose: str) -> str:
    return f"CLOUD_ROLE_{purpose.replace('/', '_').replace('-', '_').upper()}"


def asked_on_github(folder: Path) -> dict[str, set[str]]:
    """Return the variables that name roles, and the environments of the jobs that take them."""
    found: dict[str, set[str]] = {}
    for path in (folder / ".github/workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
            for step in job.get("steps", []):
                if step.get("uses", "").endswith("actions/cloud"):
                    name = re.search(r"CLOUD_ROLE_\w+", step["with"]["role"])
                    assert name
                    found.setdefault(name[0], set()).add(job.get("environment", ""))
    return found


@pytest.mark.parametrize("provider", HOSTS)
def test_the_flows_ask_for_the_roles_that_terraform_makes(provider: str, rendered: Render, tmp_path: Path) -> None:
    demand_providers(tmp_path)
    folder = rendered({"infrastructure": "aws", "ci_provider": provider, **AWKWARD})
    roles = trusted(folder, provider)
    assert len(roles) == 8
    if provider == "gitlab":
        cloud = yaml.safe_load((folder / ".gitlab/ci/cloud.yml").read_text(encoding="utf-8"))
        arn = "arn:aws:iam::123456789012:role/"
        for purpose, role in roles.items():
            job = cloud[f".cloud-{purpose.replace('/', '-')}"]
            assert job["variables"]["AWS_ROLE_ARN"] == arn + role["name"] == role["audience"]
            assert job["id_tokens"]["CLOUD_TOKEN"]["aud"] == role["audience"]
        assert len(cloud) == len(roles) + 1
    elif provider == "github":
        asked = asked_on_github(folder)
        assert set(asked) == set(map(variable, roles))
        for purpose, role in roles.items():
            environments = {subject.partition(":environment:")[2] for subject in role["subjects"]}
            assert asked[variable(purpose)] == environments
    else:
        flows = [expanded(folder, flow, Build_Reason="PullRequest") for flow in ON_A_CLOUD]
        steps = [step for flow in flows for stage in flow["stages"] for job in stage["jobs"] for step in steps_of(job)]
        named = {step["inputs"]["serviceEndpoint"] for step in steps if step.get("task") == "cURLUploader@2"}
        assert named == {subject.rpartition("/")[2] for role in roles.values() for subject in role["subjects"]}
        known = {step["env"]["CLOUD_ROLE"] for step in steps if "CLOUD_ROLE" in step.get("env", {})}
        assert known == {f"$({variable(purpose)})" for purpose in roles}
