"""The flows on GitLab: linted, and run to their end by gitlab-ci-local with the real verbs; GitLab is on loopback."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..conftest import Render, commit, need
from ..support.answers import HOSTILE
from ..support.traffic import TRAFFIC
from . import gitlab_api
from .gitlab_api import EXPIRED, NARROW, TOKEN, GitLab, serving
from .gitlab_local import MACHINE, Pipelines
from .harness import FLOWS, Deployed, Hosted, Releases, hosted, vulnerabilities

ANSWERS = {
    "default": {},
    "batch": {"serving_mode": "batch"},
    "online_and_batch": {"serving_mode": "online_and_batch"},
    "hostile": {**HOSTILE, "repository": "Some-Group/sub_group/a.b_c-d"},
    "cloud": {"infrastructure": "aws"},
    "cloud, batch": {"infrastructure": "aws", "serving_mode": "batch"},
    "cloud, hostile": {**HOSTILE, "repository": "Some-Group/a.b_c-d", "infrastructure": "aws"},
}
FLOW_NAMES = ("check", "train", "deploy", "monitor", "update-template")
ON_A_CLOUD = (*FLOW_NAMES, "infrastructure")
LAST = "deploy to production"
NO_DATA = {"data__source": "data/raw/nowhere.parquet"}  # a judge that ends at once, and reports that
CHANGE = {"iid": 1, "state": "opened", "source_branch": "change", "target_branch": "main"}


def make(folder: Path, **answers: Any) -> Hosted:
    """Return a project ready for its runner."""
    project = hosted(folder / "churn", "gitlab", **answers)
    # A push that brings a change of the model: GitLab's rules look at what it changes.
    project.set(gate__confidence=0.9)
    return project


def inputs_of(folder: Path) -> dict[str, Any]:
    header = next(yaml.safe_load_all((folder / ".gitlab-ci.yml").read_text(encoding="utf-8")))
    inputs: dict[str, Any] = header["spec"]["inputs"]
    return inputs


@contextmanager
def on_gitlab(project: Hosted, **settings: Any) -> Iterator[Pipelines]:
    """Yield the project's pipelines, with a GitLab around them that knows one change."""
    with serving(GitLab(inputs_of(project.folder), **settings)) as gitlab:
        gitlab.merge_requests["1"] = dict(CHANGE)
        project.verbs()
        yield Pipelines(project, gitlab)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Hosted:
    """Return a project in which nothing has run; tests leave it as it is."""
    return make(tmp_path_factory.mktemp("gitlab"))


@pytest.fixture
def pipelines(project: Hosted) -> Iterator[Pipelines]:
    with on_gitlab(project) as known:
        yield known


@contextmanager
def pushed(project: Hosted) -> Iterator[None]:
    """Let the newest commit be what a push to main brings: rules look at what differs from origin/main."""
    tip = project.git("rev-parse", "HEAD")
    project.git("update-ref", "refs/remotes/origin/main", "HEAD~1")
    yield
    project.git("update-ref", "refs/remotes/origin/main", tip)


def train(project: Hosted) -> tuple[Any, Path]:
    with on_gitlab(project) as pipelines, pushed(project):
        # Beside it the same push is checked, which has its own test.
        told = pipelines.run("push", jobs=["train", "deploy to staging", LAST])
    return told, project.folder / ".gitlab-ci-local/artifacts/train/artifacts/model"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    made = Deployed(make(tmp_path_factory.mktemp("deployed")), train)
    yield made
    made.project.verb("stop")


@pytest.fixture
def around(deployed: Deployed) -> Iterator[Pipelines]:
    """Yield the pipelines of the deployed project."""
    with on_gitlab(deployed.project) as known:
        yield known


# ------------------------------------------------------------------------------------------ files


def expanded(folder: Path, flow: str, source: str = "web", *, own_machine: bool = False) -> dict[str, Any]:
    """Return a flow's pipeline with its includes, as gitlab-ci-local reads it (and holds it to GitLab's schema)."""
    subprocess.run(["git", "update-ref", "refs/remotes/origin/main", "HEAD"], cwd=folder, check=True)
    place = Hosted(folder, yaml.safe_load((folder / ".copier-answers.yml").read_text(encoding="utf-8"))["package_name"])
    told = Pipelines(place, GitLab()).run(source, inputs={"flow": flow}, own_machine=own_machine, preview=True)
    assert told.code == 0, told.log
    pipeline: dict[str, Any] = yaml.safe_load(told.log[told.log.index("stages:") :])
    return pipeline


def jobs_of(pipeline: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: job for name, job in pipeline.items() if isinstance(job, dict) and "script" in job}


@pytest.fixture
def committed(rendered: Render) -> Render:
    """Return a function that renders and commits a project on GitLab."""

    def make_one(answers: dict[str, Any] | None = None) -> Path:
        folder = rendered({"ci_provider": "gitlab", **(answers or {})})
        commit(folder)
        return folder

    return make_one


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_files_are_in_order(answers: dict[str, Any], committed: Render, tmp_path: Path) -> None:
    folder = committed(answers)
    check = need("check-jsonschema")
    whole = []
    on_a_cloud = "infrastructure" in answers
    for flow in ON_A_CLOUD if on_a_cloud else FLOW_NAMES:
        pipeline = expanded(folder, flow, own_machine=True)
        assert jobs_of(pipeline)
        whole.append(tmp_path / f"{flow}.yml")
        whole[-1].write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    for schema, files in (("gitlab-ci", whole), ("renovate", [folder / "renovate.json"])):
        command = [check, "--builtin-schema", f"vendor.{schema}", *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    files = [folder / ".gitlab-ci.yml", *(folder / ".gitlab/ci").iterdir()]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(lines) <= (750 if on_a_cloud else 450)
    assert max(map(len, lines)) <= 120
    # What a person types reaches a verb by the environment: no line of a script holds an input but an environment's
    # name, which is an answer, nor a variable.
    for file in files:
        for job in _scripts(file):
            assert "$" not in job.replace("$[[ inputs.name ]]", ""), job


def _scripts(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip().startswith("- uv ")]


@pytest.mark.parametrize("mode", ["online", "batch", "online_and_batch"])
def test_permissions_timeouts_and_concurrency(mode: str, committed: Render) -> None:
    folder = committed({"serving_mode": mode})
    environments = ["production"] if mode == "batch" else ["staging", "production"]
    deploying = {f"deploy to {name}" for name in environments}
    own = {flow: jobs_of(expanded(folder, flow, own_machine=True)) for flow in FLOW_NAMES}
    lent = jobs_of(expanded(folder, "train"))
    assert {flow: set(jobs) for flow, jobs in own.items()} == {
        "check": {"check", "judge"},
        "train": {"train", "retrain", *deploying},
        "deploy": deploying,
        "monitor": {"monitor"},
        "update-template": {"update-template"},
    }
    assert not any("tags" in job for job in lent.values()), "no runner has an empty tag"
    one_at_a_time = {"train": "train", "retrain": "train", "monitor": "monitor", "update-template": "update-template"}
    for jobs in own.values():
        for name, job in jobs.items():
            assert job["timeout"]
            assert job["image"]["name"].startswith("ghcr.io/astral-sh/uv:")
            on_own_machine = name in {"train", "retrain", "monitor", *deploying}
            assert job.get("tags") == (["$RUNNER"] if on_own_machine else None), "a stranger's code never runs there"
            assert (job["variables"].get("GIT_CLEAN_FLAGS") == "none") is on_own_machine
            assert job.get("resource_group") == ("deploy" if name in deploying else one_at_a_time.get(name))
            assert job.get("interruptible", False) is (name in ("check", "judge"))
            assert "id_tokens" not in job
            whole_history = name in {"judge", "train", "retrain", "update-template"}
            assert (job["variables"].get("GIT_DEPTH") == "0") is whole_history
            assert job["artifacts"]["when"] == "always"
    workflow = expanded(folder, "check")["workflow"]["rules"]
    assert [rule["auto_cancel"]["on_new_commit"] for rule in workflow] == ["interruptible", "none"]


@pytest.mark.parametrize("mode", ["online", "batch", "online_and_batch"])
def test_who_logs_in_to_a_cloud_and_as_whom(mode: str, committed: Render) -> None:
    folder = committed({"serving_mode": mode, "infrastructure": "aws"})
    environments = ["production"] if mode == "batch" else ["staging", "production"]
    jobs = {name: job for flow in ON_A_CLOUD for name, job in jobs_of(expanded(folder, flow)).items()}
    logins = {name: job["id_tokens"]["CLOUD_TOKEN"]["aud"] for name, job in jobs.items() if "id_tokens" in job}
    role = "arn:aws:iam::123456789012:role/churn--"
    expected = {
        "judge": "ci-plan",
        "train": "ci-train",
        "retrain": "ci-train",
        "monitor": "ci-train",
        "plan": "ci-plan",
    }
    for name in environments:
        expected |= {
            f"deploy to {name}": f"{name}--deploy",
            f"plan {name}": "ci-plan",
            f"apply {name}": f"{name}--apply",
        }
    for name in environments[:-1]:
        expected |= {f"take away from {name}": f"{name}--deploy", f"destroy {name}": f"{name}--apply"}
    assert logins == {job: role + name for job, name in expected.items()}
    for name, taken in logins.items():
        assert jobs[name]["variables"]["AWS_ROLE_ARN"] == taken
        assert "$AWS_WEB_IDENTITY_TOKEN_FILE" in str(jobs[name]["before_script"]), name
        # No job that has the role of an environment goes past what guards this environment.
        if "--ci-" not in taken:
            assert jobs[name]["environment"]["name"] in taken
    assert set(jobs) - set(logins) == {"check", "update-template"}


def test_exactly_the_approved_plan_is_applied(committed: Render) -> None:
    folder = committed({"infrastructure": "aws", "environments": "dev, live"})
    jobs = jobs_of(expanded(folder, "infrastructure"))
    assert set(jobs) == {
        "plan", "plan dev", "apply dev", "plan live", "apply live", "take away from dev", "destroy dev",
    }  # fmt: skip
    for name, before in (("dev", []), ("live", ["apply dev"])):
        plan, apply = jobs[f"plan {name}"], jobs[f"apply {name}"]
        assert [each["job"] for each in plan["needs"]] == before
        assert [each["job"] for each in apply["needs"]] == [f"plan {name}"]
        assert plan["artifacts"]["paths"] == ["reports/"]
        by_hand = {rule.get("when") for rule in apply["rules"]} - {"never"}
        assert by_hand == ({"manual"} if name == "live" else {None, "on_success"} & by_hand)
    on_change = jobs_of(expanded(folder, "check", "merge_request_event"))
    assert set(on_change) - {"check", "judge"} == set(jobs)
    header = inputs_of(folder)
    assert header["destroy"]["options"] == ["", "dev"]
    assert "destroy" not in inputs_of(committed({"infrastructure": "aws", "serving_mode": "batch"}))


def test_each_flow_begins_when_it_should(committed: Render) -> None:
    folder = committed()
    pipeline = expanded(folder, "check", "push")
    jobs = jobs_of(pipeline)
    assert set(jobs) == {"check", "judge", "train", "retrain", "deploy to staging", LAST}
    (rule,) = jobs["train"]["rules"]
    assert rule["if"] == '$CI_PIPELINE_SOURCE == "push"'
    expected = {"params.yaml", "dvc.yaml", "dvc.lock", "data/**/*", "pyproject.toml", "uv.lock"}
    assert set(rule["changes"]) == expected | {"src/*/problem/**/*", "src/*/inner_loop/**/*"}
    assert jobs["retrain"]["rules"] == [{"if": '$CI_PIPELINE_SOURCE != "push"'}]
    change, main = (rule["if"] for rule in pipeline["workflow"]["rules"])
    assert "$CI_MERGE_REQUEST_TARGET_BRANCH_NAME == $CI_DEFAULT_BRANCH" in change
    assert main == "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"
    assert set(jobs_of(expanded(folder, "check", "merge_request_event"))) == {"check", "judge"}


# ------------------------------------------------------------------------------------------ check


@pytest.mark.slow
def test_check_runs_and_reports_once(project: Hosted, pipelines: Pipelines) -> None:
    gitlab = pipelines.gitlab
    with vulnerabilities() as advisories:
        first = pipelines.run("merge_request_event", variables={"OSV_URL": advisories}, own_machine=False)
    assert first.code == 0, first.log
    assert first.jobs("PASS") == {"check", "judge"}
    # Two jobs side by side: each in its order.
    assert sorted(project.verbs()) == sorted(FLOWS["check"])
    (note,) = gitlab.notes["merge_requests/1"]
    assert "Verdict: green" in note["body"]
    artifacts = project.folder / ".gitlab-ci-local/artifacts"
    for name in ("junit.xml", "coverage.xml", "codequality.json"):
        assert (artifacts / "check/reports/checks" / name).exists()
    assert (artifacts / "judge/reports/metrics.txt").exists()

    with project.changed(**NO_DATA):
        again = pipelines.run("merge_request_event", jobs=["judge"], own_machine=False)
    assert again.code != 0
    (same,) = gitlab.notes["merge_requests/1"]
    assert same["id"] == note["id"]
    assert "Not judged" in same["body"], "the same comment tells what is true now"


@pytest.mark.slow
def test_a_failing_test_fails_check(project: Hosted, pipelines: Pipelines) -> None:
    with project.changed():
        (project.folder / "tests/test_red.py").write_text("def test_red() -> None:\n    assert 1 + 1 == 3\n")
        project.edit("pyproject.toml", 'testpaths = ["tests"]', 'testpaths = ["tests/test_red.py"]')
        told = pipelines.run("merge_request_event", jobs=["check"], own_machine=False)
    assert told.code != 0
    assert told.jobs("FAIL") == {"check"}
    assert "Not in order: tests." in told.log
    junit = project.folder / ".gitlab-ci-local/artifacts/check/reports/checks/junit.xml"
    assert 'failures="1"' in junit.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_fork_gets_no_secrets(project: Hosted, pipelines: Pipelines) -> None:
    fork = {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "8"}
    with project.changed(**NO_DATA):
        told = pipelines.run("merge_request_event", jobs=["judge"], own_machine=False, variables=fork)
    assert "from a fork, which may not comment" in told.log
    assert pipelines.gitlab.requests == [], "it is not even tried"
    check = (project.folder / ".gitlab/ci/check.yml").read_text(encoding="utf-8")
    assert ".machine" not in check, "a stranger's code never runs on a machine of one's own"


@pytest.mark.slow
def test_hostile_names(project: Hosted, pipelines: Pipelines, tmp_path: Path) -> None:
    trap = tmp_path / "pwned"
    touch = f"$(touch${{IFS}}{trap})"
    text = f"\"; touch {trap}; echo ' `touch {trap}` $(touch {trap}) $[[ inputs.flow ]] $CI_JOB_ID"
    with project.changed():
        project.git("switch", "--quiet", "--create", f"x;{touch}")
        project.set(**NO_DATA)
        project.commit(text)
        hostile = {"CI_COMMIT_REF_NAME": f"x;{touch}", "CI_COMMIT_MESSAGE": text, "CI_MERGE_REQUEST_TITLE": text}
        pipelines.run("merge_request_event", jobs=["judge"], own_machine=False, variables=hostile)
        assert len(pipelines.gitlab.notes["merge_requests/1"]) == 1
        project.git("switch", "--quiet", "main")
        project.verbs()
        # The texts that people give to flows by hand.
        told = pipelines.run("web", inputs={"flow": "train", "reason": text, "force": "true"}, jobs=["retrain"])
        assert told.code == 0, told.log
        assert project.verbs() == FLOWS["train"]
        history = json.loads(next(project.state.rglob("history.json")).read_text(encoding="utf-8"))
        assert history["retraining"]["reason"] == text
        told = pipelines.run("web", inputs={"flow": "deploy", "version": text})
        assert told.code != 0
        assert "does not match required regex" in told.log
    assert not trap.exists()


# ------------------------------------------------------------------------------------------ train


@pytest.mark.slow
def test_train_registers_and_deploys(deployed: Deployed) -> None:
    trained = deployed.trained
    assert trained.code == 0, trained.log
    assert deployed.verbs == FLOWS["train after a push"] + FLOWS["deploy"]
    assert trained.jobs("PASS") == {"train", "deploy to staging", LAST}
    assert deployed.champion() == "1"
    assert deployed.runs() == {"staging": "1", "production": "1"}
    handed_on = deployed.project.folder / ".gitlab-ci-local/artifacts/train/reports/outputs.env"
    assert handed_on.read_text(encoding="utf-8") == "MODEL_VERSION=1\n"


@pytest.mark.slow
def test_a_red_verdict_stops_train(project: Hosted, pipelines: Pipelines) -> None:
    with project.changed(gate__threshold=0.99):
        told = pipelines.run("schedule", inputs={"flow": "train", "reason": "weekly"}, manual=[LAST])
        assert told.code != 0
        assert told.jobs("FAIL") == {"retrain"}
        assert project.verbs() == FLOWS["train"], "the report is written, and nothing is deployed"
        assert "Verdict: red" in told.log
        assert not (project.state / "deployments").exists()


@pytest.mark.slow
def test_a_registry_that_does_not_answer(project: Hosted, pipelines: Pipelines) -> None:
    with project.changed():
        nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_TRACKING_TOKEN": "token-of-the-registry"}
        told = pipelines.run("web", inputs={"flow": "train"}, variables=nowhere)
        assert told.code != 0
        assert told.jobs("FAIL") == {"retrain"}
        assert project.verbs() == FLOWS["train"]
        assert "http://127.0.0.1:9" in told.log
        assert "What to do:" in told.log
        assert "Traceback" not in told.log
        assert "token-of-the-registry" not in told.log
        assert not (project.state / "deployments").exists()


# ----------------------------------------------------------------------------------------- deploy


@pytest.mark.slow
def test_a_refused_approval_stops_deploy(deployed: Deployed, around: Pipelines) -> None:
    before = deployed.runs()
    told = around.run("web", inputs={"flow": "deploy", "version": deployed.champion()})
    assert told.code == 0, told.log
    assert told.jobs("PASS") == {"deploy to staging"}
    assert deployed.project.verbs() == FLOWS["deploy"][:2]
    assert deployed.runs()["production"] == before["production"]


@pytest.mark.slow
@pytest.mark.twin
def test_a_bad_canary_is_rolled_back(deployed: Deployed, around: Pipelines) -> None:
    before = deployed.champion()
    bad = deployed.register("raises", passed=True)
    # As if staging had not seen it: what is proved is that users are kept from it.
    told = around.run("web", inputs={"flow": "deploy", "version": bad}, jobs=[LAST])
    assert told.code != 0, told.log
    assert told.jobs("FAIL") == {LAST}
    assert f"Version {bad} failed as canary in production" in told.log
    assert f"rolled back: version {before} takes all requests" in told.log
    assert deployed.project.verbs() == FLOWS["deploy"][2:], "the log ends with how things stand"
    assert deployed.champion() == before
    assert deployed.runs()["production"] == before


@pytest.mark.slow
@pytest.mark.twin
def test_a_rerun_of_a_half_done_deployment(deployed: Deployed, around: Pipelines) -> None:
    before = deployed.champion()
    good = deployed.register("", passed=False)
    half = around.run("web", inputs={"flow": "deploy"})
    assert half.code == 0, half.log
    assert deployed.runs() == {"staging": good, "production": before}, "staging comes first, and alone changes nothing"
    deployed.project.verbs()
    told = around.run("web", inputs={"flow": "deploy"}, manual=[LAST])
    assert told.code == 0, told.log
    assert deployed.project.verbs() == FLOWS["deploy"]
    assert deployed.champion() == good
    assert deployed.runs() == {"staging": good, "production": good}


# ---------------------------------------------------------------------------------------- monitor


@pytest.mark.slow
def test_drift_opens_one_issue_and_starts_train(deployed: Deployed, around: Pipelines) -> None:
    gitlab = around.gitlab
    code = TRAFFIC.replace('Path("data/', f'Path("{deployed.project.state}/data/')
    deployed.python(code, "900", "3", "0.9")
    told = around.run("schedule", inputs={"flow": "monitor"})
    assert told.code == 0, told.log
    assert deployed.project.verbs() == FLOWS["monitor"]
    (issue,) = gitlab.issues.values()
    assert issue["labels"] == ["drift"]
    (started,) = gitlab.pipelines
    assert started["inputs"]["flow"] == "train"
    assert started["inputs"]["reason"].startswith("drift: ")
    description = issue["description"]

    deployed.python(code, "900", "4", "0.9")
    told = around.run("schedule", inputs={"flow": "monitor"})
    assert told.code == 0, told.log
    (issue,) = gitlab.issues.values()
    assert issue["state"] == "opened"
    assert issue["description"] != description, "the same issue tells what is true now"
    assert len(gitlab.pipelines) == 1, "within the cool-down no other training is started"


@pytest.mark.slow
@pytest.mark.twin
def test_batch_runs_the_same_verbs(tmp_path: Path) -> None:
    project = make(tmp_path, serving_mode="batch")
    with on_gitlab(project) as pipelines:
        with pushed(project):
            trained = pipelines.run("push", jobs=["train", LAST])
        assert trained.code == 0, trained.log
        assert project.verbs() == FLOWS["train after a push"] + FLOWS["deploy, batch"]
        told = pipelines.run("schedule", inputs={"flow": "monitor"})
        assert told.code == 0, told.log
        assert project.verbs() == FLOWS["monitor, batch"]


# -------------------------------------------------------------------------------- update-template


@pytest.mark.slow
def test_update_template_opens_a_change(project: Hosted, pipelines: Pipelines, tmp_path: Path) -> None:
    releases = Releases(tmp_path / "template")
    with project.changed():
        releases.are_the_source_of(project)
        project.verbs()
        for _ in range(2):  # next week there is nothing newer to say: the change stays one
            told = pipelines.run("schedule", inputs={"flow": "update-template"})
            assert told.code == 0, told.log
        assert project.verbs() == FLOWS["update-template"] * 2
        (change,) = (each for each in pipelines.gitlab.merge_requests.values() if each["iid"] != CHANGE["iid"])
        assert change["source_branch"] == "template/1.1.0"
        assert change["target_branch"] == "main"
        assert releases.have_reached(project)


# -------------------------------------------------------------------------------------- bootstrap


def bootstrap(project: Hosted, gitlab: GitLab, *words: str, code: int = 0, token: str = TOKEN) -> str:
    options = ("--tracking-uri", "https://mlflow.example.com", "--runner", MACHINE, "--state", "/srv/churn")
    told = project.verb(
        "bootstrap", *options, "--reviewer", "ana", *words, code=code,
        CI_API_V4_URL=f"{gitlab.url}/api/v4", CI_PROJECT_ID=str(gitlab_api.NUMBER), GITLAB_TOKEN=token,
    )  # fmt: skip
    assert "Traceback" not in told.stderr
    return told.stdout + told.stderr


def made(gitlab: GitLab) -> dict[str, Any]:
    """Return all that the project on GitLab has."""
    names = ("settings", "protected_branches", "approval_rules", "environments", "protected_environments")
    return json.loads(
        json.dumps({name: getattr(gitlab, name) for name in (*names, "variables", "labels", "schedules")})
    )


@pytest.mark.slow
def test_bootstrap(project: Hosted) -> None:
    with serving(GitLab(inputs_of(project.folder))) as gitlab:
        empty = made(gitlab)
        # Logins that do not suffice: said in words, and nothing is changed.
        assert "expired" in bootstrap(project, gitlab, "--yes", code=1, token=EXPIRED)
        assert "lacks api" in bootstrap(project, gitlab, "--yes", code=1, token=NARROW)
        gitlab.level = 30
        assert "no Maintainer" in bootstrap(project, gitlab, "--yes", code=1)
        gitlab.level = 40
        assert "'stranger'" in bootstrap(project, gitlab, "--reviewer", "stranger", "--yes", code=1)
        told = bootstrap(project, gitlab, "--dry-run")
        assert "approval of production" in told
        assert made(gitlab) == empty

        # Interrupted in the middle, and repeated.
        gitlab.broken = "POST labels"
        assert "500" in bootstrap(project, gitlab, "--yes", code=1)
        assert gitlab.variables
        assert not gitlab.labels
        bootstrap(project, gitlab, "--yes")
        branch = gitlab.protected_branches["main"]
        assert branch["push_access_levels"] == [{"access_level": 0}]
        assert gitlab.settings["only_allow_merge_if_pipeline_succeeds"] is True
        (rule,) = gitlab.approval_rules.values()
        assert (rule["approvals_required"], rule["user_ids"]) == (1, [11])
        assert {each["name"] for each in gitlab.environments.values()} == {"staging", "production"}
        (approval,) = gitlab.protected_environments["production"]["approval_rules"]
        assert (approval["user_id"], approval["required_approvals"]) == (11, 1)
        assert "staging" not in gitlab.protected_environments
        assert gitlab.variables["RUNNER"]["value"] == MACHINE
        assert all(each["protected"] for each in gitlab.variables.values()), "no branch but main sees them"
        assert set(gitlab.labels) == {"drift"}
        flows = [{each["name"]: each["value"] for each in one["inputs"]} for one in gitlab.schedules.values()]
        assert {flow["flow"] for flow in flows} == {"train", "monitor", "update-template"}

        # Again: nothing to do. What somebody has changed is put right.
        requests = len(gitlab.requests)
        assert "Everything is there." in bootstrap(project, gitlab, "--yes")
        assert {request.split()[0] for request in gitlab.requests[requests:]} == {"GET"}
        gitlab.variables["RUNNER"]["value"] = "other"
        gitlab.protected_branches["main"]["push_access_levels"] = [{"access_level": 40}]
        bootstrap(project, gitlab, "--reviewer", "bo", "--yes")
        assert gitlab.variables["RUNNER"]["value"] == MACHINE
        assert gitlab.protected_branches["main"]["push_access_levels"] == [{"access_level": 0}]
        rules = gitlab.protected_environments["production"]["approval_rules"]
        assert sorted(each["user_id"] for each in rules) == [11, 12]

        # Taken back: what was there before stays.
        bootstrap(project, gitlab, "--undo", "--yes")
        assert made(gitlab) == empty


@pytest.mark.slow
def test_bootstrap_on_gitlab_free(project: Hosted) -> None:
    with serving(GitLab(inputs_of(project.folder), premium=False)) as gitlab:
        gitlab.labels["drift"] = {"name": "drift", "color": "#000000"}
        told = bootstrap(project, gitlab, "--yes")
        by_hand = {line.split("  ")[2].strip() for line in told.splitlines() if line.strip().startswith("by hand")}
        assert {"approving review", "approval of production", "secret GITLAB_TOKEN"} <= by_hand
        bootstrap(project, gitlab, "--undo", "--yes")
        assert set(gitlab.labels) == {"drift"}, "it was there before"
        assert gitlab.variables == {}
