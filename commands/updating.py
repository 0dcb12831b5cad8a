"""The rendered project's own way of updating, for the commands that look after many projects."""

from __future__ import annotations

import sys
from types import ModuleType

from .rendering import TEMPLATE

FILE = TEMPLATE / "template/{{ layer.base }}/src/{{ package_name }}/updating.py"


def _load() -> ModuleType:
    module = ModuleType("updating")
    module.__file__ = str(FILE)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    # An import would leave compiled files in template/, and so in projects.
    exec(compile(FILE.read_text(encoding="utf-8"), FILE, "exec"), vars(module))  # noqa: S102 - a file of this repository
    return module


updating = _load()
