"""Platforms, hosts and problem types that no installed package has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twoloops import plugins


def register(patch: pytest.MonkeyPatch, kind: str, name: str, value: Any) -> None:
    """Let the engine find `value` by its name for this test, as if a package had registered it.

    Args:
        patch: takes it back.
        kind: platforms, hosts or problems.
        name: as [tool.twoloops] has it.
        value: the module, or an object that is like one.
    """
    patch.setitem(plugins._entry_points(kind), name, SimpleNamespace(load=lambda: value))
