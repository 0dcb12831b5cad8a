"""Problem types: one folder a kind of input, one module of outputs/ a kind of output; base.py says what each can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from twoloops import config, plugins

if TYPE_CHECKING:
    from twoloops.problems.base import Problem


def find(name: str) -> Problem:
    """Return a problem type by its name; an artifact names its own.

    Raises:
        ProjectError: no installed package has this type.
    """
    return cast("Problem", plugins.find("problems", name))


# What the current project predicts, and from what.
problem: Final = cast("Problem", plugins.Chosen(lambda: find(config.current().problem)))
