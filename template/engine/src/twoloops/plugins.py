"""Platforms, code hosts and problem types are found by entry points: whoever adds one registers it there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twoloops.errors import ProjectError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def find(kind: str, name: str) -> Any:
    """Return what is registered under `name`.

    Args:
        kind: platforms, hosts or problems.
        name: as the project's configuration has it.

    Raises:
        ProjectError: nothing is.
    """
    found = find_any(kind, name)
    if found is None:
        raise ProjectError(
            f"No installed package has {name!r} among its {kind}.",
            hint=f"There are: {', '.join(sorted(_entry_points(kind)))}. Correct [tool.twoloops] in pyproject.toml, or "
            "install the package that has it.",
        )
    return found


def find_any(kind: str, name: str) -> Any | None:
    """Return what is registered under `name`, or None.

    Args:
        kind: the group, without `twoloops.`.
        name: in the group.
    """
    if own := _own(f"twoloops.{kind}").get(name):
        module, _, attribute = own.partition(":")
        found = import_module(module)
        return getattr(found, attribute) if attribute else found
    point = _entry_points(kind).get(name)
    return point.load() if point else None


@lru_cache
def _own(group: str) -> dict[str, str]:
    """Return what the engine itself registers in a group, `module` or `module:attribute` by name.

    Each start of the command asks for its platform, and to read what every installed package registers would take a
    fifth of that time. The file's place and form: https://packaging.python.org/en/latest/specifications/entry-points/
    """
    for folder in filter(os.path.isdir, sys.path):
        for name in os.listdir(folder):
            if name.startswith("twoloops-") and name.endswith(".dist-info"):
                content = Path(folder, name, "entry_points.txt").read_text(encoding="utf-8")
                lines = content.partition(f"[{group}]\n")[2].partition("[")[0].splitlines()
                return dict(line.replace(" ", "").split("=", 1) for line in lines if "=" in line)
    return {}


@lru_cache
def _entry_points(kind: str) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=f"twoloops.{kind}")}


def forget() -> None:
    """Forget what is registered: a package was installed while this process ran."""
    _own.cache_clear()
    _entry_points.cache_clear()


class Chosen:
    """Stands for what the project chose, and is found anew at each use: a process may work for two projects."""

    def __init__(self, choose: Callable[[], Any]) -> None:
        """Keep how it is found."""
        self._choose = choose

    def __getattr__(self, name: str) -> Any:
        return getattr(self._choose(), name)
