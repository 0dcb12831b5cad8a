"""The verb `infrastructure`, and what `bootstrap` does on the cloud, with a Terraform that only plays its part."""

import json
import os
import shutil
from pathlib import Path

import pytest
from twoloops.errors import ProjectError
from twoloops.hosts import github
from twoloops.paths import paths
from twoloops.platforms import aws
from twoloops.platforms.aws import deployed, terraform
from twoloops.platforms.shared.infrastructure import SCRIPT as BOOTSTRAP
from twoloops.platforms.shared.infrastructure import MissingSettingsError, role_names
from twoloops.verbs import infrastructure

from tests.engine.support.aws_stubs import REGION
from tests.engine.support.verbs import call

FIRST, LAST = "staging", "production"
# Terraform as a script: it writes down what it is asked, makes the plan's file, and says what a file holds.
SCRIPT = """#!/bin/sh
echo "$TF_WORKSPACE $*" >> "$PLAYED/asked"
case "$*" in
  version*) echo "{\\"terraform_version\\": \\"$(cat "$PLAYED/version")\\"}" ;;
  init*) echo lock > .terraform.lock.hcl ;;
  plan*) for word in "$@"; do case $word in -out=*) echo plan > "${word#-out=}" ;; esac; done ;;
  show*) cat "$PLAYED/plan.json" ;;
esac
if [ -f "$PLAYED/fails" ] && [ "$1" = "$(head -n 1 "$PLAYED/fails")" ]; then
  tail -n +2 "$PLAYED/fails" >&2
  exit 1
fi
"""
UPDATE = {"actions": ["update"], "before": {"x": 1, "y": 2}, "after": {"x": 1, "y": 3}}
CHANGES: dict[str, object] = {
    "resource_changes": [
        {"address": "a", "mode": "managed", "change": {"actions": ["create"], "before": None, "after": {"x": "value"}}},
        {"address": "b", "mode": "managed", "change": UPDATE},
        {"address": "c", "mode": "managed", "change": {"actions": ["no-op"], "before": {}, "after": {}}},
        {"address": "d", "mode": "data", "change": {"actions": ["read"], "before": None, "after": {}}},
        {"address": "e", "mode": "managed", "change": UPDATE},
    ],
    "resource_drift": [
        {"address": "a", "change": {"before": {"x": 1}, "after": None}},
        {"address": "b", "change": {"before": {"x": 1, "y": [{"z": 3}]}, "after": {"x": 1, "y": [{"z": 2}]}}},
        {"address": "c", "change": {"before": {"x": 1}, "after": {"x": 2}}},
        # Nobody has changed this: it was not written, and is read as empty. And x is not put back.
        {"address": "e", "change": {"before": {"x": 1, "y": [{"z": None}]}, "after": {"x": 2, "y": [{"z": 0}]}}},
    ],
}


class Played:
    """What the played Terraform was asked, and what it shall say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.say(CHANGES)
        (folder / "version").write_text("1.11.4", encoding="utf-8")

    def say(self, plan: dict[str, object]) -> None:
        (self.folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")

    def fail(self, command: str, words: str) -> None:
        (self.folder / "fails").write_text(f"{command}\n{words}\n", encoding="utf-8")

    def asked(self) -> list[str]:
        file = self.folder / "asked"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [" ".join(line.split()[:2]) for line in lines if "version" not in line]


@pytest.fixture
def played(configured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/terraform"
    script.write_text(SCRIPT, encoding="utf-8")
    script.chmod(0o755)
    (configured / "infra/environment").mkdir()
    monkeypatch.setenv("PLAYED", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(terraform, "settings", Known)
    monkeypatch.setattr(deployed, "list_deployed", lambda _: [])
    return Played(tmp_path)


def test_a_plan_is_told_without_values_and_saved(played: Played) -> None:
    told = call("infrastructure", FIRST, "--json")
    assert told.exit_code == 0, told.output
    (plan,) = json.loads(told.stdout)["plans"]
    assert [(each["address"], each["action"], each["attributes"]) for each in plan["changes"]] == [
        ("a", "create", []),
        ("b", "change", ["y"]),
        ("e", "change", ["y"]),
    ]
    assert plan["drift"] == ["a", "b"]
    page = (paths().plans / "plan.md").read_text(encoding="utf-8")
    assert "| change | `b` | y |" in page
    assert "value" not in page
    assert played.asked() == [f"{FIRST} init", f"{FIRST} plan", f"{FIRST} show"]
    assert aws.infrastructure().saved(FIRST).heading == f"{FIRST}: 1 to create, 2 to change"


def test_exactly_the_saved_plan_is_applied_once(played: Played) -> None:
    nothing = call("infrastructure", FIRST, "--apply", "--yes")
    assert "There is no plan" in str(nothing.exception)
    told = call("infrastructure", FIRST, "--plan", "--apply", "--yes", "--json")
    assert json.loads(told.stdout)["applied"] == [FIRST]
    assert f"{FIRST} apply" in played.asked()
    assert "There is no plan" in str(call("infrastructure", FIRST, "--apply", "--yes").exception)
    played.say({})
    told = call("infrastructure", FIRST, "--plan", "--apply", "--yes")
    assert "Applied: nothing." in told.output
    assert f"{FIRST} apply" not in played.asked()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Error acquiring the state lock\n  ID:   7\n  Who:  ada@laptop\n  Created: today", "ada@laptop, since today"),
        ("Error: Saved plan is stale", "has changed since the plan was made"),
        ("Error: AWS account ID not allowed: 210987654321", "the account 210987654321"),
        ("api error ExpiredToken: old", "login has expired"),
        ("not authorized to perform: sns:CreateTopic on it", "may not do that: sns:CreateTopic"),
        ("Error: Failed to query available provider packages", "cannot fetch the provider"),
        ("╷\n│ Error: something else\n╵", "Error: something else"),
    ],
)
def test_refusals_are_told_in_words(played: Played, said: str, told: str) -> None:
    aws.infrastructure().plan(FIRST)
    played.fail("apply", said)
    with pytest.raises(ProjectError, match=told) as refused:
        aws.infrastructure().apply(FIRST, print)
    assert refused.value.hint
    assert aws.infrastructure().saved(FIRST), "the plan is kept"


def test_a_terraform_that_is_missing_or_too_old_is_told(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    (played.folder / "version").write_text("1.9.8", encoding="utf-8")
    with pytest.raises(ProjectError, match=r"is 1\.9\.8, and has to be 1\.11"):
        aws.infrastructure().plan(FIRST)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ProjectError, match="not installed"):
        aws.infrastructure().plan(FIRST)
    with pytest.raises(ProjectError, match="no environment"):
        aws.infrastructure().plan("elsewhere")


def test_the_last_environment_is_not_destroyed_by_the_way(played: Played) -> None:
    assert "wants to know what" in str(call("infrastructure", "--destroy").exception)
    assert "alone" in str(call("infrastructure", FIRST, "--destroy", "--apply").exception)
    assert "serves users" in str(call("infrastructure", LAST, "--destroy", "--yes").exception)
    assert "not its name" in str(call("infrastructure", LAST, "--destroy", input="no\n").exception)
    assert played.asked() == []
    assert call("infrastructure", LAST, "--destroy", input=f"{LAST}\n").exit_code == 0
    assert played.asked() == [f"{LAST} init", f"{LAST} destroy"]


def test_nothing_is_destroyed_below_what_is_deployed(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployed, "list_deployed", lambda name: [f"what runs in {name}"])
    refused = call("infrastructure", LAST, "--destroy", input=f"{LAST}\n").exception
    assert isinstance(refused, ProjectError)
    assert f"{LAST} still has what runs in {LAST}" in str(refused)
    assert f"stop {LAST}" in refused.hint
    assert played.asked() == []


def test_what_is_deployed_is_seen_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    for part in (deployed.endpoints, deployed.scoring):
        monkeypatch.setattr(part, "exists", lambda _: not gone)
        monkeypatch.setattr(part, "remove", gone.append)
    assert deployed.list_deployed(LAST)
    assert deployed.stop(LAST)
    assert set(gone) == {LAST}
    assert deployed.list_deployed(LAST) == []
    assert not deployed.stop(LAST)


class Known:
    """What bootstrap/ has made."""

    def __init__(self) -> None:
        self.flow_role_arns = {name: f"arn:{name}" for name in role_names()}
        self.tracking_uri = "arn:mlflow"


def test_the_flows_get_what_they_need_to_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terraform, "settings", Known)
    found = infrastructure.prepare(dry_run=False, undo=False, yes=True)
    assert found["CLOUD_REGION"] == REGION
    assert found["CLOUD_ROLE_TRAIN"] == "arn:train"
    assert found[f"CLOUD_ROLE_APPLY_{LAST.upper().replace('-', '_')}"] == f"arn:apply/{LAST}"
    assert found["MLFLOW_TRACKING_URI"] == "arn:mlflow"
    taken_back = infrastructure.prepare(dry_run=False, undo=True, yes=True)
    assert set(taken_back) == set(found)
    assert set(taken_back.values()) == {""}


def test_what_is_missing_on_the_cloud_is_made_first(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    def settings() -> Known:
        if not Path("made").exists():
            raise MissingSettingsError("nothing there")
        return Known()

    monkeypatch.setattr(terraform, "settings", settings)
    monkeypatch.setattr(github, "identifiers", lambda: {"owner_id": "1"})
    assert infrastructure.prepare(dry_run=True, undo=False, yes=True) == {}
    script = Path(BOOTSTRAP)
    script.write_text("exit 1\n", encoding="utf-8")
    with pytest.raises(ProjectError, match="ended before all was made"):
        infrastructure.prepare(dry_run=False, undo=False, yes=True)
    script.write_text('echo "$TF_VAR_owner_id $*" > made\n', encoding="utf-8")
    assert infrastructure.prepare(dry_run=False, undo=False, yes=True)["CLOUD_ROLE_PLAN"] == "arn:plan"
    assert Path("made").read_text(encoding="utf-8") == "1 -auto-approve\n"


def test_the_first_flows_are_started(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def start(flow: str, inputs: dict[str, str]) -> str:
        if flow == "train":
            raise ProjectError("No.")
        return "https://host.invalid/run"

    monkeypatch.setattr(github, "start", start)
    infrastructure.begin()
    told = capsys.readouterr().out
    assert "started: infrastructure, https://host.invalid/run" in told
    assert "not started: train: No. Start it by hand." in told
