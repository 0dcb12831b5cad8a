"""overlay/: the files that an organization adds to the template, or puts in place of upstream's."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator

import jinja2
from jinja2 import meta

from commands.answer_space import Template
from commands.questions import axes, combinations, depends_on

from ..refusal import Refused, nearest
from .policy import FILE, Policy
from .trees import Tree

FOLDER = "overlay"
LAYER = re.compile(r"\{\{ layer\.([a-z][a-z0-9_]*) \}\}")
PACKAGE = "{{ package_name }}"
SUFFIX = ".jinja"
ANSWERS = ".copier-answers.yml"
UNFIT = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$')  # what a name on Windows cannot have
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def layer_of(path: str) -> str:
    """Return the layer that a path of template/ begins with, or "" for none."""
    match = LAYER.fullmatch(path.partition("/")[0])
    return match.group(1) if match else ""


def destination(path: str) -> str:
    """Return where a path of template/ ends up in the project; what is in no layer, the engine, stays where it is."""
    return (path.partition("/")[2] if layer_of(path) else path).removesuffix(SUFFIX)


def check_names(overlay: Iterable[str], layers: Iterable[str]) -> None:
    """Refuse paths that are in no layer, leave the project, carry conditions, or that Windows cannot have.

    Raises:
        Refused: with the path and what to write in its place.
    """
    known = list(layers)
    for path in sorted(overlay):
        place = f"{FOLDER}/{path}"
        layer = layer_of(path)
        if not layer or "/" not in path:
            raise Refused(f"{place} is in no layer.", f"Put it into {FOLDER}/{{{{ layer.organization }}}}/.")
        if layer not in known:
            raise Refused(f"{place}: {layer} is no layer.", nearest(layer, known))
        for part in destination(path).split("/"):
            _part(place, part)
        if destination(path) == ANSWERS:
            raise Refused(f"{place} would replace the answers that updates need.", "Leave it out.")


def _part(place: str, part: str) -> None:
    plain = part.replace(PACKAGE, "package")
    if "{" in plain or "}" in plain:
        raise Refused(
            f"{place}: {part} carries Jinja, so that nobody sees which projects get it.",
            f"Name a layer for it under layers in {FILE}; only {PACKAGE} may stand in a path.",
        )
    if part in ("", "..") or part.lower() == ".git":
        raise Refused(f"{place} would lie outside the project's files.", "Take another name.")
    if UNFIT.search(plain) or plain.partition(".")[0].lower() in DEVICES:
        raise Refused(f"{place}: {part!r} is no name that Windows can have.", "Take another name.")


def check_content(overlay: Tree, names: Iterable[str], template: Template) -> None:
    """Refuse files that are to be rendered and ask for what no question answers.

    Raises:
        Refused: with the file, and the line or the name.
    """
    known = {*names, "_copier_conf", "_copier_answers", "_copier_operation"}
    for path, file in sorted(overlay.items()):
        if not path.endswith(SUFFIX):
            continue
        try:
            used = meta.find_undeclared_variables(template.environment.parse(file.content.decode()))
        except jinja2.TemplateSyntaxError as error:
            raise Refused(f"{FOLDER}/{path}: line {error.lineno}: {error.message}") from error
        except UnicodeDecodeError as error:
            raise Refused(
                f"{FOLDER}/{path} is no text, so it cannot be rendered.", "Take .jinja off its name."
            ) from error
        for unknown in sorted(used - known):
            raise Refused(f"{FOLDER}/{path}: {unknown} is no question.", nearest(unknown, known))


def replaced(overlay: Iterable[str], upstream: Iterable[str]) -> dict[str, str]:
    """Return the paths of upstream's files that the overlay replaces, by the path of the overlay's."""
    taken = {(layer_of(path), destination(path)): path for path in upstream}
    found = {path: taken.get((layer_of(path), destination(path))) for path in overlay}
    return {path: old for path, old in found.items() if old is not None}


def check_pins(policy: Policy, replacements: Iterable[str], upstream: Tree) -> None:
    """Refuse replacements of files that nobody has reviewed as they are now.

    Raises:
        Refused: a replaced file is not pinned, a pin replaces nothing, or upstream has changed the file.
    """
    replaced_now = set(replacements)
    for path in sorted(replaced_now - policy.replaces.keys()):
        raise Refused(
            f"{FOLDER}/ replaces the upstream's {path}, which {FILE} does not pin.",
            f'Review it in {policy.upstream.version}, and write under replaces:\n  "{path}": {upstream[path].sha256}',
        )
    for path, reviewed in sorted(policy.replaces.items()):
        if path not in upstream:
            raise Refused(
                f"{FILE}: replaces: the upstream has no {path} in {policy.upstream.version}.", nearest(path, upstream)
            )
        if path not in replaced_now:
            raise Refused(f"{FILE}: replaces: {FOLDER}/ holds no {path}.", "Add the file, or take the line out.")
        if upstream[path].sha256 != reviewed:
            raise Changed(path, policy.upstream.version)


class Changed(Refused):
    """A replaced file is not as it was when it was reviewed."""

    def __init__(self, path: str, version: str) -> None:
        """Keep the path."""
        super().__init__(
            f"{FILE}: replaces: the upstream's {path} has changed since it was reviewed: in {version} it is another.",
            f"Carry over what you need into {FOLDER}/, then: organization upgrade --to {version} --accept '{path}'",
        )
        self.path = path


def difference(path: str, before: bytes, after: bytes, versions: tuple[str, str]) -> str:
    """Return what changed in a file, as a diff."""
    old, new = (content.decode(errors="replace").splitlines() for content in (before, after))
    first, second = (f"{path} in {version}" for version in versions)
    return "\n".join(difflib.unified_diff(old, new, first, second, lineterm=""))


def check_overlaps(overlay: Iterable[str], others: Iterable[str], template: Template, own: dict[str, str]) -> None:
    """Refuse two files that one project would have at the same path.

    Args:
        overlay: the paths of the overlay.
        others: the paths of upstream that stay.
        template: the built template.
        own: the conditions of the organization's layers.

    Raises:
        Refused: with both files.
    """
    paths = sorted(overlay)
    together: set[frozenset[str]] | None = None
    for first, second in _meetings(paths, [*paths, *others]):
        layers = frozenset((layer_of(first), layer_of(second)))
        together = _together(template, own) if together is None else together
        if layers in together:
            raise Refused(
                f"{FOLDER}/{first} and {second} would both be {destination(first)} in one project.",
                f"To replace the upstream's file, put yours into its layer and pin it under replaces in {FILE}.",
            )


def _meetings(overlay: list[str], everything: list[str]) -> Iterator[tuple[str, str]]:
    for first in overlay:
        mine = destination(first).casefold()
        for second in everything:
            theirs = destination(second).casefold()
            if first != second and (mine == theirs or theirs.startswith(f"{mine}/") or mine.startswith(f"{theirs}/")):
                yield first, second


def _together(template: Template, own: dict[str, str]) -> set[frozenset[str]]:
    """Return the pairs of layers that one project can have; a layer is paired with itself too."""
    names = depends_on(template, "layer")
    free = names - axes(template).keys()  # any answer is possible: so is any outcome of the condition
    open_layers = {
        name
        for name, condition in own.items()
        if meta.find_undeclared_variables(template.environment.parse("{{ " + condition + " }}")) & free
    }
    found = set()
    for given in combinations(template, names):
        layers = {name for name, place in template.all_answers(given)["layer"].items() if place} | open_layers
        found |= {frozenset((first, second)) for first in layers for second in layers}
    return found
