"""demo, changes and expected-files do what the README says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from commands.rendering import TEMPLATE


def run(name: str, *words: str, code: int = 0) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", f"from commands.{name} import main; main()", *words],
        cwd=TEMPLATE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == code, finished.stdout + finished.stderr
    return finished.stdout


def test_the_demo_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    assert "exists and is left as it is" in run("demo", str(tmp_path), code=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.slow
def test_the_demo_closes_the_loop(tmp_path: Path) -> None:
    """Every step ends as it must, or the demo fails: green, red with drift, and green again with a new champion."""
    folder = tmp_path / "demo"
    told = run("demo", "--loop", str(folder))
    for line in ("Verdict: red", "gain over champion", "Version 2 runs in production and is the champion", "Done"):
        assert line in told
    last = told[told.index("The loop is closed") :]
    assert "Verdict: green" in last
    assert len((folder / "predictions.csv").read_text(encoding="utf-8").splitlines()) == 8001


@pytest.mark.slow
def test_changes_shows_what_a_change_does(tmp_path: Path) -> None:
    assert " differences between HEAD and the working tree." in run("changes", "HEAD", "--stat")
