"""The commands for owners and platform teams, installed from git as people install them: nobody needs a clone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import copier
import pytest

from commands.rendering import clean_environment

from ..conftest import UV, commit, shared_project
from .history import CANDIDATE, NOBODY, History

COMMANDS = ("update-template", "fleet", "adopt", "organization", "changes", "choose", "expected-files")


class Outside:
    """A folder outside every repository, in which the commands of a release are run."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder = folder
        self.source = f"git+file://{repository}@{CANDIDATE}"

    def run(self, *words: str, code: int = 0) -> str:
        command = [UV, "tool", "run", "--from", self.source, *words]
        environment = clean_environment() | NOBODY
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def outside(history: History, tmp_path: Path) -> Outside:
    return Outside(tmp_path, history.repository)


@pytest.fixture
def project(history: History, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        copier.run_copy(str(history.repository), folder, vcs_ref="v0.2.0", defaults=True, quiet=True)
        commit(folder)

    return shared_project(tmp_path_factory, "installed-project", make)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_it_does(outside: Outside, command: str) -> None:
    assert "usage: " in outside.run(command, "--help").lower()


@pytest.mark.slow
def test_update_template_and_fleet(outside: Outside, project: Path) -> None:
    told = outside.run("update-template", str(project), "--dry-run")
    assert "Nothing was changed." in told
    assert "rewritten for what has moved: src/churn/problem/data.py" in told
    (outside.folder / "list.txt").write_text(f"{project}\n", encoding="utf-8")
    assert "1 merges cleanly" in outside.run("fleet", "report", "list.txt", "--cache", "cache")


@pytest.mark.slow
def test_adopt(outside: Outside) -> None:
    repository = outside.folder / "mine"
    repository.mkdir()
    (repository / "README.md").write_text("# Mine\n", encoding="utf-8")
    commit(repository)
    assert "Nothing was changed." in outside.run("adopt", "mine")


@pytest.mark.slow
def test_organization(outside: Outside, history: History) -> None:
    upstream = ("--upstream", str(history.repository), "--upstream-version", CANDIDATE)
    outside.run("organization", "init", "bank", "--name", "Bank", *upstream, "--no-input")
    assert "build/ holds Bank" in outside.run("organization", "build", "bank")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_changes_and_expected_files(outside: Outside) -> None:
    assert "differences between v0.2.0" in outside.run("changes", "v0.2.0", "--stat")
    outside.run("expected-files", "--into", "files.txt")
    table = (outside.folder / "files.txt").read_text(encoding="utf-8")
    assert "pyproject.toml" in table.split()


@pytest.mark.slow
def test_choose(outside: Outside) -> None:
    assert "choose.html is written" in outside.run("choose")
