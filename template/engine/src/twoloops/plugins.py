"""Platforms, code hosts and problem types are found by entry points: whoever adds one registers it there."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from twoloops.errors import ProjectError


def find(kind: str, name: str) -> Any:
    """Return what is registered under `name`.

    Args:
        kind: platforms, hosts or problems.
        name: as the project's configuration has it.

    Raises:
        ProjectError: nothing is.
    """
    found = _registered(kind).get(name)
    if found is None:
        raise ProjectError(
            f"[tool.twoloops] asks for {name!r}, and no installed package has it among its {kind}.",
            hint=f"There are: {', '.join(sorted(_registered(kind)))}. Correct pyproject.toml, or install the package.",
        )
    return found.load()


@lru_cache
def _registered(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"twoloops.{kind}")}


class Chosen:
    """Stands for what the project chose, and is found anew at each use: a process may work for two projects."""

    def __init__(self, choose: Callable[[], Any]) -> None:
        """Keep how it is found."""
        self._choose = choose

    def __getattr__(self, name: str) -> Any:
        return getattr(self._choose(), name)
