"""How the commands here say no: what is wrong, where, and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault of the program
    """Something cannot be done as asked; nothing was changed."""

    def __init__(self, message: str, hint: str = "") -> None:
        """Keep what is wrong, and the way out."""
        super().__init__(message)
        self.message = message
        self.hint = hint


def nearest(name: object, known: Iterable[object]) -> str:
    """Return the way out for a name that is not known: the nearest one that is, or all."""
    names = [str(each) for each in known]
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"Did you mean {close[0]}?" if close else f"There are: {', '.join(names) or 'none'}."
