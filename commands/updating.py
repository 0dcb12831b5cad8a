"""The rendered project's own way of updating, for the commands that look after many projects."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from .rendering import TEMPLATE

FILE = TEMPLATE / "template/{{ layer.base }}/src/{{ package_name }}/updating.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("updating", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


updating = _load()
