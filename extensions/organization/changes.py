"""Which files of projects a newer template changes, and what that asks of their owners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from commands.answer_space import RefusedError, Template
from commands.levels import Change, Level
from commands.questions import Answers, asked, combinations, depends_on

from .overlay import destination, layer_of
from .trees import Tree, digest

LAYERS = "layer"  # the computed answer that says which layers a project takes
Taken = tuple[frozenset[str], frozenset[str]]  # the layers of a project before and after
FOLDER = "template/"
ENGINE = "engine"


def compare_files(before: Tree, after: Tree, layers: Iterable[Taken]) -> Iterator[Change]:
    """Yield which files of projects come, go, or become others.

    A file that another layer has now moves, unless the answers of some projects do not take that layer: then it goes.

    Args:
        before: the template as it was.
        after: the template as it is.
        layers: `layers_taken` of the two; asked only when a layer has a file no more.
    """
    old, new = _files(before), _files(after)
    missing = [name for name in old if name not in new]
    lost = _lost(missing, new, layers) if missing else set()
    yield from (Change(Level.major, f"file {name} goes") for name in missing if name in lost)
    yield from (Change(Level.minor, f"file {name} moves") for name in missing if name not in lost)
    yield from (Change(Level.minor, f"file {name} comes") for name in new if name not in old)
    yield from (Change(Level.patch, f"file {name} changes") for name in old if name in new and old[name] != new[name])


def layers_taken(before: Template, after: Template) -> Iterator[Taken]:
    """Yield, for all answers that decide about layers, which layers projects take before and after.

    Answers that can no longer be given are left out: compare_questions tells of those.
    """
    for given in combinations(before, depends_on(before, LAYERS) & asked(before).keys()):
        with suppress(RefusedError):
            yield _taken(before, given), _taken(after, given)


def _taken(template: Template, given: Answers) -> frozenset[str]:
    return frozenset(name for name, taken in template.all_answers(given)[LAYERS].items() if taken)


def _lost(missing: Iterable[str], new: Iterable[str], layers: Iterable[Taken]) -> set[str]:
    """Return the files that some projects had and that no layer of theirs brings any more."""
    lost = set()
    for had, has in set(layers):
        kept = {place for place, layer in map(_split, new) if layer in has}
        for name in missing:
            place, layer = _split(name)
            if layer in had and place not in kept:
                lost.add(name)
    return lost


def _split(name: str) -> tuple[str, str]:
    """Return the place in projects and the layer of a file that `_files` names."""
    place, _, layer = name.removesuffix(")").rpartition(" (")
    return place, layer


def _files(tree: Tree) -> dict[str, str]:
    """Return the hash of each file of template/, by its layer and its place in projects; the engine counts as one."""
    files = {path.removeprefix(FOLDER): file for path, file in sorted(tree.items()) if path.startswith(FOLDER)}
    found = {f"{destination(path)} ({layer_of(path)})": file.sha256 for path, file in files.items() if layer_of(path)}
    engine = {path: file for path, file in files.items() if path.startswith(f"{ENGINE}/")}
    return found | ({f"{ENGINE}/ (every project)": digest(engine)} if engine else {})
