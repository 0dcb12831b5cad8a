"""What stands in a project where the template has a file: links, folders and submodules, which git cannot merge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

LINK, SUBMODULE = "120000", "160000"
Entry = tuple[str, str]  # git's mode, and its name for the content
Entries = Mapping[str, Entry]  # by the path


def entries(listed: tuple[str, ...]) -> dict[str, Entry]:
    """Return what `git ls-tree -r -z` lists."""
    found = {}
    for item in listed:
        about, _, path = item.partition("\t")
        mode, _, name = about.split()
        found[path] = (mode, name)
    return found


def find_obstacles(project: Entries, before: Entries, after: Entries) -> dict[str, str]:
    """Return the paths of the template whose change cannot be merged, and what of the project stands in the way.

    Args:
        project: what the project has.
        before: the version of the template that it has.
        after: the newer version.
    """
    changed = [path for path in sorted({*before, *after}) if before.get(path) != after.get(path)]
    folders: dict[str, list[str]] = {}
    for path in project:
        for folder in _parents(path):
            folders.setdefault(folder, []).append(path)
    found = {}
    for path in changed:
        if why := _obstacle(path, project, before, folders):
            found[path] = why
    return found


def _obstacle(path: str, project: Entries, before: Entries, folders: Mapping[str, list[str]]) -> str:
    mine = project.get(path)
    if mine and mine != before.get(path):
        had = before.get(path, ("", ""))[0]
        if mine[0] == LINK and had != LINK:
            return "a link of yours"
        if mine[0] == SUBMODULE and had != SUBMODULE:
            return "a submodule of yours"
    if any(project[each] != before.get(each) for each in folders.get(path, ())):
        return "a folder of yours"
    for parent in _parents(path):
        if parent in project and project[parent] != before.get(parent):
            kind = {LINK: "link", SUBMODULE: "submodule"}.get(project[parent][0], "file")
            return f"{parent}, a {kind} of yours,"
    return ""


def _parents(path: str) -> list[str]:
    return [parent.as_posix() for parent in PurePosixPath(path).parents][:-1]


def told(obstacle: str) -> str:
    """Say why a person has to settle a file whose change could not be merged."""
    return f"{obstacle} stands where the template has a file: yours is kept, the template's change is left out"
