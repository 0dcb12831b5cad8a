"""The rendered project's own way of updating, for the commands that look after many projects."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType

from .rendering import TEMPLATE

FILE = TEMPLATE / "template/{{ layer.base }}/src/{{ package_name }}/updating.py"


def _load() -> ModuleType:
    loader = SourceFileLoader("updating", str(FILE))
    module = ModuleType(loader.name)
    sys.modules[loader.name] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


updating = _load()
