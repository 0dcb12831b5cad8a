"""With which versions the inner loop computes: as uv.lock resolved them, so the same on every machine.

`prepare` writes them to reports/environment.json, and the steps after it read that in place of uv.lock: a newer
formatter changes the lock file and no model. What is in git of it shows a reviewer which versions a change brings.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from twoloops.errors import ProjectError

LOCK = "uv.lock"
# Of pyproject.toml's groups those that the inner loop does without: the image that trains has neither.
LEFT_OUT = ("serve", "dev")


def resolve(root: Path) -> dict[str, str]:
    """Return the versions of what computes, by name: of the project's dependencies, and of all that these need.

    Left out is what only the groups `serve` and `dev` bring. Where a package has one version for some machines and
    another for others, both are told. A package that no registry gave is told with its place and commit.

    Args:
        root: the project's folder. Without a uv.lock in it, or with one that uv has not completed yet, what is
            installed is told, tools and all.

    Raises:
        ProjectError: uv.lock is no lock file.
    """
    lock = root / LOCK
    try:
        packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"] if lock.exists() else []
        own = next((each for each in packages if _is_own(each["source"])), None)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError) as error:
        raise ProjectError(f"{lock} is no lock file: {error!r}", hint="Make it anew: uv lock.") from error
    if own is None:
        return dict(sorted((each.metadata["Name"].lower(), each.version) for each in distributions()))
    found: defaultdict[str, set[str]] = defaultdict(set)
    for each in _reachable(packages, own):
        found[each["name"]].add(_version(each))
    return {name: ", ".join(sorted(versions)) for name, versions in sorted(found.items())}


def _is_own(source: Mapping[str, str]) -> bool:
    return "." in (source.get("editable"), source.get("virtual"))


def _reachable(packages: Iterable[Mapping[str, Any]], own: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Return the packages that a package needs, and those that these need."""
    named: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for each in packages:
        named[each["name"]].append(each)
    groups = {**own.get("optional-dependencies", {}), **own.get("dev-dependencies", {})}
    waiting = list(own.get("dependencies", []))
    waiting += [each for name, listed in groups.items() if name not in LEFT_OUT for each in listed]
    seen: set[tuple[str, str]] = set()
    while waiting:
        needed = waiting.pop()
        for extra in ("", *needed.get("extra", [])):
            if (needed["name"], extra) in seen:
                continue
            seen.add((needed["name"], extra))
            for each in named[needed["name"]]:
                waiting += _needs(each, extra)
    return [each for name in {name for name, _ in seen} for each in named[name]]


def _needs(package: Mapping[str, Any], extra: str) -> list[Mapping[str, Any]]:
    """Return what a package needs: by itself, or for one of its extras."""
    listed = package.get("optional-dependencies", {}).get(extra) if extra else package.get("dependencies")
    return listed or []


def _version(package: Mapping[str, Any]) -> str:
    version = str(package.get("version", "of its own source"))
    place = next((package["source"][kind] for kind in ("git", "url", "path") if kind in package["source"]), None)
    return f"{version} from {place}" if place else version
