"""What is told of text that was meant to be CSV and is none, by everybody who reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_OTHERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}


def other_delimiter(names: Sequence[str]) -> str | None:
    """Return what parts the fields of a first line in place of commas, in words; None where commas do.

    Args:
        names: the line, parted at its commas.
    """
    if len(names) != 1:
        return None
    return next((word for mark, word in _OTHERS.items() if mark in names[0]), None)
