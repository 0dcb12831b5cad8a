"""The merge of a pyproject.toml in which both sides changed what is needed: by entries, where git sees lines."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import tomlkit
from packaging.requirements import InvalidRequirement, Requirement
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array

from ..git import run
from ..refusal import Refused

NAME = "pyproject.toml"
# Groups that projects had until 0.2.0, and where their place is now.
SUCCESSORS = {"online": "serve", "batch": "serve", "training": "train", "deployment": "dev", "delivery": "dev"}

Place = tuple[str, ...]  # such as ("dependency-groups", "dev")
DEPENDENCIES: Place = ("project", "dependencies")


def merge(base: str, ours: str, theirs: str) -> str | None:
    """Merge three versions of a pyproject.toml; None: something else in it is for a person to settle.

    What a project has added to its dependencies, or demands in another version, is taken out, the rest is merged by
    git, and then it is put back.
    """
    try:
        before, mine = tomlkit.parse(base), cast(Any, tomlkit.parse(ours))
        tomlkit.parse(theirs)
    except TOMLKitError:
        return None
    added = []
    for place, array in list(_arrays(mine)):
        known = _array(before, place)
        had = {str(each) for each in known or ()}
        added += [(place, str(each), _comment(ours, str(each))) for each in array if str(each) not in had]
        if known is not None:
            mine[place[0]][place[1]] = known
        else:
            del mine[place[0]][place[1]]
    merged = _merge_lines(base, tomlkit.dumps(mine), theirs)
    if merged is None:
        return None
    try:
        document = tomlkit.parse(merged)
        for place, entry, comment in added:
            _add(document, place, entry, comment)
    except TOMLKitError:
        return None
    return tomlkit.dumps(document)


def _arrays(document: Any) -> Iterator[tuple[Place, Array]]:
    if isinstance(array := document.get("project", {}).get("dependencies"), Array):
        yield DEPENDENCIES, array
    for table in ("dependency-groups",):
        for name, array in document.get(table, {}).items():
            if isinstance(array, Array) and all(isinstance(each, str) for each in array):
                yield (table, name), array


def _array(document: Any, place: Place) -> Array | None:
    return dict(_arrays(document)).get(place)


def _comment(text: str, entry: str) -> str | None:
    """Return the comment behind an entry that has a line of its own."""
    found = re.search(rf"""^\s*["']{re.escape(entry)}["']\s*,?\s*#\s*(.*)$""", text, flags=re.MULTILINE)
    return found[1].strip() if found else None


def _merge_lines(base: str, ours: str, theirs: str) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder, name) for name in ("ours", "base", "theirs")}
        for file, text in zip(files.values(), (ours, base, theirs), strict=True):
            file.write_text(text, encoding="utf-8", newline="")
        try:
            return run(Path(folder), "merge-file", "-p", *files).decode()
        except Refused:  # as many conflicts as its exit code says
            return None


def _add(document: Any, place: Place, entry: str, comment: str | None) -> None:
    """Put an entry where its place is now."""
    table, name = place
    there = document.get(table, {})
    if name not in there and SUCCESSORS.get(name) in there:
        name = SUCCESSORS[name]
    elif name not in there:
        table, name = DEPENDENCIES
    array = document[table][name]
    if entry in array or _name(entry) in {_name(str(each)) for each in array}:
        return  # the template needs it as well now, and says in which versions
    if "\n" not in array.as_string():
        values = list(array)
        array = tomlkit.array()
        for value in values:
            array.add_line(value)
        array.add_line(entry, comment=comment)
        array.add_line(indent="")
        document[table][name] = array
        return
    text = array.as_string().rstrip()[:-1].rstrip()
    line = f'    "{entry}",' + (f" # {comment}" if comment else "")
    last = text.splitlines()[-1]
    body = text if re.search(r",\s*(#.*)?$", last) else text + ","
    document[table][name] = tomlkit.parse(f"x = {body}\n{line}\n]\n")["x"]


def _name(entry: str) -> str:
    try:
        return Requirement(entry).name.lower().replace("_", "-")
    except InvalidRequirement:
        return entry
