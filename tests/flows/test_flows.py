"""Every flow on every code host, run to its end; a stand-in plays the verbs, so that what is proved is the flow.

Which verbs run and in which order, as whom they are logged in, what each is given and hands on, what is kept, and what
a failure, a refused approval, a fork or a hostile text do. That the verbs do what the stand-in plays, others prove.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.support.trust import trusts

from .conftest import TRACKING
from .hosts import PUSH, SCHEDULE, CodeHost, Outcome
from .project import ENVIRONMENTS

# Every flow on every host takes minutes: CI runs it, `uv run pytest` does not.
pytestmark = pytest.mark.slow

JUDGE = ["fetch --sample", "run --until evaluate", "report --publish"]
DEPLOY = ["deploy --to staging --yes", "status", "deploy --to production --yes", "status"]
INFRASTRUCTURE = [
    *("login plan", "infrastructure staging --plan --publish"),
    *("login apply-staging", "infrastructure staging --apply --yes"),
    *("login plan", "infrastructure production --plan --publish"),
    *("login apply-production", "infrastructure production --apply --yes"),
]
LOGIN = "login train --seconds 21600"  # as long as a training may take
DEPLOY_ON_A_CLOUD = ["login deploy-staging", *DEPLOY[:2], "login deploy-production", *DEPLOY[2:]]


def verbs(notes: list[dict[str, Any]]) -> list[str]:
    return [note["verb"] for note in notes]


def begun(host: CodeHost) -> None:
    """Forget what an earlier test has noted."""
    host.project.notes()


def good(outcome: Outcome) -> Outcome:
    assert outcome.succeeded, outcome.log[-6000:]
    return outcome


def note_of(notes: list[dict[str, Any]], verb: str) -> dict[str, Any]:
    return next(note for note in notes if note["verb"].startswith(verb))


# ---------------------------------------------------------------------------------- on this machine


def test_check(host: CodeHost) -> None:
    begun(host)
    kept = good(host.change()).kept
    # Jobs side by side: each in its order.
    notes = host.project.notes()
    assert sorted(verbs(notes)) == sorted(["check --reports", "scan", *JUDGE])
    assert [verb for verb in verbs(notes) if verb in JUDGE] == JUDGE
    assert note_of(notes, "report")[host.REPORT_LOGIN], "it comments on the change"
    assert host.LOGIN == host.REPORT_LOGIN or not any(host.LOGIN in note for note in notes)
    files = {path.name for folder in kept.values() for path in folder.rglob("*") if path.is_file()}
    assert {"junit.xml", "coverage.xml", "metrics.txt", "change.md"} <= files


def test_a_failing_verb_fails_check_and_is_reported(host: CodeHost) -> None:
    begun(host)
    with host.project.failing("run"):
        assert not host.change().succeeded
    assert [verb for verb in host.project.verbs() if verb in JUDGE] == JUDGE, "the change is told why"
    with host.project.failing("check"):
        assert not host.change().succeeded


def test_train_after_a_push_deploys_what_it_made(host: CodeHost) -> None:
    begun(host)
    kept = good(host.run("train", PUSH)).kept
    notes = host.project.notes()
    assert verbs(notes) == ["fetch", "run", "report --publish", *DEPLOY]
    assert [note["MODEL_VERSION"] for note in notes if note["verb"].startswith("deploy")] == ["1", "1"]
    assert {note.get("MLFLOW_TRACKING_URI") for note in notes} == {TRACKING}
    assert {note.get("PROJECT_STATE") for note in notes} == {str(host.project.state)}
    assert any(path.name == "model.onnx" for folder in kept.values() for path in folder.rglob("*"))


def test_a_red_verdict_stops_train(host: CodeHost) -> None:
    begun(host)
    with host.project.failing("run"):
        outcome = host.run("train", PUSH)
    assert not outcome.succeeded
    assert host.project.verbs() == ["fetch", "run", "report --publish"], "the report is written, nothing is deployed"


def hostile(trap: Path) -> str:
    """Return a text that makes the file wherever a shell reads it, or the runner takes it for a command."""
    commands = (
        "$[[ inputs.flow ]] $CI_JOB_ID $(System.AccessToken) ${{ github.token }} %0A::error::x ##vso[task.complete]x"
    )
    return f"\"; touch {trap}; echo ' `touch {trap}` $(touch {trap}) {commands}"


def test_what_people_write_is_no_command(host: CodeHost, tmp_path: Path) -> None:
    trap = tmp_path / "pwned"
    begun(host)
    with host.project.changed():
        good(host.change(branch=f"x;$(touch${{IFS}}{trap})", message=hostile(trap)))
    begun(host)
    # With a refused approval it ends before users; the texts are those that people give to a flow by hand.
    good(host.run("train", reason=hostile(trap), force="true"))
    notes = host.project.notes()
    assert verbs(notes) == ["fetch", "retrain", "report --publish", *DEPLOY]
    given = note_of(notes, "retrain")
    assert given["RETRAIN_FORCE"] == "true"
    assert given["RETRAIN_REASON"].startswith(f"\"; touch {trap}; echo ' `touch {trap}` $(touch {trap})")
    assert not trap.exists()


def test_deploy_by_hand(host: CodeHost) -> None:
    begun(host)
    good(host.run("deploy", version="7"))
    notes = host.project.notes()
    assert verbs(notes) == DEPLOY
    assert [note["MODEL_VERSION"] for note in notes if note["verb"].startswith("deploy")] == ["7", "7"]


def test_a_refused_approval_stops_deploy(host: CodeHost) -> None:
    begun(host)
    host.run("deploy", version="7", approved=False)
    assert host.project.verbs() == DEPLOY[:2]


def test_a_deployment_that_fails_goes_no_further(host: CodeHost) -> None:
    begun(host)
    with host.project.failing("deploy --to staging"):
        outcome = host.run("deploy", version="7")
    assert not outcome.succeeded
    assert host.project.verbs() == DEPLOY[:2], "the log ends with how things stand"


def test_monitor(host: CodeHost) -> None:
    begun(host)
    kept = good(host.run("monitor", SCHEDULE)).kept
    notes = host.project.notes()
    assert verbs(notes) == ["monitor --respond"]
    assert notes[0][host.LOGIN], "it opens an issue, and starts `train`"
    assert any(path.name == "summary.md" for folder in kept.values() for path in folder.rglob("*"))


def test_update_template(host: CodeHost) -> None:
    begun(host)
    good(host.run("update-template", SCHEDULE))
    notes = host.project.notes()
    assert verbs(notes) == ["update-template --bundle reports/update", "propose --bundle reports/update"]
    assert notes[1][host.LOGIN], "it opens a change"
    # act gives GITHUB_TOKEN to each step, and GitHub to none; on GitLab the variable's own setting says who has it.
    if host.NAME == "azure_devops":
        assert host.LOGIN not in notes[0], "what merges runs packages that nobody here has looked at"


def test_a_fork_gets_no_secret(host: CodeHost) -> None:
    begun(host)
    good(host.change(fork=True))
    notes = host.project.notes()
    assert sorted(verbs(notes)) == sorted(["check --reports", "scan", *JUDGE])
    assert not any("MLFLOW_TRACKING_TOKEN" in note for note in notes)


def test_batch_promotes_and_scores(batch: CodeHost) -> None:
    good(batch.run("train", PUSH))
    assert batch.project.verbs() == ["fetch", "run", "report --publish", "promote"]
    good(batch.run("monitor", SCHEDULE))
    assert batch.project.verbs() == ["fetch", "score", "monitor --respond"]


# --------------------------------------------------------------------------------------- on a cloud


def roles(host: CodeHost, notes: list[dict[str, Any]]) -> list[str]:
    """Return as whom the verbs but `login` were run, one after the other; each login's token earns its role."""
    trust = trusts(host.NAME, host.repository, {name: name for name in ENVIRONMENTS})
    for note in notes:
        if note["verb"].startswith("login") and "claims" in note:
            role = note["verb"].split()[1]
            purpose, _, environment = role.partition("-")
            assert trust["/".join([purpose, environment]) if environment else role].allows(note["claims"]), note
    return [role for role, _ in groupby(note.get("LOGGED_IN_AS", "") for note in notes if "login" not in note["verb"])]


def test_check_on_a_cloud(cloud: CodeHost) -> None:
    begun(cloud)
    good(cloud.change())
    notes = cloud.project.notes()
    plan = ["login plan", "infrastructure --plan --publish"]
    assert sorted(verbs(notes)) == sorted(["check --reports", "scan", "login plan --optional", *JUDGE, *plan])
    read = {note["verb"]: note.get("LOGGED_IN_AS") for note in notes if not note["verb"].startswith("login")}
    assert read == {"check --reports": None, "scan": None, **dict.fromkeys([*JUDGE, plan[1]], "plan")}
    roles(cloud, notes)


def test_train_on_a_cloud(cloud: CodeHost) -> None:
    begun(cloud)
    good(cloud.run("train", PUSH))
    notes = cloud.project.notes()
    assert verbs(notes) == [LOGIN, "fetch", "image", "run --submit", "report --publish", *DEPLOY_ON_A_CLOUD]
    assert roles(cloud, notes) == ["train", "deploy-staging", "deploy-production"]
    assert notes[0]["seconds"] == 21600
    good(cloud.run("train", SCHEDULE))
    notes = cloud.project.notes()
    assert verbs(notes)[:5] == [LOGIN, "fetch", "image", "retrain --submit", "report --publish"]


def test_monitor_on_a_cloud(cloud: CodeHost) -> None:
    begun(cloud)
    good(cloud.run("monitor", SCHEDULE))
    notes = cloud.project.notes()
    assert verbs(notes) == ["login train", "monitor --respond"], "there the schedule of the cloud scores"
    assert roles(cloud, notes) == ["train"]


def test_infrastructure(cloud: CodeHost) -> None:
    begun(cloud)
    cloud.project.commit("A push")
    with cloud.project.changed():
        cloud.project.edit(
            "infra/environment/environments.auto.tfvars", "error_percent        = 1 ", "error_percent        = 2 "
        )
        cloud.run("infrastructure", PUSH, approved=False)
        assert cloud.project.verbs() == INFRASTRUCTURE[:6], "users' environment waits for who approves it"
    good(cloud.run("infrastructure"))
    notes = cloud.project.notes()
    assert verbs(notes) == INFRASTRUCTURE, "each plan that was approved, and no other, was applied"
    assert roles(cloud, notes) == ["plan", "apply-staging", "plan", "apply-production"]


def test_an_environment_is_taken_away(cloud: CodeHost) -> None:
    begun(cloud)
    good(cloud.run("infrastructure", destroy="staging"))
    notes = cloud.project.notes()
    assert verbs(notes) == [
        "login deploy-staging", "stop staging", "login apply-staging", "infrastructure staging --destroy --yes",
    ]  # fmt: skip
    assert roles(cloud, notes) == ["deploy-staging", "apply-staging"]


def test_a_fork_gets_no_login(cloud: CodeHost) -> None:
    begun(cloud)
    good(cloud.change(fork=True))
    notes = cloud.project.notes()
    assert sorted(verb for verb in verbs(notes) if "login" not in verb) == sorted(["check --reports", "scan", *JUDGE])
    assert not any("claims" in note or "LOGGED_IN_AS" in note for note in notes)


def test_a_token_of_another_repository_earns_nothing(cloud: CodeHost) -> None:
    """The trust that the other tests hold tokens to is one that can refuse."""
    begun(cloud)
    with cloud.mixed_up():
        cloud.run("monitor", SCHEDULE)
    (login, *_) = cloud.project.notes()
    trust = trusts(cloud.NAME, cloud.repository, {name: name for name in ENVIRONMENTS})
    assert not trust["train"].allows(login["claims"])
