"""How bad what a scanner finds is, and what of it is tolerated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

LEVELS: Final = ("low", "moderate", "high", "critical")


class Scan(Protocol):
    """What is tolerated: the section `scan` of params.yaml."""

    @property
    def fail_on(self) -> str:
        """The level, one of LEVELS, from which on a finding counts."""

    @property
    def accepted(self) -> tuple[str, ...]:
        """The names of findings that somebody has looked at and accepted."""


def level_of(word: str) -> str:
    """Return one of LEVELS for a scanner's word; negligible and unrated ones count as low."""
    lower = word.lower()
    return {"medium": "moderate"}.get(lower, lower if lower in LEVELS else "low")


def refused(findings: Iterable[tuple[str, str]], tolerated: Scan) -> list[str]:
    """Return the names of findings that are not tolerated, each given with a scanner's word for how bad it is."""
    least = LEVELS.index(tolerated.fail_on)
    counting = {name for name, word in findings if LEVELS.index(level_of(word)) >= least}
    return sorted(counting - set(tolerated.accepted))
