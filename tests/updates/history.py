"""The template's past, from releases.yaml, and its present as the release that might come next."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from commands.answer_space import Template, template
from commands.release import table
from commands.rendering import TEMPLATE

CANDIDATE = "v999.0.0"  # the working tree, above all releases
LATER = "v1000.0.0"  # what a test makes of it
NOBODY = {
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.com",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.com",
}


@dataclass(frozen=True)
class History:
    """The template with all its releases and the candidate.

    Attributes:
        repository: a bare repository; its tags are the releases and the candidate.
        trees: a folder for each of them with its files, named after the tag.
    """

    repository: Path
    trees: Path

    def template(self, tag: str = CANDIDATE) -> Template:
        """Return a version's questions and files."""
        return template(self.trees / tag)


def git(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run git as nobody in particular and return what it prints."""
    return subprocess.run(
        ["git", "-c", "commit.gpgSign=false", "-c", "core.hooksPath=/dev/null", *words],
        cwd=cwd,
        env=os.environ | NOBODY | dict(env or {}),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def make(folder: Path, source: Path = TEMPLATE) -> None:
    """Make the history of a checkout in a folder: nothing in the checkout is touched.

    Raises:
        pytest.fail.Exception: a release's commit is missing, or its tag points elsewhere.
    """
    history = at(folder)
    folder.mkdir()
    git("clone", "--bare", "--quiet", "--no-tags", str(source), str(history.repository), cwd=folder)
    for tag, commit in table(source).items():
        if not _has(history.repository, commit):
            pytest.fail(f"{tag} is the commit {commit}, which this clone does not have: git fetch --unshallow")
        found = git("for-each-ref", "--format=%(objectname) %(*objectname)", f"refs/tags/{tag}", cwd=source)
        if found and commit not in found.split():
            pytest.fail(f"releases.yaml says that {tag} is {commit}; the tag is on {found}. A tag never moves.")
        git("tag", tag, commit, cwd=history.repository)
    _release_candidate(history.repository, source)
    for tag in (*table(source), CANDIDATE):
        lay_out(history.repository, tag, history.trees / tag)


def at(folder: Path) -> History:
    """Return the history that `make` has made in a folder."""
    return History(folder / "template.git", folder / "trees")


def release_later(history: History, folder: Path, change: Callable[[Path], None]) -> Path:
    """Clone the history, release a further version after the candidate, and return the clone.

    Args:
        history: the template so far.
        folder: where to clone to.
        change: makes the newer version of the files in the folder that it is given.
    """
    git("clone", "--quiet", "--branch", CANDIDATE, str(history.repository), str(folder), cwd=history.repository)
    change(folder)
    git("add", "--all", cwd=folder)
    git("commit", "--quiet", "--message=Later", cwd=folder)
    git("tag", LATER, cwd=folder)
    return folder


def _has(repository: Path, commit: str) -> bool:
    command = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
    return not subprocess.run(command, cwd=repository, capture_output=True, check=False).returncode


def _release_candidate(repository: Path, source: Path) -> None:
    """Commit and tag the working tree, by an index that is not the user's."""
    env = {
        "GIT_DIR": str(repository),
        "GIT_WORK_TREE": str(source),
        "GIT_INDEX_FILE": str(repository / "candidate-index"),
    }
    git("add", "--all", cwd=source, env=env)
    tree = git("write-tree", cwd=source, env=env)
    commit = git("commit-tree", tree, "-p", "HEAD", "-m", "The working tree", cwd=source, env=env)
    git("tag", CANDIDATE, commit, cwd=repository)


def lay_out(repository: Path, tag: str, folder: Path) -> None:
    """Write a version's files from a bare repository into a new folder."""
    folder.mkdir(parents=True)
    env = {"GIT_INDEX_FILE": str(repository / f"{tag}-index")}
    git("read-tree", tag, cwd=repository, env=env)
    git(f"--work-tree={folder}", "checkout-index", "--all", cwd=repository, env=env)
