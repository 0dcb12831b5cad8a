"""git, as the engine asks it: about the repository that a folder lies in, whatever started this process."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

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
        done = subprocess.run(
            ["git", *words], cwd=folder, env=environment(), capture_output=True, check=False,
            encoding="utf-8", errors="surrogateescape",  # a file may have any name
        )  # fmt: skip
    except OSError:
        return None
    return None if done.returncode else done.stdout.strip()
