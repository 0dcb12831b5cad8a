"""git, asked for many repositories: no terminal answers it, so ssh must not ask either.

The repositories belong to others. In them only what reads objects and names is asked, by `READ_ONLY`; a working tree is
made in a repository of our own (`extensions.fleet.repositories.workshop`), where no setting of theirs holds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..git import items, run
from ..refusal import Refused

__all__ = ["READ_ONLY", "Refused", "git", "items", "line", "shown"]

# Of a repository of others: what is not there is not fetched, by whatever program its settings name.
READ_ONLY = {"GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0"}


def git(
    *words: str,
    folder: Path,
    accepted: Sequence[int] = (0,),
    given: bytes = b"",
    variables: Mapping[str, str] | None = None,
) -> bytes:
    """Run git and return what it wrote.

    Raises:
        Refused: it failed, with what it said.
    """
    asked = {} if {"GIT_SSH_COMMAND", "GIT_SSH", "GIT_ASKPASS"} & os.environ.keys() else {
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"
    }  # fmt: skip
    return run(folder, *words, accepted=accepted, given=given, variables=asked | dict(variables or {}))


def line(*words: str, folder: Path, variables: Mapping[str, str] | None = None) -> str:
    """Run git and return the one line that it wrote.

    Raises:
        Refused: it failed, with what it said.
    """
    return git(*words, folder=folder, variables=variables).decode(errors="surrogateescape").strip()


def shown(path: str) -> str:
    """Return a path of git's as text for people: a name that is no UTF-8 has marks where it cannot be read."""
    return path.encode(errors="surrogateescape").decode(errors="replace")
