"""Stands for the project's command while a flow runs: writes down what it is given, and leaves what the verb would.

What a verb says to the code host it says by the engine's own functions, and `login` is the engine's verb: only the
cloud behind it is played. Called as `stand_in.py FOLDER WORDS…`: FOLDER keeps the notes, and in `fails` what fails.
"""

from __future__ import annotations

# What not every verb needs is loaded where it is needed: a run plays dozens of them.
import json
import os
import sys
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twoloops.contracts.platform import Login

GIVEN = (
    "LOGGED_IN_AS", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_URI", "MODEL_VERSION", "PROJECT_STATE", "RETRAIN_FORCE",
    "RETRAIN_REASON", "GITHUB_TOKEN", "GITLAB_TOKEN", "GITLAB_REPORT_TOKEN", "SYSTEM_ACCESSTOKEN",
)  # fmt: skip


def main() -> None:
    """Play one verb."""
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    verb = " ".join(words)
    if "JOB_VARIABLES" in os.environ:
        from twoloops import cli

        cli.take_variables()
    note: dict[str, object] = {"verb": verb, **{name: os.environ[name] for name in GIVEN if os.environ.get(name)}}
    try:
        if words[0] == "login":
            _log_in(words, note)
        else:
            _play(words)
    finally:
        with (folder / "notes.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(note) + "\n")
    fails = folder / "fails"
    if fails.exists() and verb.startswith(fails.read_text(encoding="utf-8")):
        sys.exit(2)


def _log_in(words: list[str], note: dict[str, object]) -> None:
    """Run the verb, with a cloud that looks at the token and gives the role."""
    from twoloops import cli
    from twoloops.platforms import aws

    def give(login: Login) -> dict[str, str]:
        payload = login.token.split(".")[1]
        note["claims"] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        note["seconds"] = login.seconds
        return {"LOGGED_IN_AS": login.role}

    aws.log_in = give
    sys.argv = ["churn", *words]
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise


def _play(words: list[str]) -> None:  # noqa: C901 - a table: one case a verb
    """Leave the files, and hand on the values, that a verb would."""
    match words:
        case ["check", *_]:
            for name in ("junit.xml", "coverage.xml"):
                _write(f"reports/checks/{name}", "<testsuites/>")
            _write("reports/checks/codequality.json", "[]")
        case ["run" | "retrain", *more]:
            _write("reports/metrics.txt", "roc_auc 0.8\n")
            if "--until" not in more:
                _write("artifacts/shipped/model.onnx", "a model")
                _set_output("version", "1")
        case ["update-template", "--bundle", folder]:
            _write(f"{folder}/update.json", '{"branch": null}')
        case ["report", *_]:
            _write("reports/change.md", "# What this change does to the model\n")
        case ["deploy" | "promote", *_]:
            _set_output("version", os.environ.get("MODEL_VERSION") or "1")
        case ["monitor", *_]:
            _write("reports/monitoring/summary.md", "# Nothing to watch\n")
        case ["infrastructure", *more] if "--plan" in more:
            _write("reports/infrastructure/plan.md", "# What this does to the infrastructure\n")
            for name in [each for each in more if not each.startswith("-")]:
                _write(f"reports/infrastructure/{name}/environment.tfplan", name)
            _set_output("changes", "true")
        case ["infrastructure", name, "--apply", *_]:
            plan = Path(f"reports/infrastructure/{name}/environment.tfplan")
            assert plan.read_text(encoding="utf-8") == name, "the plan that was approved"


def _set_output(name: str, value: str) -> None:
    from twoloops.hosts import host

    host.set_output(name, value)


def _write(path: str, text: str) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
