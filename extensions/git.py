"""git, as every command here asks it: without a hook, a terminal or a variable that leads elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .refusal import Refused

RELEASE = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")  # the tag of a release
SECONDS = 600  # for one command; a remote that is silent for longer will not answer
# What is done here is nobody's own work: it is signed by nobody, and runs nothing of anybody.
QUIET = (
    *("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false", "-c", "tag.gpgSign=false"),
    *("-c", "advice.detachedHead=false", "-c", "gc.auto=0", "-c", "maintenance.auto=0"),
)
# Inside a hook or an alias git sets these, and they would lead to another repository.
ELSEWHERE = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_DIR", "GIT_GRAFT_FILE", "GIT_INDEX_FILE",
    "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
}  # fmt: skip


def run(
    folder: Path,
    *words: str,
    accepted: Sequence[int] = (0,),
    given: bytes = b"",
    variables: Mapping[str, str] | None = None,
) -> bytes:
    """Run git and return what it wrote.

    Args:
        folder: where it runs.
        words: the command and its arguments.
        accepted: exit codes that are no failure.
        given: what it reads.
        variables: environment variables to set.

    Raises:
        Refused: it cannot be started, is silent for too long, or failed; with what it said.
    """
    clean = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    # A question that nobody sees would wait for ever.
    environment = clean | {"GIT_TERMINAL_PROMPT": "0"} | dict(variables or {})
    try:
        done = subprocess.run(
            ["git", *QUIET, *words],
            cwd=folder,
            env=environment,
            input=given,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        hint = "Is the folder named rightly, and git installed?"
        raise Refused(f"git cannot be run: {error.filename} is not there.", hint) from None
    except subprocess.TimeoutExpired:
        name = command_of(words)
        raise Refused(f"git {name} did not end in {SECONDS} s.", "Is the remote within reach?") from None
    if done.returncode not in accepted:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        said = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines[-3:]
        raise Refused(f"git {command_of(words)} failed: {'; '.join(said)}", "What git said names the cause.")
    return done.stdout


def git(
    folder: Path,
    *words: str,
    accepted: Sequence[int] = (0,),
    given: str = "",
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run git and return what it wrote as text, without white space at its ends; a name may be no UTF-8.

    Raises:
        Refused: see `run`.
    """
    content = given.encode(errors="surrogateescape")
    return run(folder, *words, accepted=accepted, given=content, variables=variables).decode(
        errors="surrogateescape"
    ).strip()  # fmt: skip


def items(listed: bytes | str) -> tuple[str, ...]:
    """Return the items of a list that git ended with NUL each."""
    text = listed.decode(errors="surrogateescape") if isinstance(listed, bytes) else listed
    return tuple(item for item in text.split("\0") if item)


def command_of(words: Sequence[str]) -> str:
    """Return the command among git's words: what stands before it are options and settings."""
    rest = iter(words)
    for word in rest:
        if word == "-c":
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return ""
