"""What is Azure DevOps' own: the flows' files, linted and read, and how the verb `bootstrap` sets the host up."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Render
from tests.support.answers import HOSTILE
from tests.support.projects import commit

from .hosts import azure_pipelines
from .hosts.azure_devops import expanded, jobs_of, steps_of
from .hosts.azure_devops_api import PROJECT, REPOSITORY, AzureDevOps, serving
from .project import TOOLS, FlowProject, begin, node_tool

ANSWERS = {
    "default": {},
    "batch": {"serving_mode": "batch"},
    "online_and_batch": {"serving_mode": "online_and_batch"},
    "hostile": HOSTILE | {"repository": "Some-Org/a.b_c/d-" + "e" * 60},
    "cloud": {"infrastructure": "aws"},
    "cloud, batch": {"infrastructure": "aws", "serving_mode": "batch"},
    "cloud, hostile": HOSTILE | {"repository": "Some-Org/a.b_c/d-" + "e" * 60, "infrastructure": "aws"},
}
PIPELINES = ("check", "train", "deploy", "monitor", "update-template")
ON_A_CLOUD = (*PIPELINES, "infrastructure")
LINT = Path(azure_pipelines.__file__).parent / "lint.cjs"
TOKEN = "token-of-the-registry"  # noqa: S105


# ------------------------------------------------------------------------------------------ files


def lint(*files: Path) -> subprocess.CompletedProcess[str]:
    """Lint with the language service, by the schema that check-jsonschema carries."""
    node, _ = node_tool("azure-pipelines-language-service", "package.json")
    package = importlib.util.find_spec("check_jsonschema")
    assert package is not None
    assert package.origin is not None
    schema = Path(package.origin).parent / "builtin_schemas/vendor/azure-pipelines.json"
    command = [node, str(LINT), str(TOOLS / "node_modules"), str(schema), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_files_are_in_order(answers: dict[str, Any], rendered: Render, tmp_path: Path) -> None:
    folder = rendered({"ci_provider": "azure_devops", **answers})
    commit(folder)
    files = sorted((folder / "azure-pipelines").rglob("*.yml"))
    pipelines = ON_A_CLOUD if "infrastructure" in answers else PIPELINES
    assert {file.stem for file in files if file.parent.name == "azure-pipelines"} == set(pipelines)
    for flow in pipelines:
        for reason in ("Manual", "IndividualCI", "PullRequest"):
            document = expanded(folder, flow, Build_Reason=reason)
            files.append(tmp_path / f"{flow}-{reason}.yml")
            files[-1].write_text(yaml.safe_dump(document, sort_keys=False, width=200), encoding="utf-8")
            assert "${{" not in files[-1].read_text(encoding="utf-8")
    told = lint(*files)
    assert told.returncode == 0, told.stdout + told.stderr
    for file in (folder / "azure-pipelines").rglob("*.yml"):
        text = file.read_text(encoding="utf-8")
        # What people write reaches a shell through the environment alone.
        scripts = re.findall(r"script: (.+)", text)
        assert all(
            re.fullmatch(
                rf"uv run {package_of(folder)} \$\{{\{{ parameters.verb \}}\}}|python -m pip .+|\||mkdir [^{{]+"
                rf"|uv run {package_of(folder)} login( \$\{{\{{ parameters.(role|options) \}}\}}){{2}}",
                script,
            )
            for script in scripts
        ), scripts
        assert not re.search(r"\n\n\n|[ \t]\n", text)
    schema = ["check-jsonschema", "--builtin-schema", "vendor.renovate", str(folder / "renovate.json")]
    assert subprocess.run(schema, capture_output=True, check=False).returncode == 0


def package_of(folder: Path) -> str:
    return str(yaml.safe_load((folder / ".copier-answers.yml").read_text(encoding="utf-8"))["package_name"])


def test_the_linter_finds_what_is_wrong(rendered: Render, tmp_path: Path) -> None:
    folder = rendered({"ci_provider": "azure_devops"}) / "azure-pipelines"
    for file, old, new in (
        ("check.yml", "testResultsFormat", "testResultFormat"),
        ("check.yml", "summaryFileLocation", "summaryLocation"),
        ("deploy.yml", "lockBehavior: sequential", "lockBehavior: never"),
        ("templates/settings.yml", "- group", "- grup"),
        ("templates/setup.yml", "UsePythonVersion@0", "UsePythonVersion@9"),
    ):
        broken = tmp_path / "broken.yml"
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text
        broken.write_text(text.replace(old, new), encoding="utf-8")
        assert lint(broken).returncode == 1, f"{file}: {new}"


def test_the_files_are_short(rendered: Render) -> None:
    folder = rendered({"ci_provider": "azure_devops", "serving_mode": "online_and_batch"}) / "azure-pipelines"
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in folder.rglob("*.yml")) <= 450


@pytest.mark.parametrize("mode", ["online", "batch", "online_and_batch"])
def test_who_logs_in_to_a_cloud_and_as_whom(mode: str, rendered: Render) -> None:
    folder = rendered({"ci_provider": "azure_devops", "serving_mode": mode, "infrastructure": "aws"})
    environments = ["production"] if mode == "batch" else ["staging", "production"]
    logins: dict[str, list[str]] = {}
    for flow in ON_A_CLOUD:
        document = expanded(folder, flow, Build_Reason="PullRequest" if flow == "check" else "Manual")
        for stage in document["stages"]:
            for job in stage["jobs"]:
                steps = steps_of(job)
                asked = [step["inputs"]["serviceEndpoint"] for step in steps if step.get("task") == "cURLUploader@2"]
                taken = [step for step in steps if " login " in step.get("script", "")]
                roles = [each.removeprefix("churn-") for each in asked]
                assert [step["script"].split()[4] for step in taken] == roles
                names = [role.upper().replace("-", "_") for role in roles]
                connections = [step["env"]["CLOUD_CONNECTION"] for step in taken]
                assert connections == [f"$(CLOUD_CONNECTION_{name})" for name in names]
                place = job.get("environment") or job.get("job")
                if asked:
                    logins.setdefault(f"{flow}/{stage['stage']}/{place}", []).extend(asked)
                    assert {"group": "churn-cloud"} in document["variables"]
    expected = {"train/train/train": ["churn-train"], "monitor//monitor": ["churn-train"]}
    expected |= {f"check//{job}": ["churn-plan"] for job in ("judge", "plan")}
    for name in environments:
        expected |= {f"{flow}/to_{name}/{name}": [f"churn-deploy-{name}"] for flow in ("train", "deploy")}
        expected[f"infrastructure/plan_{name}/plan"] = ["churn-plan"]
        expected[f"infrastructure/apply_{name}/{name}"] = [f"churn-apply-{name}"]
    assert {re.sub("/__default/", "//", place): asked for place, asked in logins.items()} == expected
    fork = {"Build_Reason": "PullRequest", "System_PullRequest_IsFork": "True"}
    assert " login " not in str(expanded(folder, "check", **fork)), "a fork's code gets no login"
    if mode != "batch":
        document = expanded(folder, "infrastructure", {"destroy": "staging"})
        (job,) = jobs_of(document).values()
        verbs = [step["script"] for step in steps_of(job) if "uv run" in step.get("script", "")]
        assert job["environment"] == "staging"
        assert verbs == [
            "uv run churn login deploy-staging ", "uv run churn stop staging",
            "uv run churn login apply-staging ", "uv run churn infrastructure staging --destroy --yes",
        ]  # fmt: skip


@pytest.mark.parametrize("mode", ["online", "batch", "online_and_batch"])
def test_permissions_timeouts_and_concurrency(mode: str, rendered: Render) -> None:
    folder = rendered({"ci_provider": "azure_devops", "serving_mode": mode})
    flows = {flow: expanded(folder, flow) for flow in PIPELINES}
    logins: dict[str, set[str]] = {}
    for flow, document in flows.items():
        for name, job in jobs_of(document).items():
            assert 5 <= int(job["timeoutInMinutes"]) <= 360, f"{flow}/{name}"
            steps = steps_of(job)
            logins[f"{flow}/{name}"] = {
                f"{step['displayName']}: {secret}"
                for step in steps
                for secret in ("SYSTEM_ACCESSTOKEN", "MLFLOW_TRACKING_TOKEN")
                if secret in step.get("env", {})
            }
            (checkout,) = (step for step in steps if "checkout" in step)
            assert checkout["clean"] == "false", "a service may run from this folder"
            assert checkout["persistCredentials"] == "false"
            assert checkout["fetchDepth"] == (0 if name in ("judge", "train", "merge", "update") else 1)
            for step in steps:
                if step.get("script", "").startswith("uv run"):
                    assert step["env"]["UV_LOCKED"] == "1"
                pushes = "GIT_CONFIG_VALUE_0" in step.get("env", {})
                assert pushes is (step.get("script") == "uv run churn propose --bundle reports/update")
    # The login to Azure DevOps goes to the verb that needs it, the registry's to no job of a change.
    host = {each for found in logins.values() for each in found if "SYSTEM_ACCESSTOKEN" in each}
    assert host == {
        f"{verb}: SYSTEM_ACCESSTOKEN"
        for verb in ("report --publish", "monitor --respond", "propose --bundle reports/update")
    }
    assert logins["update-template/merge"] == set(), "what merges runs packages that nobody here has looked at"
    for place in ("check/check", "check/judge", "update-template/update"):
        assert not any("MLFLOW" in each for each in logins[place])
    environments = ["production"] if mode == "batch" else ["staging", "production"]
    deployments = {name: job for name, job in jobs_of(flows["deploy"]).items() if "deployment" in job}
    assert [job["environment"] for job in deployments.values()] == environments
    assert {f"to_{name}" for name in environments} == set(jobs_of(flows["deploy"]))
    # One at a time: what `bootstrap`'s lock on the variable group does with those that wait.
    behavior = {flow: document.get("lockBehavior") for flow, document in flows.items()}
    assert behavior == {
        "check": None, "train": "sequential", "deploy": "sequential", "monitor": "sequential", "update-template": None,
    }  # fmt: skip
    for flow in ("train", "deploy", "monitor"):
        assert {"group": "churn"} in flows[flow]["variables"]
    assert flows["check"]["trigger"]["batch"] == "true"


def test_own_machine_or_lent_one(rendered: Render) -> None:
    folder = rendered({"ci_provider": "azure_devops"})
    lent = {"vmImage": "ubuntu-24.04"}
    assert [expanded(folder, flow)["pool"] for flow in PIPELINES] == [lent] * 5
    settings = folder / "azure-pipelines/templates/settings.yml"
    settings.write_text(settings.read_text(encoding="utf-8").replace('value: ""', 'value: "my pool"'))
    own = {"name": "my pool"}
    assert [expanded(folder, flow)["pool"] for flow in PIPELINES] == [lent, own, own, own, lent]
    tasks = {step.get("task") for step in steps_of(jobs_of(expanded(folder, "train"))["train"])}
    assert tasks == {None}, "one's own machine has uv and keeps its caches"


def test_each_flow_begins_when_it_should(rendered: Render) -> None:
    folder = rendered({"ci_provider": "azure_devops"})
    flows = {flow: expanded(folder, flow) for flow in PIPELINES}
    assert flows["check"]["trigger"]["branches"] == flows["train"]["trigger"]["branches"] == {"include": ["main"]}
    assert {"params.yaml", "dvc.lock", "data", "src", "engine", "uv.lock"} <= set(
        flows["train"]["trigger"]["paths"]["include"]
    )
    assert [flow for flow in PIPELINES if flows[flow]["trigger"] == "none"] == ["deploy", "monitor", "update-template"]
    assert [flow for flow in PIPELINES if "schedules" in flows[flow]] == ["train", "monitor", "update-template"]
    for flow in ("train", "monitor", "update-template"):
        (schedule,) = flows[flow]["schedules"]
        assert schedule["always"] == "true", "also when nothing was pushed since"
        assert not schedule["cron"].startswith("0 "), "at the full hour all the world's flows begin"
    runs = {reason: expanded(folder, "train", Build_Reason=reason) for reason in ("BatchedCI", "Schedule", "Manual")}
    verbs = {
        reason: [step.get("displayName") for step in steps_of(jobs_of(run)["train"])] for reason, run in runs.items()
    }
    assert ["run" in verbs[reason] for reason in runs] == [True, False, False]
    assert ["retrain" in verbs[reason] for reason in runs] == [False, True, True]


# -------------------------------------------------------------------------------------- bootstrap


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> FlowProject:
    """Return a project that tests leave as it is."""
    return begin(tmp_path_factory.mktemp("azure") / "churn", "azure_devops")


class Setting:
    """A project whose git remote is an empty Azure DevOps, and the verb that sets it up."""

    OPTIONS = ("--runner", "mine", "--state", "/srv/churn", "--yes")

    def __init__(self, project: FlowProject, host: AzureDevOps) -> None:
        self.project, self.host = project, host

    def bootstrap(self, *words: str, code: int = 0, login: str = "personal") -> str:
        told = self.project.verb("bootstrap", *words, code=code, AZURE_DEVOPS_EXT_PAT=login)
        assert "Traceback" not in told.stderr
        return told.stdout + told.stderr

    def group(self) -> dict[str, Any]:
        return next(group for group in self.host.groups if group["name"] == "churn")


@pytest.fixture
def setting(project: FlowProject) -> Iterator[Setting]:
    with serving() as host:
        project.git("remote", "set-url", "origin", f"{host.url}/{PROJECT}/_git/{REPOSITORY}")
        yield Setting(project, host)
        project.git("remote", "set-url", "origin", str(project.origin))
        assert host.unknown == []


@pytest.mark.slow
def test_bootstrap(setting: Setting) -> None:
    host, bootstrap = setting.host, setting.bootstrap
    planned = bootstrap("--dry-run", "--runner", "mine")
    assert "approval of production" in planned
    assert "by hand" in planned, "the pool's name is written into a file"
    assert host.changes() == []
    empty = host.settings()

    # Interrupted in the middle, and repeated.
    host.breaks_after = 8
    assert "Azure DevOps answers 500" in bootstrap(*Setting.OPTIONS, code=1)
    host.breaks_after = None
    bootstrap(*Setting.OPTIONS)
    assert {definition["name"] for definition in host.definitions} == {f"churn-{flow}" for flow in PIPELINES}
    assert [environment["name"] for environment in host.environments] == ["staging", "production"]
    assert setting.group()["variables"]["PROJECT_STATE"] == {"value": "/srv/churn"}
    assert setting.group()["variables"]["MLFLOW_TRACKING_TOKEN"]["isSecret"] is True
    approval = next(check for check in host.checks if check["type"]["name"] == "Approval")
    assert approval["settings"]["approvers"] == [{"id": "id-of-ml-team"}]
    assert approval["resource"]["name"] == "production"
    assert {check["type"]["name"] for check in host.checks} == {"Approval", "ExclusiveLock", "Task Check"}
    guarded = {
        (check["resource"]["type"], check["resource"]["name"])
        for check in host.checks
        if check["type"]["name"] == "Task Check" and check["settings"]["inputs"]["allowedBranches"] == "refs/heads/main"
    }
    names = {("environment", "staging"), ("environment", "production")}
    assert guarded == {*names, ("variablegroup", "churn"), ("queue", "mine")}, "a branch's pipelines use none of them"
    review, owners, build = host.policies
    assert owners["settings"]["requiredReviewerIds"] == ["id-of-ml-team"], "the flows' own identity may vote, too"
    assert review["settings"]["minimumApproverCount"] == 1
    assert review["isBlocking"]
    assert build["isBlocking"]
    checked = next(each for each in host.definitions if each["name"] == "churn-check")
    assert build["settings"]["buildDefinitionId"] == checked["id"]
    assert len(host.rights) == 4
    assert len(host.permissions["queue", "9"]) == 3

    # Again: nothing is to be done. What people have changed since is brought back, but for a secret.
    count = len(host.changes())
    assert "Everything is there." in bootstrap(*Setting.OPTIONS)
    assert len(host.changes()) == count
    setting.group()["variables"]["MLFLOW_TRACKING_TOKEN"]["value"] = TOKEN
    review["settings"]["minimumApproverCount"] = 0
    assert "differs" in bootstrap("--state", "/srv/other", "--yes")
    assert host.policies[0]["settings"]["minimumApproverCount"] == 1
    assert setting.group()["variables"]["PROJECT_STATE"] == {"value": "/srv/other"}
    assert setting.group()["variables"]["MLFLOW_TRACKING_TOKEN"]["value"] == TOKEN

    bootstrap("--undo", "--yes")
    assert host.settings() == empty


def test_bootstrap_says_what_is_in_the_way(setting: Setting) -> None:
    host, bootstrap = setting.host, setting.bootstrap
    host.expired = {"personal"}
    assert "missing, wrong or expired" in bootstrap(code=1)
    host.expired = set()
    host.forbidden = ("distributedtask/variablegroups",)
    assert "The login lacks Variable Groups" in bootstrap(code=1)
    host.forbidden = ()
    assert "'stranger' is not one person or team" in bootstrap("--reviewer", "stranger", code=1)
    # The identity of the flows appears once a pipeline has run.
    host.pipelines_have_run = False
    assert len(re.findall(r"by hand +right to", bootstrap("--dry-run"))) == 4
    assert host.changes() == []
