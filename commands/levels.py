"""What a change of a template asks of the owners of projects, and the version that this leads to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from packaging.version import Version

from .answer_space import Template
from .questions import asked, axes, kind


class Level(IntEnum):
    """What a new version asks of the owner of a project, the least first; `name` is what people write."""

    patch = 0  # nothing: it repairs
    minor = 1  # nothing: it adds
    major = 2  # something: a choice, a question or a promise is gone


@dataclass(frozen=True)
class Change:
    """One thing that a project's owner notices."""

    level: Level
    text: str


def compare_questions(before: Template, after: Template) -> Iterator[Change]:
    """Yield what two versions of a template ask differently.

    What questions do not show, such as a renamed verb, is for the author to judge.
    """
    old, new = asked(before), asked(after)
    for name in (name for name in old if name not in new):
        # A renamed question takes the old answer as its default, and owners need to do nothing.
        renamed = [each for each in new if re.search(rf"\b{name}\b", str(new[each].get("default", "")))]
        if renamed:
            yield Change(Level.minor, f"question {name} is now {renamed[0]}")
        else:
            yield Change(Level.major, f"question {name} is gone")
    for name in (name for name in new if name not in old):
        if "default" in new[name]:
            yield Change(Level.minor, f"question {name} is new")
        else:
            yield Change(Level.major, f"question {name} is new, and has no default")
    values_before, values_after = axes(before), axes(after)
    for name in (name for name in old if name in new):
        if kind(old[name]) != kind(new[name]):
            yield Change(Level.major, f"{name} has another type")
        had, has = values_before.get(name, []), values_after.get(name, [])
        yield from (
            Change(Level.major, f"{name}: {value} can no longer be chosen") for value in had if value not in has
        )
        yield from (Change(Level.minor, f"{name}: {value} can be chosen") for value in has if value not in had)
        if _locked(new[name]) and (not _locked(old[name]) or old[name]["default"] != new[name]["default"]):
            yield Change(Level.major, f"{name} is locked")
        elif old[name].get("default") != new[name].get("default"):
            yield Change(Level.patch, f"{name} has another default")


def _locked(settings: dict[str, object]) -> bool:
    return settings.get("ask", True) is False and "choices" not in settings


def next_version(last: str, level: Level) -> str:
    """Return the version after `last`. Before 1.0.0 what is major raises the second number, as semver.org has it."""
    major, minor, patch = Version(last).release
    if level is Level.patch:
        return f"{major}.{minor}.{patch + 1}"
    if level is Level.minor or major == 0:
        return f"{major}.{minor + 1}.0"
    return f"{major + 1}.0.0"
