"""Setting up the code host: what is there, what is missing, and how each step is taken and taken back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """How things stand with a step."""

    there = "there"
    missing = "missing"
    differs = "differs"
    by_hand = "by hand"  # the host offers no way, or the login may not: `about` says what to do


@dataclass(frozen=True)
class Step:
    """One thing that the code host must have."""

    name: str  # stays the same for ever: what was made is remembered by it
    about: str  # in a line: what it is for, or what is to be done by hand
    state: State
    do: Callable[[], None] | None = None  # makes or corrects it
    undo: Callable[[], None] | None = None  # removes it


@dataclass(frozen=True)
class Wanted:
    """What `bootstrap` was asked for."""

    environments: tuple[str, ...]  # in the order in which a model passes through them; the last one serves users
    reviewers: tuple[str, ...] = ()  # who may approve the last environment: handles of teams or people
    variables: Mapping[str, str] = field(default_factory=dict)  # that the flows read, by name
