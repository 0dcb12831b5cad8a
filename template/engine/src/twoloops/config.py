"""What a project chose: `[tool.twoloops]` of its pyproject.toml, checked, and the project's folder.

    [tool.twoloops]
    package = "churn"                          # where problem/ lies, and the name of the command and of the model
    problem = "classification"                 # found by entry points, as the next two are
    platform = "local"                         # where it runs
    host = "github"                            # where it is hosted
    serving = ["online"]                       # online, batch or both
    environments = ["staging", "production"]   # a model passes through them in this order
    owner = "ml-team"                          # who approves, unless somebody else is named

    [tool.twoloops.aws]                        # what the platform wants to know; it checks that itself

Read at each start of the command, so without libraries that take long to load.
"""

from __future__ import annotations

import keyword
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from twoloops.errors import ProjectError

FILE = "pyproject.toml"
TABLE = "tool.twoloops"
# Names the project's folder, for a process that runs elsewhere. Without it, it is searched from the working folder up.
VARIABLE = "TWOLOOPS_PROJECT"
MODES = ("online", "batch")
SERVING_ALONE = ("production",)  # the one environment of a project that scores and has no service


@dataclass(frozen=True)
class Config:
    """What a project chose."""

    root: Path  # the project's folder, absolute
    package: str
    problem: str
    platform: str
    host: str
    owner: str
    serving: tuple[str, ...] = ("online",)
    environments: tuple[str, ...] = SERVING_ALONE
    platform_settings: Mapping[str, Any] = field(default_factory=dict)  # the table named after the platform

    @property
    def last(self) -> str:
        """The environment that serves users."""
        return self.environments[-1]

    def check_environment(self, name: str) -> None:
        """Raise a ProjectError when the project has no environment of this name."""
        if name not in self.environments:
            raise ProjectError(
                f"There is no environment {name!r}.", hint=f"Environments: {', '.join(self.environments)}."
            )

    @property
    def online(self) -> bool:
        """Whether there is a service."""
        return "online" in self.serving

    @property
    def batch(self) -> bool:
        """Whether tables are scored."""
        return "batch" in self.serving


_held: ContextVar[Config | None] = ContextVar("held", default=None)


def current() -> Config:
    """Return what the project chose in which, or below which, this process works.

    Raises:
        ProjectError: there is no project here, or a key or value of its configuration is wrong.
    """
    if held := _held.get():
        return held
    given = os.environ.get(VARIABLE)
    return _near(Path(given) if given else Path.cwd())


@contextmanager
def hold() -> Iterator[Config]:
    """Let `current` return what it returns now, whatever becomes of the project's folder meanwhile.

    For what runs longer than its folder may stay: a service goes on when a runner has cleaned its checkout.

    Raises:
        ProjectError: as `current`.
    """
    found = current()
    token = _held.set(found)
    try:
        yield found
    finally:
        _held.reset(token)


def _near(start: Path) -> Config:
    for folder in (start, *start.parents):
        path = folder / FILE
        try:
            state = path.stat()
        except OSError:
            continue
        if found := _read(path.absolute(), state.st_mtime_ns, state.st_size):
            return found
    raise ProjectError(
        f"There is no project in {start}: no {FILE} with [{TABLE}] here or above.",
        hint="Run the command in the project's folder, or in one below it.",
    )


@lru_cache(maxsize=16)
def _read(path: Path, changed: int, size: int) -> Config | None:
    """Return the configuration in a file, or None when the file has none; time and size tell two states of it apart."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path} is not valid TOML: {error}", hint="Correct the line that is named.") from error
    tool = content.get("tool", {})
    table = tool.get("twoloops") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ProjectError(f"{TABLE} in {path} is {table!r}, and has to be a table.", hint=f"Begin it with [{TABLE}].")
    return None if table is None else check(table, path.parent)


def check(table: Mapping[str, Any], root: Path) -> Config:
    """Check the content of `[tool.twoloops]`.

    Args:
        table: the content.
        root: the project's folder.

    Raises:
        ProjectError: the message names each key that is missing, unknown or wrong, its value, and what is allowed.
    """
    known = [each.name for each in fields(Config) if each.name not in ("root", "platform_settings")]
    required = [name for name in known if name not in ("serving", "environments")]
    own = table.get("platform")  # the platform's own table is named after it
    problems = [f"{name}: is missing." for name in required if name not in table]
    for name, value in table.items():
        if name in known:
            if problem := _RULES[name](value):
                problems.append(f"{name}: {value!r} is not allowed. {problem}")
        elif name != own or not isinstance(value, dict):
            from difflib import get_close_matches

            near = get_close_matches(name, known, n=1)
            more = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
            problems.append(f"{name}: there is no such key ({more}).")
    if problems:
        raise ProjectError(
            f"[{TABLE}] in {root / FILE} is not valid:\n" + "\n".join(f"  - {line}" for line in problems),
            hint="engine/README.md explains every key.",
        )
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in table.items() if name in known
    }
    return Config(root=root, platform_settings=table.get(str(own), {}), **values)


def _package(value: object) -> str:
    good = isinstance(value, str) and re.fullmatch(r"[a-z_][a-z0-9_]*", value) and not keyword.iskeyword(value)
    return "" if good else "It is the name of a Python package: a-z, 0-9 and _."


def _name(value: object) -> str:
    return (
        "" if isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9_]*", value) else "It is a name in a-z, 0-9 and _."
    )


def _text(value: object) -> str:
    return "" if isinstance(value, str) and value.strip() else "It is a text."


def _serving(value: object) -> str:
    good = isinstance(value, list) and value and all(each in MODES for each in value) and len(set(value)) == len(value)
    return "" if good else f"It is a list of {' and '.join(MODES)}, or of one of them."


def _environments(value: object) -> str:
    good = (
        isinstance(value, list)
        and value
        and all(isinstance(each, str) and re.fullmatch(r"[a-z][a-z0-9-]{0,19}", each) for each in value)
        and len(set(value)) == len(value)
    )
    return "" if good else "It is a list of different names in a-z, 0-9 and -, each of at most 20 characters."


_RULES: Mapping[str, Callable[[object], str]] = {
    "package": _package,
    "problem": _name,
    "platform": _name,
    "host": _name,
    "owner": _text,
    "serving": _serving,
    "environments": _environments,
}
