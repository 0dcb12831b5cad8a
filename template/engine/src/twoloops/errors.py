"""The one kind of error that people are meant to read."""

from __future__ import annotations

import errno
from typing import Final


class ProjectError(Exception):
    """What happened, and what to do next: something that the user can put right.

    The command prints both and exits with 1; a traceback means a bug of the engine itself.
    """

    code = 1  # with which the command exits

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Keep `message` (what happened, and where) and `hint` (the way out)."""
        super().__init__(message)
        self.hint = hint


DISK: Final = {
    errno.ENOSPC: "The disk is full",
    getattr(errno, "EDQUOT", errno.ENOSPC): "The disk, or this user's share of it, is full",
    errno.EROFS: "The disk can only be read",
    errno.EACCES: "This user may not read or write there",
    errno.EPERM: "This user may not do that there",
}


def explain_disk(error: OSError) -> ProjectError | None:
    """Return in words what a disk refuses, or None where it is something else."""
    told = DISK.get(error.errno or 0)
    if told is None:
        return None
    place = f": {error.filename}" if error.filename else ""
    return ProjectError(
        f"{told}{place} ({error.strerror}).",
        hint="Make room, or let the folder be written, and run the same verb again: what it writes it writes whole or "
        "not at all, and what is there is as it was.",
    )


class RedVerdictError(ProjectError):
    """The model does not show what the gate demands: nothing is broken, and nothing goes on."""

    code = 2
