"""The graph: which steps the inner loop has, what each runs, reads and writes. dvc.yaml says it, nothing else does.

Known of dvc.yaml: stages with cmd, wdir, deps, outs, params, metrics, plots, desc, meta, always_changed; `${...}` with
what params.yaml and the top level's `vars` hold. What DVC knows besides and this does not is refused in words, because
a step that only some of what runs the graph understands would be another step in each place.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Any, NoReturn

import yaml

from twoloops.contracts.graph import FILE, Graph, Step, feeds, overlap
from twoloops.errors import ProjectError

PARAMS = "params.yaml"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
VALUE = re.compile(r"(\\?)\$\{([^}]*)\}")
OUTPUTS = ("outs", "metrics", "plots")
KEYS = ("cmd", "wdir", "deps", "params", *OUTPUTS, "desc", "meta", "always_changed")
UNSUPPORTED = {
    "foreach": "Write the stages one by one.",
    "do": "Write the stages one by one.",
    "matrix": "Write the stages one by one.",
    "vars": "Put them into params.yaml, or at the top of dvc.yaml.",
    "frozen": "End it with 'uv run dvc unfreeze', or take the stage out.",
}


def load(root: Path) -> Graph:
    """Read the graph of a project.

    Args:
        root: the project's folder, with dvc.yaml and params.yaml.

    Raises:
        ProjectError: a file is missing or wrong; the message names file and stage, the hint the way out.
    """
    path = root / FILE
    content = _read(path)
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict) or not content["stages"]:
        raise ProjectError(
            f"{path} has no stages.", hint="It says which steps the inner loop has: git has an earlier state of it."
        )
    values = _values(root, content.get("vars", []))
    return _ordered([_Stage(path, name, about, values).step() for name, about in content["stages"].items()], path)


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ProjectError(f"{path} does not exist.", hint="git has it: 'git checkout -- dvc.yaml'.") from error
    except UnicodeDecodeError as error:
        raise ProjectError(f"{path} is not UTF-8: {error}", hint="Save it as UTF-8.") from error
    try:
        return tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (yaml.YAMLError, tomllib.TOMLDecodeError) as error:
        kind = "TOML" if path.suffix == ".toml" else "YAML"
        raise ProjectError(f"{path} is not valid {kind}: {error}", hint="Correct the line that is named.") from error


def _values(root: Path, given: Any) -> dict[str, Any]:
    """Return what `${...}` may name: params.yaml, then the `vars` of the top level, files or values."""
    params = root / PARAMS
    found: dict[str, Any] = dict(_read(params) or {}) if params.exists() else {}
    for each in given:
        if isinstance(each, str) and Path(each).suffix not in (".yaml", ".yml", ".json", ".toml"):
            raise ProjectError(
                f"{root / FILE}: vars: {each!r} cannot be read here.", hint="Name a file of YAML, JSON or TOML."
            )
        found |= _read(root / each) if isinstance(each, str) else each
    return found


class _Stage:
    """A stage of the file while it is read."""

    def __init__(self, path: Path, name: Any, about: Any, values: Mapping[str, Any]) -> None:
        """Keep the stage, and look at its keys.

        Args:
            path: of the file, for messages.
            name: the stage's.
            about: its content.
            values: what `${...}` may name.
        """
        self.path, self.name, self.about, self.values = path, name, about, values
        if not isinstance(name, str) or not NAME.fullmatch(name):
            self.refuse("this is no name.", "Name it with letters, digits, - and _.")
        if not isinstance(about, dict):
            self.refuse("it has no content.", "A stage has at least a cmd.")
        for key in about:
            if about[key] and key in UNSUPPORTED:
                self.refuse(f"{key} is DVC's, and is not supported here.", UNSUPPORTED[key])
            if key not in (*KEYS, *UNSUPPORTED):
                near = get_close_matches(str(key), KEYS, n=1)
                more = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(KEYS)}."
                self.refuse(f"{key!r} is unknown.", more)
        self.folder = posixpath.normpath(self._text(about.get("wdir", ".")))

    def refuse(self, message: str, hint: str) -> NoReturn:
        raise ProjectError(f"{self.path}: stage {self.name!r}: {message}", hint=hint)

    def step(self) -> Step:
        """Return what the stage says."""
        outputs = [each for key in OUTPUTS for each in self._paths(key)]
        return Step(
            name=self.name,
            commands=self._commands(),
            reads=tuple(dict.fromkeys(item for item, _ in self._paths("deps"))),
            writes=tuple(item for item, _ in outputs),
            kept=tuple(item for item, options in outputs if options.get("cache") is False),
            params=self._params(),
            folder=self.folder,
        )

    def _commands(self) -> tuple[str, ...]:
        commands = tuple(self._text(each).strip() for each in _list(self.about.get("cmd", "")))
        if not commands or not all(commands):
            self.refuse("it has no cmd.", "Say what it runs, such as 'cmd: python -m PACKAGE.MODULE'.")
        return commands

    def _paths(self, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for each in _list(self.about.get(key, [])):
            for item, options in each.items() if isinstance(each, dict) else [(each, None)]:
                yield self._located(self._text(item)), options or {}

    def _params(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for each in _list(self.about.get("params", [])):
            for file, keys in each.items() if isinstance(each, dict) else [(PARAMS, [each])]:
                place = self._located(self._text(file))
                found[place] = (*found.get(place, ()), *(self._text(key) for key in keys or []))
        return found

    def _located(self, item: str) -> str:
        """Return a path as it is seen from the project's folder."""
        return item if "://" in item else posixpath.normpath(posixpath.join(self.folder, item))

    def _text(self, value: Any) -> str:
        """Return a text with each `${name}` replaced; one behind a backslash is left to the shell, as DVC does."""
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            self.refuse(f"{value!r} is no text.", "Write it as a text.")
        return VALUE.sub(lambda found: found[0][1:] if found[1] else self._value(found[2]), str(value))

    def _value(self, name: str) -> str:
        found: Any = self.values
        for part in re.findall(r"[^.\[\]]+", name.strip()):
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, TypeError, ValueError):
                self.refuse(f"nothing is called ${{{name}}}.", f"Put it into {PARAMS}, or correct the name.")
        if not isinstance(found, str | int | float):
            self.refuse(f"${{{name}}} is {found!r}, and no single value.", "Name one value of it.")
        return str(found).lower() if isinstance(found, bool) else str(found)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _ordered(steps: list[Step], path: Path) -> Graph:
    """Return the steps so that each comes after those that it reads from, otherwise as the file has them."""
    written = [(made, each) for each in steps for made in each.writes]
    for (made, step), (again, other) in combinations(written, 2):
        if overlap(made, again):
            who = (
                f"stages {step.name!r} and {other.name!r} both write"
                if step is not other
                else f"stage {step.name!r} names"
            )
            raise ProjectError(
                f"{path}: {who} {again}." if made == again else f"{path}: {who} {made} and {again}, one in the other.",
                hint="One step writes a path, and names it once; let another one write elsewhere.",
            )
    ordered: list[Step] = []
    waiting = list(steps)
    while waiting:
        ready = next((step for step in waiting if not any(feeds(each, step) for each in waiting)), None)
        if ready is None:
            circle = _circle(waiting)
            alone = len(circle) == 1
            raise ProjectError(
                f"{path}: stage {circle[0]} reads what it writes itself."
                if alone
                else f"{path}: the stages {', '.join(circle)} wait for each other: each reads what another writes.",
                hint="Take the path out of its deps." if alone else "Take one path out of the deps of one of them.",
            )
        waiting.remove(ready)
        ordered.append(ready)
    return Graph(tuple(ordered))


def _circle(waiting: list[Step]) -> list[str]:
    """Return the names of steps of which each reads from the one before, and the first from the last."""
    trail = [waiting[0]]
    while True:
        before = next(each for each in waiting if feeds(each, trail[-1]))
        if before in trail:
            return [repr(step.name) for step in reversed(trail[trail.index(before) :])]
        trail.append(before)
