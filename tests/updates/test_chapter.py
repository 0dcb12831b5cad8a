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
FILE = "monitoring/prometheus/prometheus.yml"
# That all checks of a project pass has its own tests, and takes minutes.
ELSEWHERE = "uv run churn check\n"


def newer(template: Path) -> None:
    """Change a line, and say so in the changelog."""
    file = template / "template/{{ layer.infra_local }}/monitoring/prometheus/prometheus.yml.jinja"
    text = file.read_text(encoding="utf-8")
    assert "scrape_interval: 15s" in text
    file.write_text(text.replace("scrape_interval: 15s", "scrape_interval: 30s"), encoding="utf-8")
    changelog = template / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    entry = f"\n## {LATER[1:]} - 2026-12-01\n\nHalf a minute.\n\n## "
    changelog.write_text(text.replace("\n## ", entry, 1), encoding="utf-8")


# In CI test_installed.py and test_fleet.py run the same commands, one by one.
@pytest.mark.slow
@pytest.mark.twin
def test_the_chapter_can_be_followed(history: History, tmp_path: Path) -> None:
    source = release_later(history, tmp_path / "template", newer)
    project = tmp_path / "churn"
    copier.run_copy(str(source), project, vcs_ref=CANDIDATE, defaults=True, quiet=True)
    environment = clean_environment() | NOBODY | {"OMP_NUM_THREADS": "1"}
    subprocess.run([UV, "sync", "--quiet"], cwd=project, env=environment, check=True)
    file = project / FILE
    file.write_text(file.read_text(encoding="utf-8").replace("scrape_interval: 15s", "scrape_interval: 5s"))
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
    assert "Half a minute." in told
    assert git("rev-parse", "--abbrev-ref", "HEAD", cwd=project) == f"template/{LATER[1:]}"
    assert "scrape_interval: 5s" in file.read_text(encoding="utf-8")
    assert "owner: data-science" in (project / ".copier-answers.yml").read_text(encoding="utf-8")
    assert not os.path.lexists(project / ".git/worktrees")


def _settle(project: Path, told: str) -> None:
    """Do what the chapter says about conflicts: here one's own line is kept."""
    assert f"  {FILE}: both sides changed the same lines" in told
    file = project / FILE
    text = file.read_text(encoding="utf-8")
    assert "scrape_interval: 30s" in text
    kept = re.sub(r"<<<<<<< HEAD\n(.*?)=======\n.*?>>>>>>> [^\n]*\n", r"\1", text, flags=re.DOTALL)
    file.write_text(kept, encoding="utf-8")
    git("commit", "--quiet", "--all", "--message=Settle", cwd=project)
