"""docs/ownership.md, walked: its commands, in their order, in a project with edits, over a later release."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import copier
import pytest

from commands.rendering import TEMPLATE, clean_environment

from ..conftest import UV, commit
from .history import CANDIDATE, LATER, NOBODY, History, git, release_later

CHAPTER = TEMPLATE / "docs/ownership.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
WRITTEN = "0.3.0"  # the version that the chapter speaks of
CONTRACT = "src/churn/contract.py"
# That all checks of a project pass has its own tests, and takes minutes.
ELSEWHERE = "uv run churn check\n"


def newer(template: Path) -> None:
    """Change a line, and say so in the changelog."""
    file = template / "template/{{ layer.base }}/src/{{ package_name }}/contract.py"
    text = file.read_text(encoding="utf-8")
    assert "MOST_VALUES_SHOWN = 3" in text
    file.write_text(text.replace("MOST_VALUES_SHOWN = 3", "MOST_VALUES_SHOWN = 4"), encoding="utf-8")
    changelog = template / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    entry = f"\n## {LATER[1:]} - 2026-12-01\n\nFour values.\n\n## "
    changelog.write_text(text.replace("\n## ", entry, 1), encoding="utf-8")


@pytest.mark.slow
def test_the_chapter_can_be_followed(history: History, tmp_path: Path) -> None:
    source = release_later(history, tmp_path / "template", newer)
    project = tmp_path / "churn"
    copier.run_copy(str(source), project, vcs_ref=CANDIDATE, defaults=True, quiet=True)
    environment = clean_environment() | NOBODY | {"OMP_NUM_THREADS": "1"}
    subprocess.run([UV, "sync", "--quiet"], cwd=project, env=environment, check=True)
    file = project / CONTRACT
    file.write_text(file.read_text(encoding="utf-8").replace("MOST_VALUES_SHOWN = 3", "MOST_VALUES_SHOWN = 5"))
    commit(project)
    told = ""
    for block in BLOCK.findall(CHAPTER.read_text(encoding="utf-8")):
        script = block.replace(WRITTEN, LATER[1:]).replace(ELSEWHERE, "")
        done = subprocess.run(
            ["bash", "-eu", "-c", script], cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        told += done.stdout
        if "<<<<<<< HEAD" in file.read_text(encoding="utf-8") and "git merge" not in block:
            _settle(project, told)
    assert "Nothing was changed." in told
    assert "Four values." in told
    assert git("rev-parse", "--abbrev-ref", "HEAD", cwd=project) == f"template/{LATER[1:]}"
    assert "MOST_VALUES_SHOWN = 5" in file.read_text(encoding="utf-8")
    assert "owner: data-science" in (project / ".copier-answers.yml").read_text(encoding="utf-8")
    assert not os.path.lexists(project / ".git/worktrees")


def _settle(project: Path, told: str) -> None:
    """Do what the chapter says about conflicts: here one's own line is kept."""
    assert f"  {CONTRACT}: both sides changed the same lines" in told
    file = project / CONTRACT
    text = file.read_text(encoding="utf-8")
    assert "MOST_VALUES_SHOWN = 4" in text
    kept = re.sub(r"<<<<<<< HEAD\n(.*?)=======\n.*?>>>>>>> [^\n]*\n", r"\1", text, flags=re.DOTALL)
    file.write_text(kept, encoding="utf-8")
    git("commit", "--quiet", "--all", "--message=Settle", cwd=project)
