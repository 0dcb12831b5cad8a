"""demo, changes and expected-files do what the README says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from commands.rendering import TEMPLATE


def run(name: str, *words: str, code: int = 0) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", f"from commands.{name} import main; main()", *words],
        cwd=TEMPLATE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == code, finished.stdout + finished.stderr
    return finished.stdout


def test_the_demo_ends_with_predictions_and_never_overwrites(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    told = run("demo", str(folder))
    for line in ("1/7", "7/7", "Verdict: green", "Champion: version 1", "Done"):
        assert line in told
    assert len((folder / "predictions.csv").read_text(encoding="utf-8").splitlines()) == 8001
    before = sorted(path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file())
    assert "exists and is left as it is" in run("demo", str(folder), code=1)
    assert sorted(path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()) == before


def test_changes_shows_what_a_change_does(tmp_path: Path) -> None:
    assert " differences between HEAD and the working tree." in run("changes", "HEAD", "--stat")
