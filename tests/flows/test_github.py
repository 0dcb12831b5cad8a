"""What is GitHub's own: the flows' files, linted and read, and how the verb `bootstrap` sets the host up."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Render
from tests.support.answers import HOSTILE
from tests.support.projects import commit
from tests.support.tools import need

from .hosts.github import workflow
from .hosts.github_api import OWNER_RIGHTS, GitHub, serving
from .project import FlowProject, begin

ANSWERS = {
    "default": {},
    "batch": {"serving_mode": "batch"},
    "online_and_batch": {"serving_mode": "online_and_batch"},
    "hostile": HOSTILE,
    "cloud": {"infrastructure": "aws"},
    "cloud, batch": {"infrastructure": "aws", "serving_mode": "batch"},
    "cloud, hostile": {**HOSTILE, "infrastructure": "aws", "serving_mode": "online_and_batch"},
}
WORKFLOWS = ("check", "train", "deploy", "monitor", "update-template")
ON_A_CLOUD = (*WORKFLOWS, "infrastructure")


def lint(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_files_are_in_order(answers: dict[str, Any], rendered: Render) -> None:
    folder = rendered({"ci_provider": "github", **answers})
    commit(folder)
    lint(need("actionlint"), folder=folder)
    told = subprocess.run(
        [need("zizmor"), "--offline", "--no-progress", "--persona=pedantic", "."],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout
    assert not (folder / "zizmor.yml").exists()
    flows = sorted(map(str, folder.glob(".github/workflows/*.yml")))
    assert [Path(flow).stem for flow in flows] == sorted(ON_A_CLOUD if "infrastructure" in answers else WORKFLOWS)
    check = need("check-jsonschema")
    lint(check, "--builtin-schema", "vendor.github-workflows", *flows, folder=folder)
    lint(check, "--builtin-schema", "custom.github-workflows-require-timeout", *flows, folder=folder)
    actions = map(str, folder.glob(".github/actions/*/action.yml"))
    lint(check, "--builtin-schema", "vendor.github-actions", *actions, folder=folder)
    lint(check, "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml", folder=folder)
    for path in (folder / ".github").rglob("*.yml"):
        text = path.read_text(encoding="utf-8")
        for uses in re.findall(r"uses: (.+)", text):
            assert re.fullmatch(r"\$/\.github/\S+|[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", uses), uses
        # What an expression holds reaches a shell through the environment alone.
        assert not re.search(r"run:.*\$\{\{", text)
        assert "zizmor: ignore" not in text


def test_the_files_are_short(rendered: Render) -> None:
    folder = rendered({"ci_provider": "github"})
    lines = [line for path in (folder / ".github").rglob("*.yml") for line in path.read_text().splitlines()]
    assert len(lines) <= 450


@pytest.mark.parametrize("mode", ["online", "batch", "online_and_batch"])
def test_permissions_timeouts_and_concurrency(mode: str, rendered: Render) -> None:
    folder = rendered({"ci_provider": "github", "serving_mode": mode})
    flows = {name: workflow(folder, name) for name in WORKFLOWS}
    rights: dict[str, Any] = {}
    for name, flow in flows.items():
        assert flow["permissions"] == {}, f"{name}: each job asks for its own"
        assert not {"pull_request_target", "workflow_run"} & set(flow["on"])
        for key, job in flow["jobs"].items():
            rights[f"{name}/{key}"] = job["permissions"]
            assert "uses" in job or 5 <= job["timeout-minutes"] <= 360
    environments = ["production"] if mode == "batch" else ["staging", "production"]
    read = {"contents": "read"}
    assert rights == {
        "check/check": read,
        "check/judge": read | {"pull-requests": "write"},
        "train/train": read,
        "train/attest": {"attestations": "write", "id-token": "write"},
        "train/deploy": read,
        **{f"deploy/{name}": read for name in environments},
        "monitor/monitor": read | {"actions": "write", "issues": "write"},
        "update-template/merge": read,
        "update-template/propose": {"contents": "write", "pull-requests": "write"},
    }
    # Secrets are for main alone: every job that reads one is in an environment.
    for name, flow in flows.items():
        for key, job in flow["jobs"].items():
            if "secrets." in str(job) and "uses" not in job:
                assert job["environment"] == (key if name == "deploy" else "flows"), f"{name}/{key}"
    assert flows["check"]["concurrency"] == {"group": "check-${{ github.ref }}", "cancel-in-progress": True}
    one_after_the_other = {"queue": "max"}
    assert flows["deploy"]["concurrency"] == {"group": "deploy", **one_after_the_other}
    assert flows["train"]["jobs"]["train"]["concurrency"] == {"group": "train", **one_after_the_other}
    assert flows["monitor"]["concurrency"] == {"group": "monitor", "cancel-in-progress": False}
    own = {
        f"{name}/{key}"
        for name, flow in flows.items()
        for key, job in flow["jobs"].items()
        if "vars.RUNNER" in str(job)
    }
    assert own == {"train/train", "monitor/monitor", *(f"deploy/{name}" for name in environments)}
    for place in own:
        name, key = place.split("/")
        (checkout,) = (step for step in flows[name]["jobs"][key]["steps"] if "checkout" in step.get("uses", ""))
        assert checkout["with"]["clean"] is False, "a service may run from this folder"


@pytest.mark.parametrize("mode", ["online", "batch", "online_and_batch"])
def test_who_logs_in_to_a_cloud_and_as_whom(mode: str, rendered: Render) -> None:
    """A job has one role, for which it may ask a token; nothing else has that right."""
    folder = rendered({"ci_provider": "github", "serving_mode": mode, "infrastructure": "aws"})
    environments = ["production"] if mode == "batch" else ["staging", "production"]
    logins: dict[str, list[str]] = {}
    for name in ON_A_CLOUD:
        for key, job in workflow(folder, name)["jobs"].items():
            runs = [step.get("run", "").split() for step in job.get("steps", [])]
            taken = [words[4] for words in runs if words[:4] == ["uv", "run", "churn", "login"]]
            if taken:
                logins[f"{name}/{key}"] = taken
            assert (job["permissions"].get("id-token") == "write") == bool(taken or key in ("attest", "deploy"))
            # No job that may ask for another role than its own passes an environment's approval.
            for role in taken:
                purpose, _, environment = role.partition("-")
                assert purpose in ("plan", "train") or environment == job["environment"], role
    expected = {"check/judge": ["plan"], "train/train": ["train"], "monitor/monitor": ["train"]}
    expected["infrastructure/plan"] = ["plan"]
    for name in environments:
        expected[f"deploy/{name}"] = [f"deploy-{name}"]
        expected[f"infrastructure/plan-{name}"] = ["plan"]
        expected[f"infrastructure/apply-{name}"] = [f"apply-{name}"]
    for name in environments[:-1]:
        expected[f"infrastructure/destroy-{name}"] = [f"deploy-{name}", f"apply-{name}"]
    assert logins == expected
    # What a fork proposes logs in nowhere: GitHub would give it no token, and no plan of its own is made.
    for place, key in (("check", "judge"), ("infrastructure", "plan")):
        job = workflow(folder, place)["jobs"][key]
        (guard,) = (
            [job["if"]] if "if" in job else [step["if"] for step in job["steps"] if " login " in step.get("run", "")]
        )
        assert "github.event.pull_request.head.repo.full_name == github.repository" in guard


def test_exactly_the_approved_plan_is_applied(rendered: Render) -> None:
    folder = rendered({"ci_provider": "github", "infrastructure": "aws", "environments": "dev, live"})
    flow = workflow(folder, "infrastructure")
    jobs = flow["jobs"]
    assert list(jobs) == ["plan", "plan-dev", "apply-dev", "plan-live", "apply-live", "destroy-dev"]
    for name, before in (("dev", None), ("live", "apply-dev")):
        plan, apply = jobs[f"plan-{name}"], jobs[f"apply-{name}"]
        assert (plan.get("needs"), apply["needs"]) == (before, f"plan-{name}")
        assert ("environment" in plan, apply["environment"]) == (False, name)
        assert f"needs.plan-{name}.outputs.changes == 'true'" in apply["if"], "nobody is asked to approve nothing"
        kept, fetched = (
            step["with"]["name"]
            for job in (plan, apply)
            for step in job["steps"]
            if re.search(r"(up|down)load-artifact", step.get("uses", ""))
        )
        assert kept == fetched
    assert flow["on"]["workflow_dispatch"]["inputs"]["destroy"]["options"] == ["nothing", "dev"]
    assert flow["concurrency"]["queue"] == "max"
    assert "destroy" not in str(
        workflow(rendered({**ANSWERS["cloud, batch"], "ci_provider": "github"}), "infrastructure")
    )


def test_each_flow_begins_when_it_should(rendered: Render) -> None:
    folder = rendered({"ci_provider": "github"})
    on = {name: workflow(folder, name)["on"] for name in WORKFLOWS}
    assert set(on["check"]) == {"pull_request", "merge_group", "push"}
    assert set(on["train"]) == {"push", "schedule", "workflow_dispatch"}
    assert set(on["train"]["workflow_dispatch"]["inputs"]) == {"reason", "force"}
    assert {"params.yaml", "dvc.lock", "data/**", "src/**", "engine/**", "uv.lock"} <= set(on["train"]["push"]["paths"])
    assert set(on["deploy"]) == {"workflow_call", "workflow_dispatch"}
    assert set(on["monitor"]) == set(on["update-template"]) == {"schedule", "workflow_dispatch"}
    for name in ("train", "monitor", "update-template"):
        (cron,) = (each["cron"] for each in on[name]["schedule"])
        assert not cron.startswith("0 "), "at the full hour all the world's flows begin"


def test_a_refused_approval_stops_deploy(rendered: Render) -> None:
    """act asks nobody: that GitHub does is in the binding of the jobs, and in `bootstrap`'s environment."""
    folder = rendered({"ci_provider": "github", "environments": "dev, staging, live"})
    jobs = workflow(folder, "deploy")["jobs"]
    assert [(name, job.get("needs"), job["environment"]) for name, job in jobs.items()] == [
        ("dev", None, "dev"),
        ("staging", "dev", "staging"),
        ("live", "staging", "live"),
    ]
    # An `if` without a function of the status demands success: a job that needs a refused one is left out. It gets the
    # version that passed, not a newer challenger.
    conditions = [job["if"] for job in jobs.values() if "if" in job]
    assert conditions == ["${{ !inputs.chained || vars.APPROVAL == 'enforced' }}"]
    (step,) = (each for each in jobs["live"]["steps"] if each.get("id") == "deploy")
    assert step["env"]["MODEL_VERSION"] == "${{ needs.staging.outputs.version }}"
    batch = rendered({"ci_provider": "github", "serving_mode": "batch"})
    assert [job["environment"] for job in workflow(batch, "deploy")["jobs"].values()] == ["production"]


# -------------------------------------------------------------------------------------- bootstrap


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> FlowProject:
    """Return a project that tests leave as it is."""
    return begin(tmp_path_factory.mktemp("github") / "churn", "github")


@contextmanager
def around(project: FlowProject, **settings: Any) -> Iterator[GitHub]:
    with serving(GitHub(project.origin, project.folder / ".github/workflows", **settings)) as github:
        yield github
    assert github.wrong == []


def test_where_nobody_approves_a_person_has_to_start(project: FlowProject) -> None:
    """The job of the last environment runs where `bootstrap` has found the approval enforced, or was asked by hand."""
    deploy = workflow(project.folder, "deploy")
    *others, last = deploy["jobs"].values()
    assert last["if"] == "${{ !inputs.chained || vars.APPROVAL == 'enforced' }}"
    assert not any("if" in job for job in others)
    asked = deploy["on"]
    assert asked["workflow_call"]["inputs"]["chained"]["default"] is True
    assert "chained" not in asked["workflow_dispatch"]["inputs"]
    called = [job for job in workflow(project.folder, "train")["jobs"].values() if "deploy.yml" in job.get("uses", "")]
    assert [job["with"].keys() for job in called] == [{"version"}]


@pytest.mark.slow
def test_bootstrap(project: FlowProject) -> None:
    with around(project) as github:
        options = ("--tracking-uri", "https://mlflow.example.com", "--runner", "ours", "--state", "/srv/churn")

        def bootstrap(*words: str, code: int = 0, login: str = "owner") -> str:
            told = project.verb(
                "bootstrap", *words, code=code,
                GITHUB_API_URL=github.address, GITHUB_REPOSITORY=github.name, GITHUB_TOKEN=login,
            )  # fmt: skip
            assert "Traceback" not in told.stderr
            return told.stdout + told.stderr

        # Logins that do not suffice: said in words, and nothing is changed.
        assert "Bad credentials" in bootstrap(code=1, login="expired")
        github.logins["reader"] = {**OWNER_RIGHTS, "role": "read"}
        assert "may not administer" in bootstrap(code=1, login="reader")
        github.logins["narrow"] = {**OWNER_RIGHTS, "administration": "", "variables": ""}
        told = bootstrap(code=1, login="narrow")
        assert "lacks Administration" in told
        assert "lacks Variables" in told
        # Somebody has this name, but has nothing to do with the repository.
        assert "stranger" in bootstrap("--reviewer", "stranger", code=1)
        plan = bootstrap(*options, "--dry-run")
        assert plan.count("  missing ") == 10
        assert github.changes() == []

        # Interrupted in the middle, and repeated.
        github.refuse_after = 7
        assert "500" in bootstrap(*options, "--yes", code=1)
        assert github.variables["BOOTSTRAP_MADE"]
        github.refuse_after = None
        bootstrap(*options, "--yes")
        policy = {"protected_branches": False, "custom_branch_policies": True}
        assert {name: each["deployment_branch_policy"] for name, each in github.environments.items()} == {
            "flows": policy,
            "staging": policy,
            "production": policy,
        }
        assert all(list(each.values()) == ["main"] for each in github.policies.values())
        reviewers = [
            each["reviewers"]
            for each in github.environments["production"]["protection_rules"]
            if each["type"] == "required_reviewers"
        ]
        assert reviewers == [[{"type": "Team", "reviewer": {"id": 11}}]]
        assert len(github.environments["staging"]["protection_rules"]) == 1
        (ruleset,) = github.rulesets.values()
        rules = {each["type"]: each.get("parameters", {}) for each in ruleset["rules"]}
        jobs = [job["name"] for job in workflow(project.folder, "check")["jobs"].values()]
        assert [each["context"] for each in rules["required_status_checks"]["required_status_checks"]] == jobs
        assert rules["pull_request"]["required_approving_review_count"] == 1
        assert github.may_propose
        assert github.variables.keys() == {
            "APPROVAL",
            "BOOTSTRAP_MADE",
            "MLFLOW_TRACKING_URI",
            "RUNNER",
            "PROJECT_STATE",
        }
        assert "drift" in github.labels
        github.requests.clear()

        # Again: nothing to do. What a person changed meanwhile is seen, and put right.
        assert "Everything is there." in bootstrap(*options, "--yes")
        assert github.changes() == []
        github.variables["RUNNER"] = "another"
        github.policies["production"] = {99: "*"}
        told = bootstrap(*options, "--yes")
        assert (told.count("  differs"), github.variables["RUNNER"]) == (2, "ours")
        assert list(github.policies["production"].values()) == ["main"]

        # What was there before stays: not what bootstrap made.
        github.variables["OTHER"] = "kept"
        bootstrap("--undo", "--yes")
        assert github.variables == {"OTHER": "kept"}
        assert (github.environments, github.rulesets, github.labels, github.may_propose) == ({}, {}, {}, False)


def test_bootstrap_says_what_a_plan_does_not_have(project: FlowProject) -> None:
    with around(project, private=True, plan="free") as github:
        told = project.verb(
            "bootstrap", "--yes",
            GITHUB_API_URL=github.address, GITHUB_REPOSITORY=github.name, GITHUB_TOKEN="owner",
        ).stdout  # fmt: skip
        assert told.count("by hand") >= 4
        assert "Upgrade to GitHub Pro" in told
        assert (github.environments, github.rulesets) == ({}, {})
        assert "drift" in github.labels
