"""Projects as their users and updates leave them, and what they should be."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import copier
import yaml

from commands.answer_space import RefusedError, Rendered, Template
from tests.conftest import commit

from .history import CANDIDATE, git

ANSWERS = ".copier-answers.yml"
COPIER = (sys.executable, "-m", "copier")
MARKERS = ("<<<<<<< ", "=======", ">>>>>>> ")

# docs/ownership.md promises these to the user, whatever copier.yml says.
OWNED = ("params.yaml", "docs/problem.md", "data/README.md", "src/*/problem/*", "tests/problem/*", "uv.lock")
# The tests that a project begins with; until 0.2.0 they stood in tests/problem, and others of the machinery beside it.
OWNED_TESTS = ("example.py", "test_data.py", "test_loop.py", "test_metrics.py", "test_model.py", "test_sample.py")

Files = dict[str, Rendered]  # by path
Edit = Callable[[Path], None]  # what a user does in a project's folder
Answers = Mapping[str, Any]
Update = Callable[..., Any]  # a project's folder, the tag to go to, answers to change


def files(project: Path) -> Files:
    """Return every file of a project but git's own and the answers."""
    return {
        path.relative_to(project).as_posix(): Rendered(path.read_bytes(), os.access(path, os.X_OK))
        for path in project.rglob("*")
        if path.is_file() and path.relative_to(project).parts[0] != ".git" and path.name != ANSWERS
    }


def write(project: Path, content: Files) -> None:
    """Write files into a folder."""
    for name, file in content.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(0o755 if file.executable else 0o644)


def recorded(project: Path) -> dict[str, Any]:
    """Return what the answers file says, its version and address included."""
    content: dict[str, Any] = yaml.safe_load((project / ANSWERS).read_text(encoding="utf-8"))
    return content


def answers_of(project: Path) -> dict[str, Any]:
    """Return the recorded answers alone."""
    return {name: value for name, value in recorded(project).items() if not name.startswith("_")}


def possible(template: Template, answers: Answers) -> dict[str, Any]:
    """Return those of the answers that a version of the template takes."""
    taken: dict[str, Any] = {}
    for name, value in answers.items():
        try:
            if name in template.questions() and template.all_answers({**taken, name: value}):
                taken[name] = value
        except RefusedError:  # this version did not know the choice yet
            continue
    return taken


def born(repository: Path, folder: Path, tag: str, answers: Answers) -> Files:
    """Make a project from a release, commit it, and return its files."""
    copier.run_copy(str(repository), folder, data=dict(answers), defaults=True, quiet=True, vcs_ref=tag)
    commit(folder)
    return files(folder)


def live(project: Path, edits: Iterable[Edit]) -> Files:
    """Let a user edit a project and commit, and return its files."""
    for edit in edits:
        edit(project)
    git("add", "--all", cwd=project)
    git("commit", "--quiet", "--allow-empty", "--message=Mine", cwd=project)
    return files(project)


def update_by_copier(project: Path, to: str = CANDIDATE, answers: Answers | None = None) -> None:
    """Update as `copier update --defaults` does."""
    copier.run_update(project, data=dict(answers or {}), defaults=True, quiet=True, overwrite=True, vcs_ref=to)


def owned(path: str) -> bool:
    """Say whether a file is the user's alone: an update leaves it as it is."""
    return any(fnmatch(path, pattern) for pattern in (*OWNED, *(f"tests/{name}" for name in OWNED_TESTS)))


def expected(before: Files, lived: Files, new: Files, lived_in_new: Files) -> Files:
    """Return what an update should make of a project.

    Args:
        before: the project as it was born.
        lived: after the user's edits.
        new: a fresh render of the version to update to.
        lived_in_new: the same edits made in that.
    """
    wanted = {}
    for path in {*before, *lived, *new, *lived_in_new}:
        if owned(path):
            source = lived
        elif lived.get(path) == before.get(path):  # not touched, even if the same edit would now reach this file too
            source = new
        else:
            source = lived_in_new
        if path in source:
            wanted[path] = source[path]
    return wanted


def marked(found: Files) -> list[str]:
    """Return the files in which conflicts are marked."""
    return sorted(
        path
        for path, file in found.items()
        if all(any(line.startswith(marker.encode()) for line in file.content.splitlines()) for marker in MARKERS)
    )


def differing(found: Files, wanted: Files) -> list[str]:
    """Return the paths at which two projects differ: short enough to read when a test fails."""
    return sorted(path for path in {*found, *wanted} if found.get(path) != wanted.get(path))
