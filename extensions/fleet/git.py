"""git, asked without a terminal, a hook or a variable of the caller's: it fails with a message or answers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from commands.updating import updating

Refused = updating.Refused

SECONDS = 600  # for one command; a remote that is silent for longer will not answer
QUIET = (*updating.QUIET, "-c", "gc.auto=0", "-c", "maintenance.auto=0")


def git(
    *words: str,
    folder: Path,
    accepted: Sequence[int] = (0,),
    given: bytes = b"",
    variables: Mapping[str, str] | None = None,
) -> bytes:
    """Run git and return what it wrote.

    Args:
        words: the command and its arguments.
        folder: where it runs.
        accepted: exit codes that are no failure.
        given: what it reads.
        variables: environment variables to set.

    Raises:
        Refused: it failed, with what it said.
    """
    # Inside a hook or an alias git sets variables that would lead to another repository.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    kept = {name: os.environ[name] for name in ("GIT_SSH_COMMAND", "GIT_SSH", "GIT_ASKPASS") if name in os.environ}
    asked = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes", **kept, **(variables or {})}
    try:
        done = subprocess.run(
            ["git", *QUIET, *words],
            cwd=folder,
            env=clean | asked,
            input=given,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise Refused(
            f"{error.filename} is not there.", hint="Is the folder named rightly, and git installed?"
        ) from None
    except subprocess.TimeoutExpired:
        raise Refused(f"git {words[0]} did not end in {SECONDS} s.", hint="Is the remote within reach?") from None
    if done.returncode not in accepted:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        told = [line for line in said if line.startswith(("fatal:", "error:"))] or said[-1:]
        raise Refused(f"git {words[0]} failed: {'; '.join(told)}", hint="What git said names the cause.")
    return done.stdout


def line(*words: str, folder: Path, variables: Mapping[str, str] | None = None) -> str:
    """Run git and return the one line that it wrote.

    Raises:
        Refused: it failed, with what it said.
    """
    return git(*words, folder=folder, variables=variables).decode(errors="surrogateescape").strip()


def items(listed: bytes) -> list[str]:
    """Return the items of a list that git ended with NUL each."""
    return [item for item in listed.decode(errors="surrogateescape").split("\0") if item]


def shown(path: str) -> str:
    """Return a path of git's as text for people: a name that is no UTF-8 has marks where it cannot be read."""
    return path.encode(errors="surrogateescape").decode(errors="replace")
