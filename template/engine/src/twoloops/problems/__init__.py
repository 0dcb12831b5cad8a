"""What a problem type means to the loops: one folder a kind of input, one module a kind of output."""

from __future__ import annotations

from typing import Any, Final

from twoloops import config, plugins


def find(name: str) -> Any:
    """Return what a problem type means, by its name; an artifact names its own.

    Raises:
        ProjectError: no installed package has this type.
    """
    return plugins.find("problems", name)


# What the current project predicts: a module such as tabular/classification.py.
task: Final[Any] = plugins.Chosen(lambda: find(config.current().problem))
