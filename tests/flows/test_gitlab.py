"""What is GitLab's own: the flows' files, linted and read, and how the verb `bootstrap` sets the host up."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Render
from tests.support.answers import HOSTILE
from tests.support.projects import commit
from tests.support.tools import need
from tests.support.twins import twins

from .hosts import gitlab_api
from .hosts.gitlab import expanded, inputs_of, jobs_of
from .hosts.gitlab_api import EXPIRED, NARROW, TOKEN, GitLab, serving
from .project import FlowProject, begin

ANSWERS = {
    "default": {},
    "batch": {"serving_mode": "batch"},
    "online_and_batch": {"serving_mode": "online_and_batch"},
    "hostile": {**HOSTILE, "repository": "Some-Group/sub_group/a.b_c-d"},
    "cloud": {"infrastructure": "aws"},
    "cloud, batch": {"infrastructure": "aws", "serving_mode": "batch"},
    "cloud, hostile": {**HOSTILE, "repository": "Some-Group/a.b_c-d", "infrastructure": "aws"},
}
# GitLab's own reading of a pipeline takes seconds: each is read in CI by one of these tests.
EACH = [
    pytest.param(answers, id=name, marks=() if name in ("default", "cloud, hostile") else pytest.mark.twin)
    for name, answers in ANSWERS.items()
]
MODES = [*twins(["online", "batch"]), "online_and_batch"]
FLOW_NAMES = ("check", "train", "deploy", "monitor", "update-template")
ON_A_CLOUD = (*FLOW_NAMES, "infrastructure")
LAST = "deploy to production"
MACHINE = "own-machine"  # the tag of a runner


@pytest.fixture
def committed(rendered: Render) -> Render:
    """Return a function that renders and commits a project on GitLab."""

    def make_one(answers: dict[str, Any] | None = None) -> Path:
        folder = rendered({"ci_provider": "gitlab", **(answers or {})})
        commit(folder)
        return folder

    return make_one


@pytest.mark.slow
@pytest.mark.parametrize("answers", EACH)
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


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
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
        "update-template": {"merge template", "update-template"},
    }
    assert not any("tags" in job for job in lent.values()), "no runner has an empty tag"
    one_at_a_time = {"train": "train", "retrain": "train", "monitor": "monitor"}
    one_at_a_time |= dict.fromkeys(("merge template", "update-template"), "update-template")
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
            whole_history = name in {"judge", "train", "retrain", "merge template", "update-template"}
            assert job["variables"]["UV_LOCKED"] == "1"
            in_flows = name in {"monitor", "update-template"}
            assert (job.get("environment", {}).get("name") == "flows") is in_flows, "who gets GITLAB_TOKEN"
            assert (job["variables"].get("GIT_DEPTH") == "0") is whole_history
            assert job["artifacts"]["when"] == "always"
    workflow = expanded(folder, "check")["workflow"]["rules"]
    assert [rule["auto_cancel"]["on_new_commit"] for rule in workflow] == ["interruptible", "none"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
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
        # The token is for the role that the job takes, and no other.
        (words,) = (line.split() for line in jobs[name]["script"] if " login " in line)
        purpose, _, environment = words[4].partition("-")
        assert taken == role + (f"{environment}--{purpose}" if environment else f"ci-{purpose}")
        assert jobs[name]["variables"]["JOB_VARIABLES"] == "$CI_PROJECT_DIR.tmp/$CI_JOB_ID/variables", (
            "not in the checkout"
        )
        # No job that has the role of an environment goes past what guards this environment.
        if "--ci-" not in taken:
            assert jobs[name]["environment"]["name"] in taken
    assert set(jobs) - set(logins) == {"check", "merge template", "update-template"}


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
    assert set(rule["changes"]) == expected | {"src/**/*", "engine/**/*"}
    assert jobs["retrain"]["rules"] == [{"if": '$CI_PIPELINE_SOURCE != "push"'}]
    change, main = (rule["if"] for rule in pipeline["workflow"]["rules"])
    assert "$CI_MERGE_REQUEST_TARGET_BRANCH_NAME == $CI_DEFAULT_BRANCH" in change
    assert main == "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"
    assert set(jobs_of(expanded(folder, "check", "merge_request_event"))) == {"check", "judge"}


# -------------------------------------------------------------------------------------- bootstrap


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> FlowProject:
    """Return a project that tests leave as it is."""
    return begin(tmp_path_factory.mktemp("gitlab") / "churn", "gitlab")


def bootstrap(project: FlowProject, gitlab: GitLab, *words: str, code: int = 0, token: str = TOKEN) -> str:
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
def test_bootstrap(project: FlowProject) -> None:
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


def test_bootstrap_on_gitlab_free(project: FlowProject) -> None:
    with serving(GitLab(inputs_of(project.folder), premium=False)) as gitlab:
        gitlab.labels["drift"] = {"name": "drift", "color": "#000000"}
        told = bootstrap(project, gitlab, "--yes")
        by_hand = {line.split("  ")[2].strip() for line in told.splitlines() if line.strip().startswith("by hand")}
        assert {"approving review", "approval of production", "secret GITLAB_TOKEN"} <= by_hand
        bootstrap(project, gitlab, "--undo", "--yes")
        assert set(gitlab.labels) == {"drift"}, "it was there before"
        assert gitlab.variables == {}
