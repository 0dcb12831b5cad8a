"""git, as the engine asks it: about the repository that a folder lies in, whatever started this process."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from twoloops.errors import ProjectError

# Inside a hook or an alias git sets these, and they would lead to another repository: `git rev-parse
# --local-env-vars` lists them. Settings that are given by variables stay, as git lets them stay for a submodule.
ELSEWHERE: Final = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_DIR", "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_QUARANTINE_PATH", "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
}  # fmt: skip


def environment() -> dict[str, str]:
    """Return the environment for git, or for a program that starts it."""
    return {name: value for name, value in os.environ.items() if name not in ELSEWHERE}


def forget_elsewhere() -> None:
    """Take what leads to another repository out of this process's environment: DVC, uv and Terraform ask git too."""
    for name in ELSEWHERE & os.environ.keys():
        del os.environ[name]


def ask(*words: str, folder: Path | None = None) -> str | None:
    """Return what git answers, without white space at its ends; None where it is not installed or refuses.

    Args:
        words: the command and its arguments.
        folder: where it is asked; None: in the working directory.
    """
    try:
        done = _run(words, folder)
    except OSError:
        return None
    return None if done.returncode else done.stdout.strip()


def demand(*words: str, folder: Path | None = None) -> str:
    """Return what git answers, as `ask` does.

    Raises:
        ProjectError: it is not installed, or refuses; with what it said.
    """
    name = next((word for word in words if not word.startswith("-") and "=" not in word), "")
    try:
        done = _run(words, folder)
    except OSError as error:
        raise ProjectError(f"git cannot be run: {error}", hint="Is it installed?") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        said = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines[-3:]
        raise ProjectError(f"git {name} failed: {'; '.join(said)}", hint="What git said names the cause.")
    return done.stdout.strip()


def _run(words: tuple[str, ...], folder: Path | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *words], cwd=folder, env=environment(), capture_output=True, check=False,
        encoding="utf-8", errors="surrogateescape",  # a file may have any name
    )  # fmt: skip
