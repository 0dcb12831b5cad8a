"""git is asked about the project's repository, whatever a hook or an alias says; and nowhere else is it started."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from twoloops import git, lineage
from twoloops.delivery import template
from twoloops.hosts.github import host as github
from twoloops.hosts.gitlab import host as gitlab

from commands.rendering import TEMPLATE
from extensions import git as git_of_commands
from extensions import sources
from tests.engine.support.project import Project

ENGINE = Path(git.__file__).parent
# Who starts git: each takes out what leads elsewhere. `demo` runs its steps by `clean_environment`, and `doctor` asks
# for the version alone.
STARTERS = {"extensions/git.py", "commands/demo.py", "git.py", "delivery/template.py", "doctor.py"}


def lists_of_words(path: Path) -> list[str]:
    """Return the first words of all lists and tuples of texts in a module that starts programs."""
    found: list[str] = []
    text = path.read_text(encoding="utf-8")
    if "subprocess" not in text:
        return found
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.List | ast.Tuple) and node.elts and isinstance(node.elts[0], ast.Constant):
            found.append(str(node.elts[0].value))
    return found


def test_git_and_copier_are_started_in_few_places() -> None:
    modules = {path.relative_to(ENGINE).as_posix(): path for path in ENGINE.rglob("*.py")}
    for folder in ("commands", "extensions"):
        modules |= {path.relative_to(TEMPLATE).as_posix(): path for path in (TEMPLATE / folder).rglob("*.py")}
    starters = {name for name, path in modules.items() if {"git", "copier"} & set(lists_of_words(path))}
    assert starters - STARTERS == set()
    assert starters >= {"extensions/git.py", "git.py"}, "the look itself"
    in_process = {name for name, path in modules.items() if "copier.run_" in path.read_text(encoding="utf-8")}
    # Without a PATH in `rendering`, so without git; without the variables in `demo`.
    assert in_process == {"commands/rendering.py", "commands/demo.py"}


@pytest.fixture
def elsewhere(bare_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return another repository, to which the variables of a hook lead from the project's."""
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for folder, name in ((bare_project.folder, "mine"), (tmp_path / "elsewhere", "other")):
        for words in (
            ["init", "--quiet", str(folder)],
            ["-C", str(folder), "commit", "--quiet", "--allow-empty", f"--message={name}"],
            ["-C", str(folder), "remote", "add", "origin", f"https://host.example/acme/{name}.git"],
        ):
            subprocess.run([*command, *words], check=True)
    other = tmp_path / "elsewhere"
    for variable, value in {
        "GIT_DIR": other / ".git",
        "GIT_WORK_TREE": other,
        "GIT_INDEX_FILE": other / ".git/index",
    }.items():
        monkeypatch.setenv(variable, str(value))
    return other


@pytest.mark.usefixtures("elsewhere")
def test_the_projects_own_repository_is_asked(bare_project: Project) -> None:
    assert git.ask("log", "-1", "--format=%s") == "mine"
    assert git.ask("rev-parse", "--show-toplevel") == str(bare_project.folder.resolve())
    assert lineage.code_version().partition("-")[0] == git.ask("rev-parse", "HEAD")
    assert github._remote()["name"] == gitlab._remote()[1] == "acme/mine"


@pytest.mark.usefixtures("elsewhere")
def test_what_a_verb_starts_asks_it_too(bare_project: Project) -> None:
    code = "import os; from twoloops import cli\ntry:\n cli.main()\nexcept SystemExit:\n print(sorted(os.environ))"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert not [name for name in git.ELSEWHERE if f"'{name}'" in done.stdout]
    assert "'PATH'" in done.stdout


def test_every_variable_of_a_repository_is_known() -> None:
    listed = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True)
    settings = {"GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"}  # given on purpose
    assert set(listed.stdout.split()) - settings <= git.ELSEWHERE
    assert git.ELSEWHERE == git_of_commands.ELSEWHERE


def test_where_git_is_missing_or_refuses_there_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git.ask("rev-parse", "HEAD", folder=tmp_path) is None
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    assert git.ask("--version") is None


def test_a_project_and_the_commands_allow_the_same_schemes() -> None:
    assert template.SCHEMES == sources.SCHEMES
    assert template.SHORT == sources.SHORT
