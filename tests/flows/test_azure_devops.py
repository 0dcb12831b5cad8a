"""The flows on Azure DevOps: linted, and run to their end by the runner in azure_pipelines/, with the real verbs."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..conftest import UV, Render, commit
from ..support.answers import HOSTILE
from ..support.traffic import TRAFFIC
from .azure_devops_api import ORGANIZATION_ID, PROJECT, REPOSITORY, AzureDevOps, serving
from .azure_pipelines import Execution, Run, Server, Source, compile_pipeline, stand_ins
from .azure_pipelines.scheduling import names
from .harness import FLOWS, TOOLS, Deployed, Hosted, Releases, hosted, node_tool, vulnerabilities

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
LINT = Path(__file__).parent / "azure_pipelines/lint.cjs"
PUSH = {"Build.Reason": "IndividualCI"}
SCHEDULE = {"Build.Reason": "Schedule"}
MANUAL = {"Build.Reason": "Manual"}
TOKEN = "token-of-the-registry"  # noqa: S105


def make(folder: Path, pool: str = "", **answers: Any) -> Hosted:
    """Return a project ready for its runner.

    Args:
        folder: for all that belongs to it.
        pool: of one's own machine.
        answers: for the template.
    """
    project = hosted(folder / "churn", "azure_devops", **answers)
    # As Azure Repos: an agent asks for the one commit that it builds.
    subprocess.run(["git", "config", "uploadpack.allowAnySHA1InWant", "true"], cwd=project.origin, check=True)
    if pool:
        project.edit("azure-pipelines/templates/settings.yml", 'value: ""', f'value: "{pool}"')
    return project


class Azure:
    """Azure DevOps around a project: its interface on loopback, its agents on this machine."""

    def __init__(self, project: Hosted, host: AzureDevOps) -> None:
        self.project, self.host = project, host
        self.variables = {
            "MLFLOW_TRACKING_URI": "", "PROJECT_STATE": str(project.state), "MLFLOW_TRACKING_TOKEN": TOKEN,
        }  # fmt: skip
        self.approve: Callable[[str], bool] = lambda environment: True
        self.cancel: Callable[[str], bool] = lambda step: False
        cache = subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
        self._tasks = stand_ins({"uv": Path(cache)})

    def pull_request(self, branch: str = "change", message: str = "Change", *, fork: bool = False) -> dict[str, str]:
        """Push a branch and its merge with main, as Azure Repos does for a pull request; return its variables."""
        project = self.project
        project.git("switch", "--quiet", "--force-create", branch)
        project.commit(message)
        merge = "refs/pull/7/merge"
        project.git("push", "--quiet", "--force", "origin", f"HEAD:{merge}")
        return {
            "Build.Reason": "PullRequest", "Build.SourceBranch": merge, "Build.SourceVersionMessage": message,
            "System.PullRequest.PullRequestId": "7", "System.PullRequest.SourceBranch": f"refs/heads/{branch}",
            "System.PullRequest.TargetBranch": "refs/heads/main", "System.PullRequest.IsFork": str(fork),
        }  # fmt: skip

    def run(
        self, flow: str, told: dict[str, str], *, only: Collection[str] = (), skip: Collection[str] = (),
        given: Any = None, **environment: str,
    ) -> Run:  # fmt: skip
        """Run a flow.

        Args:
            flow: its name.
            told: variables that Azure DevOps sets, beyond those that are always the same.
            only: the jobs that are run; none: all.
            skip: stages that whoever starts the run leaves out (stagesToSkip of the Runs interface).
            given: the parameters of the run.
            environment: of the machine, beyond the usual.
        """
        commit = self.project.git("rev-parse", "HEAD")
        predefined = {
            "Build.BuildId": "41", "Build.DefinitionName": f"churn-{flow}", "Build.SourceBranch": "refs/heads/main",
            "Build.SourceVersion": commit, "Build.Repository.Name": REPOSITORY, "Build.Repository.Provider": "TfsGit",
            "System.CollectionUri": f"{self.host.url}/", "System.CollectionId": ORGANIZATION_ID,
            "System.TeamProject": PROJECT, "System.JobAttempt": "1", "System.AccessToken": "flow-token", **told,
        }  # fmt: skip
        document = compile_pipeline(self.project.folder, f"azure-pipelines/{flow}.yml", given, predefined)
        document["stages"] = [stage for stage in document["stages"] if stage["stage"] not in skip]
        for stage in document["stages"]:
            stage["jobs"] = [job for job in stage["jobs"] if not only or job.get("job") in only]
            if "dependsOn" in stage:
                stage["dependsOn"] = [name for name in names(stage["dependsOn"]) if name not in skip]
        known = {
            group["name"]: {name: each.get("value") or "" for name, each in group["variables"].items()}
            for group in self.host.groups
        }
        server = Server(
            self.project.folder.parent / "azure", self.project.environment(**environment), self._tasks,
            known or {"churn": self.variables}, frozenset({"MLFLOW_TRACKING_TOKEN"}), frozenset({"mine"}),
            self.approve, self.host.token_address, self.cancel,
        )  # fmt: skip
        self.project.verbs()
        source = Source(str(self.project.origin), predefined["Build.SourceBranch"], commit)
        return Execution(document, server, source, predefined).go()


@contextmanager
def around(project: Hosted) -> Iterator[Azure]:
    with serving() as host:
        yield Azure(project, host)
    assert host.unknown == []


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Hosted:
    """Return a project in which nothing has run; tests leave it as it is."""
    return make(tmp_path_factory.mktemp("azure"))


@pytest.fixture
def azure(project: Hosted) -> Iterator[Azure]:
    with around(project) as known:
        yield known


def train(project: Hosted) -> tuple[Run, Path]:
    with around(project) as azure:
        run = azure.run("train", PUSH)
    return run, run.records.artifacts / "model-1"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    made = Deployed(make(tmp_path_factory.mktemp("deployed"), pool="mine"), train)
    yield made
    made.project.verb("stop")


@pytest.fixture
def there(deployed: Deployed) -> Iterator[Azure]:
    """Yield Azure DevOps around the deployed project."""
    with around(deployed.project) as known:
        yield known


def expanded(folder: Path, flow: str, **variables: str) -> dict[str, Any]:
    told = {name.replace("_", "."): value for name, value in variables.items()}
    return compile_pipeline(folder, f"azure-pipelines/{flow}.yml", {}, told)


def jobs_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {job.get("job") or job["deployment"]: job for stage in document["stages"] for job in stage["jobs"]}


def steps_of(job: dict[str, Any]) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = job.get("steps") or job["strategy"]["runOnce"]["deploy"]["steps"]
    return steps


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
                rf"|uv run python -m {package_of(folder)}\.platform\.login",
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
                taken = [step["env"] for step in steps if "platform.login" in step.get("script", "")]
                names = [each.removeprefix("churn-").upper().replace("-", "_") for each in asked]
                assert [each["CLOUD_ROLE"] for each in taken] == [f"$(CLOUD_ROLE_{name})" for name in names]
                assert [each["CLOUD_CONNECTION"] for each in taken] == [f"$(CLOUD_CONNECTION_{name})" for name in names]
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
    assert "platform.login" not in str(expanded(folder, "check", **fork)), "a fork's code gets no login"
    if mode != "batch":
        document = compile_pipeline(folder, "azure-pipelines/infrastructure.yml", {"destroy": "staging"}, {})
        (job,) = jobs_of(document).values()
        verbs = [step["script"] for step in steps_of(job) if "uv run" in step.get("script", "")]
        assert job["environment"] == "staging"
        assert verbs == [
            "uv run python -m churn.platform.login", "uv run churn stop staging",
            "uv run python -m churn.platform.login", "uv run churn infrastructure staging --destroy --yes",
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
            assert checkout["persistCredentials"] is (flow == "update-template")
            assert checkout["fetchDepth"] == (0 if name in ("judge", "train", "update") else 1)
    # The login to Azure DevOps goes to the verb that needs it, the registry's to no job of a change.
    host = {each for found in logins.values() for each in found if "SYSTEM_ACCESSTOKEN" in each}
    assert host == {
        f"{verb}: SYSTEM_ACCESSTOKEN" for verb in ("report --publish", "monitor --respond", "update-template --propose")
    }
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
    assert {"params.yaml", "dvc.lock", "data", "src/churn/problem", "uv.lock"} <= set(
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


# ------------------------------------------------------------------------------------------ check


@pytest.mark.slow
def test_check_runs_and_reports_once(project: Hosted, azure: Azure) -> None:
    with project.changed(), vulnerabilities() as advisories:
        change = azure.pull_request()
        first = azure.run("check", change, OSV_URL=advisories)
        assert first.result == "succeeded", first.log()
        assert sorted(project.verbs()) == sorted(FLOWS["check"])
        ((thread,),) = azure.host.threads.values()
        assert thread["status"] == "closed", "it does not hold up the change"
        assert "Verdict: green" in thread["comments"][0]["content"]
        assert [page.splitlines()[2] for page in first.records.summaries] == ["# What this change does to the model"]
        assert {task for task, _ in first.records.published} == {"PublishTestResults", "PublishCodeCoverageResults"}
        assert (first.records.artifacts / "checks-1/checks/junit.xml").exists()
        assert (first.records.artifacts / "verdict-1/change.md").exists()
        assert "flow-token" not in first.log()
        project.set(gate__threshold=0.99)
        again = azure.run("check", azure.pull_request(), only=["judge"])
    assert again.result == "failed"
    ((thread,),) = azure.host.threads.values()
    assert "Verdict: red" in thread["comments"][0]["content"], "the same comment tells what is true now"


@pytest.mark.slow
def test_a_failing_test_fails_check(project: Hosted, azure: Azure) -> None:
    with project.changed(), vulnerabilities() as advisories:
        (project.folder / "tests/test_red.py").write_text("def test_red() -> None:\n    assert 1 + 1 == 3\n")
        project.commit("Break a test")
        run = azure.run("check", PUSH, only=["check"], OSV_URL=advisories)
    assert run.result == "failed"
    assert "Not in order: tests." in run.log()
    assert 'failures="1"' in (run.records.artifacts / "checks-1/checks/junit.xml").read_text(encoding="utf-8")
    assert "PublishTestResults" in {task for task, _ in run.records.published}, "shown also when they fail"


@pytest.mark.slow
def test_a_fork_gets_no_secrets(project: Hosted, azure: Azure) -> None:
    with project.changed():
        run = azure.run("check", azure.pull_request(fork=True), only=["judge"])
    assert run.result == "succeeded", run.log()
    assert "from a fork, which may not comment" in run.log()
    assert azure.host.requests == [], "it is not even tried"
    change = expanded(project.folder, "check", System_PullRequest_IsFork="True")
    assert "$(System.AccessToken)" not in json.dumps(change)
    assert "group" not in json.dumps(change["variables"])
    assert change["pool"] == {"vmImage": "ubuntu-24.04"}, "a stranger's code never runs on a machine of one's own"


@pytest.mark.slow
def test_hostile_names(project: Hosted, azure: Azure, tmp_path: Path) -> None:
    trap = tmp_path / "pwned"
    touch = f"$(touch${{IFS}}{trap})"
    text = f"\"; touch {trap}; echo ' `touch {trap}` $(touch {trap}) $(System.AccessToken) ##vso[task.complete]x"
    with project.changed():
        change = azure.pull_request(f"x;{touch}", text)
        run = azure.run("check", change, only=["judge"])
        assert run.result == "succeeded", run.log()
        assert len(azure.host.threads["7"]) == 1
        # The texts that people give to flows by hand.
        given = {"reason": text, "force": "true"}
        run = azure.run("train", MANUAL, skip=("to_staging", "to_production"), given=given)
        assert run.result == "succeeded", run.log()
        assert project.verbs() == FLOWS["train"]
        run = azure.run("deploy", MANUAL, skip=["to_production"], given={"version": text})
        assert run.result == "failed"
        assert "Traceback" not in run.log()
    assert not trap.exists()


# ------------------------------------------------------------------------------------------ train


@pytest.mark.slow
def test_train_registers_and_deploys(deployed: Deployed) -> None:
    trained = deployed.trained
    assert trained.result == "succeeded", trained.log()
    assert deployed.verbs == FLOWS["train after a push"] + FLOWS["deploy"]
    assert trained.deployments == ["staging", "production"]
    assert trained.stages["train"].jobs["train"].pool == "mine"
    assert trained.stages["train"].jobs["train"].outputs == {"model.version": "1"}
    assert trained.stages["to_staging"].jobs["to_staging"].outputs == {"to_staging.verb.version": "1"}
    assert set(deployed.runs()) == {"staging", "production"}
    assert (trained.records.artifacts / "model-1/model.onnx").exists()
    for place in ("staging", "production"):
        assert f"{place}: version 1, well" in trained.log()


@pytest.mark.slow
def test_a_red_verdict_stops_train(project: Hosted, azure: Azure) -> None:
    with project.changed(gate__threshold=0.99):
        run = azure.run("train", PUSH)
        assert not (project.state / "deployments").exists()
    assert run.results() == {
        "train": "Failed", "train/train": "Failed", "to_staging": "Skipped", "to_production": "Skipped",
    }  # fmt: skip
    assert project.verbs() == FLOWS["train after a push"], "the report is written, and nothing is deployed"
    assert "Verdict: red" in run.records.summaries[0]
    assert sorted(path.name for path in run.records.artifacts.iterdir()) == ["reports-1"]


@pytest.mark.slow
def test_a_registry_that_does_not_answer(project: Hosted, azure: Azure) -> None:
    azure.variables["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
    with project.changed():
        run = azure.run("train", PUSH)
        assert not (project.state / "deployments").exists()
    assert run.result == "failed"
    assert project.verbs() == FLOWS["train after a push"]
    assert "http://127.0.0.1:9" in run.log()
    assert "What to do:" in run.log()
    assert "Traceback" not in run.log()
    assert TOKEN not in run.log()


# ----------------------------------------------------------------------------------------- deploy


@pytest.mark.slow
def test_a_refused_approval_stops_deploy(deployed: Deployed, there: Azure) -> None:
    before, good = deployed.champion(), deployed.register("", passed=False)
    asked: list[str] = []

    def approve(environment: str) -> bool:
        asked.append(environment)
        return environment != "production"

    there.approve = approve
    run = there.run("deploy", MANUAL)
    assert asked == ["staging", "production"]
    assert run.results() == {"to_staging": "Succeeded", "to_staging/to_staging": "Succeeded", "to_production": "Failed"}
    assert run.deployments == ["staging"]
    assert deployed.project.verbs() == FLOWS["deploy"][:2]
    assert deployed.runs() == {"staging": good, "production": before}
    assert deployed.champion() == before


@pytest.mark.slow
@pytest.mark.twin
def test_a_bad_canary_is_rolled_back(deployed: Deployed, there: Azure) -> None:
    before = deployed.champion()
    bad = deployed.register("raises", passed=True)
    # Whoever starts the run leaves staging out; what is proved is that users are kept from it.
    run = there.run("deploy", MANUAL, skip=["to_staging"], given={"version": "challenger"})
    assert run.results() == {"to_production": "Failed", "to_production/to_production": "Failed"}
    assert f"Version {bad} failed as canary in production" in run.log()
    assert f"rolled back: version {before} takes all requests" in run.log()
    assert deployed.project.verbs()[-1] == "status", "the log ends with how things stand"
    assert deployed.champion() == before
    assert deployed.runs()["production"] == before


@pytest.mark.slow
@pytest.mark.twin
def test_a_rerun_of_a_half_done_deployment(deployed: Deployed, there: Azure) -> None:
    before, good = deployed.champion(), deployed.register("", passed=False)
    there.cancel = lambda step: step.startswith("deploy --to staging")
    half = there.run("deploy", MANUAL)
    assert half.result == "canceled"
    assert deployed.project.verbs() == FLOWS["deploy"][:1]
    assert deployed.runs() == {"staging": good, "production": before}, "staging alone changes nothing for users"
    there.cancel = lambda step: False
    # Meanwhile there is another challenger: the run goes on with what it was started for.
    deployed.register("raises", passed=False)
    run = there.run("deploy", MANUAL, given={"version": good})
    assert run.result == "succeeded", run.log()
    assert deployed.project.verbs() == FLOWS["deploy"]
    assert deployed.champion() == good
    assert deployed.runs() == {"staging": good, "production": good}


# ---------------------------------------------------------------------------------------- monitor


@pytest.mark.slow
def test_the_first_day_has_nothing_to_watch(project: Hosted, azure: Azure) -> None:
    run = azure.run("monitor", SCHEDULE)
    assert run.result == "succeeded", run.log()
    assert "nothing to watch" in run.log()
    (kept,) = run.records.artifacts.iterdir()
    assert (kept / "monitoring/summary.md").exists()


@pytest.mark.slow
def test_drift_opens_one_issue_and_starts_train(deployed: Deployed, there: Azure) -> None:
    there.host.definitions.append({"id": 5, "name": "churn-train", "path": "/azure-pipelines/train.yml"})
    # Another project's drift, in the same Azure DevOps project, is no matter of this one.
    tags = {"System.Tags": "drift; churn-of-others", "System.State": "To Do", "System.WorkItemType": "Task"}
    there.host.items[3] = {"id": 3, "fields": tags, "said": []}
    code = TRAFFIC.replace('Path("data/', f'Path("{deployed.project.state}/data/')
    deployed.python(code, "900", "3", "0.9")
    run = there.run("monitor", SCHEDULE)
    assert run.result == "succeeded", run.log()
    assert deployed.project.verbs() == FLOWS["monitor"]
    (item,) = (item for number, item in there.host.items.items() if number != 3)
    assert item["fields"]["System.Tags"] == "drift; churn"
    body = item["fields"]["System.Description"]

    # The run that it started, with the parameters that it gave.
    (started,) = there.host.runs
    assert (started["pipeline"], started["ref"]) == ("churn-train", "refs/heads/main")
    assert started["parameters"]["reason"].startswith("drift: ")
    trained = there.run("train", MANUAL, skip=("to_staging", "to_production"), given=started["parameters"])
    assert deployed.project.verbs() == FLOWS["train"]
    assert started["parameters"]["reason"] in (deployed.project.state / "reports/monitoring/history.json").read_text()
    assert "Traceback" not in trained.log()

    deployed.python(code, "900", "4", "0.9")
    run = there.run("monitor", SCHEDULE)
    assert run.result == "succeeded", run.log()
    (item,) = (item for number, item in there.host.items.items() if number != 3)
    assert item["fields"]["System.State"] == "To Do"
    assert item["fields"]["System.Description"] != body, "the same work item tells what is true now"
    assert len(there.host.runs) == 1, "within the cool-down no other training is started"


@pytest.mark.slow
@pytest.mark.twin
def test_batch_runs_the_same_verbs(tmp_path: Path) -> None:
    project = make(tmp_path, serving_mode="batch")
    with around(project) as azure:
        trained = azure.run("train", PUSH)
        assert trained.result == "succeeded", trained.log()
        assert project.verbs() == FLOWS["train after a push"] + FLOWS["deploy, batch"]
        assert trained.deployments == ["production"]
        run = azure.run("monitor", SCHEDULE)
        assert run.result == "succeeded", run.log()
        assert project.verbs() == FLOWS["monitor, batch"]


# -------------------------------------------------------------------------------- update-template


@pytest.mark.slow
def test_update_template_opens_a_change(project: Hosted, azure: Azure, tmp_path: Path) -> None:
    releases = Releases(tmp_path / "template")
    with project.changed():
        releases.are_the_source_of(project)
        for _ in range(2):  # next week there is nothing newer to say: the change stays one
            run = azure.run("update-template", SCHEDULE)
            assert run.result == "succeeded", run.log()
            assert project.verbs() == FLOWS["update-template"]
        (change,) = azure.host.pulls
        assert (change["sourceRefName"], change["targetRefName"]) == ("refs/heads/template/1.1.0", "refs/heads/main")
        assert releases.have_reached(project)


# -------------------------------------------------------------------------------------- bootstrap


class Setting:
    """A project whose git remote is an empty Azure DevOps, and the verb that sets it up."""

    OPTIONS = ("--runner", "mine", "--state", "/srv/churn", "--yes")

    def __init__(self, project: Hosted, host: AzureDevOps) -> None:
        self.project, self.host = project, host

    def bootstrap(self, *words: str, code: int = 0, login: str = "personal") -> str:
        told = self.project.verb("bootstrap", *words, code=code, AZURE_DEVOPS_EXT_PAT=login)
        assert "Traceback" not in told.stderr
        return told.stdout + told.stderr

    def group(self) -> dict[str, Any]:
        return next(group for group in self.host.groups if group["name"] == "churn")


@pytest.fixture
def setting(project: Hosted) -> Iterator[Setting]:
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
    review, build = host.policies
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


@pytest.mark.slow
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
