"""The flows on GitHub: linted, and run to their end by nektos/act with the real verbs against GitHub on loopback."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..conftest import Render, commit, need
from ..support.answers import HOSTILE
from ..support.traffic import TRAFFIC
from . import act
from .github_api import OWNER_RIGHTS, GitHub, serving
from .harness import FLOWS, Deployed, Hosted, Releases, hosted, vulnerabilities

ANSWERS = {
    "default": {},
    "batch": {"serving_mode": "batch"},
    "online_and_batch": {"serving_mode": "online_and_batch"},
    "hostile": HOSTILE,
    "cloud": {"infrastructure": "aws"},
    "cloud, batch": {"infrastructure": "aws", "serving_mode": "batch"},
    "cloud, hostile": {**HOSTILE, "infrastructure": "aws", "serving_mode": "online_and_batch"},
}
PUSHED = {"ref": "refs/heads/main", "repository": {"visibility": "public"}}
WORKFLOWS = ("check", "train", "deploy", "monitor", "update-template")
ON_A_CLOUD = (*WORKFLOWS, "infrastructure")


def make(folder: Path, **answers: Any) -> Hosted:
    """Return a project that act can run, ready for its runner."""
    return act.readable(hosted(folder / "churn", "github", **answers))


def on_github(project: Hosted, **settings: Any) -> GitHub:
    return GitHub(project.origin, project.folder / ".github/workflows", **settings)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Hosted:
    """Return a project in which nothing has run; tests leave it as it is."""
    return make(tmp_path_factory.mktemp("github"))


@pytest.fixture
def github(project: Hosted) -> Iterator[GitHub]:
    with serving(on_github(project)) as known:
        project.verbs()
        yield known
    assert known.wrong == []


def train(project: Hosted) -> tuple[act.Run, Path]:
    with serving(on_github(project)) as github:
        told = act.run(project, github, "train", "push", told=PUSHED)
    return told, told.artifacts / "model"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    made = Deployed(make(tmp_path_factory.mktemp("deployed")), train)
    yield made
    made.project.verb("stop")


@pytest.fixture
def around(deployed: Deployed) -> Iterator[GitHub]:
    """Yield GitHub around the deployed project."""
    with serving(on_github(deployed.project)) as known:
        deployed.project.verbs()
        yield known
    assert known.wrong == []


def workflow(folder: Path, name: str) -> dict[str, Any]:
    content: dict[Any, Any] = yaml.safe_load((folder / f".github/workflows/{name}.yml").read_text(encoding="utf-8"))
    content["on"] = content.pop(True)  # as YAML 1.1 reads `on`
    return content


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
        "update-template/propose": {"contents": "write", "pull-requests": "write"},
    }
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
            steps = [step for step in job.get("steps", []) if step.get("uses", "").endswith("actions/cloud")]
            if steps:
                logins[f"{name}/{key}"] = [step["with"]["role"] for step in steps]
            assert (job["permissions"].get("id-token") == "write") == bool(steps or key in ("attest", "deploy"))
            # No job that may ask for another role than its own passes an environment's approval.
            for taken in logins.get(f"{name}/{key}", []):
                if "APPLY" in taken or "DEPLOY" in taken:
                    assert taken.endswith(f"_{job['environment'].upper()} }}}}"), taken

    def role(name: str) -> str:
        return f"${{{{ vars.CLOUD_ROLE_{name} }}}}"

    expected = {"check/judge": [role("PLAN")], "train/train": [role("TRAIN")], "monitor/monitor": [role("TRAIN")]}
    expected["infrastructure/plan"] = [role("PLAN")]
    for name in environments:
        expected[f"deploy/{name}"] = [role(f"DEPLOY_{name.upper()}")]
        expected[f"infrastructure/plan-{name}"] = [role("PLAN")]
        expected[f"infrastructure/apply-{name}"] = [role(f"APPLY_{name.upper()}")]
    for name in environments[:-1]:
        expected[f"infrastructure/destroy-{name}"] = [role(f"{each}_{name.upper()}") for each in ("DEPLOY", "APPLY")]
    assert logins == expected
    # What a fork proposes logs in nowhere: GitHub would give it no token, and no plan of its own is made.
    for place, key in (("check", "judge"), ("infrastructure", "plan")):
        job = workflow(folder, place)["jobs"][key]
        (guard,) = [job["if"]] if "if" in job else [step["if"] for step in job["steps"] if "cloud" in str(step)]
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
    assert {"params.yaml", "dvc.lock", "data/**", "src/*/problem/**", "uv.lock"} <= set(on["train"]["push"]["paths"])
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
    # Without `if`, a job that needs a refused one is left out. It gets the version that passed, not a newer challenger.
    assert not any("if" in job for job in jobs.values())
    (step,) = (each for each in jobs["live"]["steps"] if each.get("id") == "deploy")
    assert step["env"]["MODEL_VERSION"] == "${{ needs.staging.outputs.version }}"
    batch = rendered({"ci_provider": "github", "serving_mode": "batch"})
    assert [job["environment"] for job in workflow(batch, "deploy")["jobs"].values()] == ["production"]


# ------------------------------------------------------------------------------------------ check


@pytest.mark.slow
def test_check_runs_and_reports_once(project: Hosted, github: GitHub) -> None:
    change = github.pull_request()
    # A person who copies the mark, to write another verdict below it later on.
    mark = "<!-- churn: report on the change -->"
    github.comments[99] = {"id": 99, "of": change["number"], "body": mark, "user": {"login": "eve", "type": "User"}}
    with vulnerabilities() as advisories:
        first = act.run(project, github, "check", "pull_request", told=change, environment={"OSV_URL": advisories})
    assert first.code == 0, first.end
    # Two jobs side by side: each in its order.
    assert sorted(project.verbs()) == sorted(FLOWS["check"])
    assert (first.job("check"), first.job("judge")) == ("success", "success")
    assert github.changes() == [("POST", f"/repos/team/churn/issues/{change['number']}/comments")]
    assert github.comments.pop(99)["body"] == mark
    (comment,) = github.comments.values()
    assert comment["body"].startswith(mark)
    assert "Verdict: green" in comment["body"]
    assert (first.artifacts / "check/checks/junit.xml").exists()
    assert (first.artifacts / "judge/change.md").exists()

    with project.changed(gate__threshold=0.99):
        again = act.run(project, github, "check", "pull_request", told=change, job="judge")
    assert again.code != 0
    assert len(github.comments) == 1
    assert "Verdict: red" in github.comments[comment["id"]]["body"], "the same comment tells what is true now"


@pytest.mark.slow
def test_a_failing_test_fails_check(project: Hosted, github: GitHub) -> None:
    with project.changed(), vulnerabilities() as advisories:
        (project.folder / "tests/test_red.py").write_text("def test_red() -> None:\n    assert 1 + 1 == 3\n")
        told = act.run(project, github, "check", "push", told=PUSHED, job="check", environment={"OSV_URL": advisories})
    assert told.code != 0
    assert told.job("check") == "failure"
    assert "1 failed" in told.log
    assert "Not in order: tests." in told.log
    assert 'failures="1"' in (told.artifacts / "check/checks/junit.xml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_fork_gets_no_secrets(project: Hosted, github: GitHub, tmp_path: Path) -> None:
    trap = tmp_path / "pwned"
    change = github.pull_request(f"x;$(touch${{IFS}}{trap})", source="stranger/churn")
    change["pull_request"]["title"] = hostile(trap)
    told = act.run(project, github, "check", "pull_request", told=change, job="judge", fork=True)
    assert told.code == 0, told.end
    assert not trap.exists()
    assert "from a fork, which may not comment" in told.log
    assert github.requests == [], "it is not even tried"
    flow = (project.folder / ".github/workflows/check.yml").read_text(encoding="utf-8")
    assert "secrets." not in flow
    assert "pull_request_target:" not in flow
    assert "vars.RUNNER" not in flow, "a stranger's code never runs on a machine of one's own"


def hostile(trap: Path) -> str:
    """Return a text that makes the file wherever a shell reads it, or the runner takes it for a command."""
    return f"\"; touch {trap}; echo ' `touch {trap}` $(touch {trap}) ${{{{ github.token }}}} %0A::error::x"


@pytest.mark.slow
def test_hostile_names(project: Hosted, github: GitHub, tmp_path: Path) -> None:
    trap = tmp_path / "pwned"
    with project.changed():
        project.git("switch", "--quiet", "--create", f"x;$(touch${{IFS}}{trap})")
        project.commit(hostile(trap))
        # The texts that people give to flows by hand.
        given = {"inputs": {"reason": hostile(trap), "force": "true"}}
        told = act.run(project, github, "train", "workflow_dispatch", told=given, job="train")
        assert told.code == 0, told.end
        assert project.verbs() == FLOWS["train"]
        given = {"inputs": {"version": hostile(trap)}}
        told = act.run(project, github, "deploy", "workflow_dispatch", told=given, job="staging")
        assert told.code != 0
        assert "What to do:" in told.log
    assert not trap.exists()


# ------------------------------------------------------------------------------------------ train


@pytest.mark.slow
def test_train_registers_and_deploys(deployed: Deployed) -> None:
    trained = deployed.trained
    assert trained.code == 0, trained.end
    assert deployed.verbs == FLOWS["train after a push"] + FLOWS["deploy"]
    assert set(deployed.runs()) == {"staging", "production"}
    attested = (trained.artifacts / "attested.txt").read_text(encoding="utf-8")
    assert "artifacts/model/model.onnx" in attested
    history = deployed.python("from churn import registry; print(registry.get('1').tags['model_identity'])")
    assert history.strip()
    for place in ("staging", "production"):
        assert f"{place}: version 1, well" in trained.log


@pytest.mark.slow
def test_a_red_verdict_stops_train(project: Hosted, github: GitHub) -> None:
    with project.changed(gate__threshold=0.99):
        told = act.run(project, github, "train", "push", told=PUSHED)
    assert told.code != 0
    assert project.verbs() == FLOWS["train after a push"], "the report is written, and nothing is deployed"
    assert "Verdict: red" in told.log
    assert told.job("attest") is None
    assert not (project.state / "deployments").exists()


@pytest.mark.slow
def test_a_registry_that_does_not_answer(project: Hosted, github: GitHub) -> None:
    with project.changed():
        told = act.run(
            project, github, "train", "push", told=PUSHED,
            variables={"RUNNER": act.RUNNER, "PROJECT_STATE": str(project.state), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
            secrets={"MLFLOW_TRACKING_TOKEN": "token-of-the-registry"},
        )  # fmt: skip
        assert told.code != 0
        assert project.verbs() == FLOWS["train after a push"]
        assert "http://127.0.0.1:9" in told.log
        assert "What to do:" in told.log
        assert "Traceback" not in told.log
        assert "token-of-the-registry" not in told.log
        assert not (project.state / "deployments").exists()


# ----------------------------------------------------------------------------------------- deploy


@pytest.mark.slow
def test_a_bad_canary_is_rolled_back(deployed: Deployed, around: GitHub) -> None:
    before = deployed.champion()
    bad = deployed.register("raises", passed=True)
    # As if staging had not seen it: what is proved is that users are kept from it.
    given = {"inputs": {"version": bad}}
    deployed.project.edit(
        ".github/workflows/deploy.yml", "run: uv run churn deploy --to staging --yes",
        f"run: echo version={bad} >> \"$GITHUB_OUTPUT\"",
    )  # fmt: skip
    try:
        told = act.run(deployed.project, around, "deploy", "workflow_dispatch", told=given)
    finally:
        deployed.project.edit(
            ".github/workflows/deploy.yml", f"run: echo version={bad} >> \"$GITHUB_OUTPUT\"",
            "run: uv run churn deploy --to staging --yes",
        )  # fmt: skip
    assert told.code != 0
    assert told.job("production") == "failure"
    assert f"Version {bad} failed as canary in production" in told.log
    assert f"rolled back: version {before} takes all requests" in told.log
    assert deployed.project.verbs()[-1] == "status", "the log ends with how things stand"
    assert deployed.champion() == before
    assert deployed.runs()["production"] == before


@pytest.mark.slow
def test_a_rerun_of_a_half_done_deployment(deployed: Deployed, around: GitHub) -> None:
    before = deployed.champion()
    good = deployed.register("", passed=False)
    given = {"inputs": {"version": ""}}
    half = act.run(deployed.project, around, "deploy", "workflow_dispatch", told=given, job="staging")
    assert half.code == 0, half.end
    assert deployed.runs() == {"staging": good, "production": before}, "staging comes first, and alone changes nothing"
    deployed.project.verbs()
    told = act.run(deployed.project, around, "deploy", "workflow_dispatch", told=given)
    assert told.code == 0, told.end
    assert deployed.project.verbs() == FLOWS["deploy"]
    assert deployed.champion() == good
    assert deployed.runs() == {"staging": good, "production": good}


# ---------------------------------------------------------------------------------------- monitor


@pytest.mark.slow
def test_drift_opens_one_issue_and_starts_train(deployed: Deployed, around: GitHub) -> None:
    code = TRAFFIC.replace('Path("data/', f'Path("{deployed.project.state}/data/')
    deployed.python(code, "900", "3", "0.9")
    told = act.run(deployed.project, around, "monitor", "schedule")
    assert told.code == 0, told.end
    assert deployed.project.verbs() == FLOWS["monitor"]
    (issue,) = around.issues.values()
    assert issue["labels"] == [{"name": "drift"}]
    (started,) = around.dispatched
    assert started["flow"] == "train.yml"
    assert started["inputs"]["reason"].startswith("drift: ")
    body = issue["body"]

    deployed.python(code, "900", "4", "0.9")
    told = act.run(deployed.project, around, "monitor", "schedule")
    assert told.code == 0, told.end
    (issue,) = around.issues.values()
    assert issue["state"] == "open"
    assert issue["body"] != body, "the same issue tells what is true now"
    assert len(around.dispatched) == 1, "within the cool-down no other training is started"


@pytest.mark.slow
def test_batch_runs_the_same_verbs(tmp_path: Path) -> None:
    project = make(tmp_path, serving_mode="batch")
    with serving(on_github(project)) as github:
        trained = act.run(project, github, "train", "push", told={"repository": {"visibility": "private"}})
        assert trained.code == 0, trained.end
        assert project.verbs() == FLOWS["train after a push"] + FLOWS["deploy, batch"]
        assert not (trained.artifacts / "attested.txt").exists(), "a private repository cannot attest on most plans"
        told = act.run(project, github, "monitor", "schedule")
        assert told.code == 0, told.end
        assert project.verbs() == FLOWS["monitor, batch"]
    assert github.wrong == []


# -------------------------------------------------------------------------------- update-template


@pytest.mark.slow
def test_update_template_opens_a_change(project: Hosted, github: GitHub, tmp_path: Path) -> None:
    releases = Releases(tmp_path / "template")
    with project.changed():
        releases.are_the_source_of(project)
        project.verbs()
        # A flow may not open a change before `bootstrap` has allowed it.
        told = act.run(project, github, "update-template", "schedule")
        assert told.code != 0
        assert "UPDATE_TOKEN" in told.log
        github.may_propose = True
        told = act.run(project, github, "update-template", "schedule")
        assert told.code == 0, told.end
        assert project.verbs() == FLOWS["update-template"] * 2
        (change,) = github.pulls.values()
        assert change["head"]["ref"] == "template/1.1.0"
        assert releases.have_reached(project)
        # Next week there is nothing newer to say: the change stays one.
        assert act.run(project, github, "update-template", "schedule").code == 0
        assert len(github.pulls) == 1


# -------------------------------------------------------------------------------------- bootstrap


@pytest.mark.slow
def test_bootstrap(project: Hosted) -> None:
    with serving(on_github(project)) as github:
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
        assert plan.count("  missing ") == 9
        assert github.changes() == []

        # Interrupted in the middle, and repeated.
        github.refuse_after = 7
        assert "500" in bootstrap(*options, "--yes", code=1)
        assert github.variables["BOOTSTRAP_MADE"]
        github.refuse_after = None
        bootstrap(*options, "--yes")
        policy = {"protected_branches": False, "custom_branch_policies": True}
        assert {name: each["deployment_branch_policy"] for name, each in github.environments.items()} == {
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
        assert github.variables.keys() == {"BOOTSTRAP_MADE", "MLFLOW_TRACKING_URI", "RUNNER", "PROJECT_STATE"}
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
        assert github.wrong == []


@pytest.mark.slow
def test_bootstrap_says_what_a_plan_does_not_have(project: Hosted) -> None:
    with serving(on_github(project, private=True, plan="free")) as github:
        told = project.verb(
            "bootstrap", "--yes",
            GITHUB_API_URL=github.address, GITHUB_REPOSITORY=github.name, GITHUB_TOKEN="owner",
        ).stdout  # fmt: skip
        assert told.count("by hand") >= 4
        assert "Upgrade to GitHub Pro" in told
        assert (github.environments, github.rulesets) == ({}, {})
        assert "drift" in github.labels
        assert github.wrong == []
