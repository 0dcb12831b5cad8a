"""The modules of the user's own package: PKG/problem/data.py, metrics.py and model.py, as the project names them."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.plugins import Chosen


def module(name: str) -> ModuleType:
    """Return the module problem/NAME.py of the current project.

    Raises:
        ProjectError: the project has none. What the module itself fails to import stays as it is.
    """
    path = f"{config.current().package}.problem.{name}"
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise
        raise ProjectError(
            f"There is no module {error.name}.",
            hint=f"The project's own code is src/{path.replace('.', '/')}.py; is the project installed? 'uv sync'.",
        ) from error


data: Final[Any] = Chosen(partial(module, "data"))
metrics: Final[Any] = Chosen(partial(module, "metrics"))
model: Final[Any] = Chosen(partial(module, "model"))
