"""Follow the upstream: show what a newer release changes for the organization, and make the next release of it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

from commands.levels import Change, Level, compare_questions, next_version

from ..refusal import Refused, nearest
from . import overlay as rules
from .build import CHANGELOG, TEMPLATE, Workspace, compile_tree, laid_out, lay_down, questions_of, read_template
from .changes import compare_files, layers_taken
from .check import Told, record, verify
from .git import Upstream, git, read_tree, releases, version_of
from .pages import between, section
from .policy import FILE, parse
from .trees import File, Tree

HEADING = re.compile(r"^###+ ", re.MULTILINE)
SHOWN = 8  # lines of one kind; more of them say less


def upgrade(workspace: Workspace, to: str | None, accepted: list[str], told: Told) -> Iterator[str]:
    """Move a workspace to another release of the upstream; yield what people are to read.

    Policy, changelog and build/ change together, after everything has passed.

    Args:
        workspace: what is to move.
        to: the release; None for the newest.
        accepted: replaced files that were reviewed as upstream has them now.
        told: is called with each step.

    Raises:
        Refused: there is no such release, a replaced file waits for its review, or build or check say no.
    """
    upstream = Upstream(workspace.policy.upstream.source, workspace.folder)
    before, after = workspace.policy.upstream.version, _target(workspace, upstream, to)
    if after == before and not accepted:
        yield f"{before} is the newest release of the upstream."
        return
    old, new = upstream.tree(before), upstream.tree(after)
    notes = between(new.get(CHANGELOG, File(b"")).content.decode(), before.removeprefix("v"), after.removeprefix("v"))
    yield f"From {before} to {after} the upstream changes:"
    yield from listed(compare(old, new))
    yield from (f"\n{version}\n{text}" for version, text in notes.items())
    pins = _reviewed(workspace, new, accepted)
    waiting = [path for path in workspace.policy.replaces if path not in pins]
    for path in waiting:
        reviewed = upstream_file(old, path)
        yield "\n" + rules.difference(path, reviewed.content, new[TEMPLATE + path].content, (before, after))
    if waiting:
        options = " ".join(f"--accept '{path}'" for path in waiting)
        raise Refused(
            f"Replaced files that the upstream has changed: {', '.join(waiting)}. Nothing was changed here.",
            f"Carry over what you need into {rules.FOLDER}/, then: organization upgrade --to {after} {options}",
        )
    told("building with the new release")
    moved = _moved(workspace, after, pins, notes, upstream)
    tree = compile_tree(moved.workspace, upstream)
    verify(tree, moved.workspace, upstream, told)
    _write(workspace.folder / FILE, moved.workspace.policy_file.content)
    _write(workspace.folder / CHANGELOG, moved.workspace.changelog.encode())
    lay_down(tree, moved.workspace)
    record(moved.workspace)
    yield f"\nFor projects of {workspace.policy.organization.name} this changes, since {moved.since}:"
    yield from listed(moved.changes)
    yield f"\nBuilt and checked. Ready to publish as {moved.workspace.policy.tag} ({moved.because})."
    yield f"Read {CHANGELOG} first; after a change there: organization build, check. Then: organization publish"


def _target(workspace: Workspace, upstream: Upstream, to: str | None) -> str:
    before, known = workspace.policy.upstream.version, upstream.releases()
    if to is None and not known:
        raise Refused(f"The upstream {upstream.source} has no releases.", "In a clone: git fetch --tags.")
    after = to or known[-1]
    if after not in known:
        raise Refused(f"The upstream has no release {after}.", nearest(after, known))
    if version_of(after) < version_of(before):
        raise Refused(f"{after} is older than {before}, and projects cannot go back.", f"Newer are: {known}.")
    return after


def compare(before: Tree, after: Tree) -> list[Change]:
    """Return what changes for projects between two versions of a template."""
    with laid_out(questions_of(before)) as old_folder, laid_out(questions_of(after)) as new_folder:
        old, new = read_template(old_folder), read_template(new_folder)
        return [*compare_questions(old, new), *compare_files(before, after, layers_taken(old, new))]


def listed(changes: list[Change]) -> Iterator[str]:
    """Yield changes by weight, the heaviest first; many of one weight are cut short."""
    for part in sorted(Level, reverse=True):
        texts = [change.text for change in changes if change.level is part]
        yield from (f"  {part.name.lower()}: {text}" for text in texts[:SHOWN])
        if len(texts) > SHOWN:
            yield f"  {part.name.lower()}: and {len(texts) - SHOWN} more"
    if not changes:
        yield "  nothing"


def upstream_file(tree: Tree, path: str) -> File:
    """Return a file of template/, or an empty one where there is none."""
    return tree.get(TEMPLATE + path, File(b""))


def _reviewed(workspace: Workspace, new: Tree, accepted: list[str]) -> dict[str, str]:
    """Return the pins of the files that need no more review: unchanged, or accepted."""
    for path in accepted:
        if path not in workspace.policy.replaces:
            raise Refused(f"--accept {path}: {FILE} does not pin it.", nearest(path, workspace.policy.replaces))
    pins = {}
    for path, reviewed in workspace.policy.replaces.items():
        if TEMPLATE + path not in new:
            raise Refused(
                f"{FILE}: replaces: the upstream no longer has {path}.",
                f"Move your file into {{{{ layer.organization }}}} or delete it, and take the line out of {FILE}.",
            )
        sha256 = new[TEMPLATE + path].sha256
        if path in accepted or sha256 == reviewed:
            pins[path] = sha256
    return pins


@dataclass(frozen=True)
class Moved:
    """A workspace at its new release of the upstream, and what that means."""

    workspace: Workspace
    changes: list[Change]
    since: str
    because: str


def _moved(workspace: Workspace, after: str, pins: dict[str, str], notes: dict[str, str], upstream: Upstream) -> Moved:
    """Return the workspace with the new release written into it, and the version that this makes."""
    rewritten = _with_policy(workspace, after, pins, workspace.policy.version)
    last = last_release(workspace)
    if last is None:
        return Moved(rewritten, [], "nothing was published", "the first release")
    changes, part = since(workspace, last, compile_tree(rewritten, upstream))
    version = max(next_version(last.removeprefix("v"), part), workspace.policy.version, key=version_of)
    rewritten = _with_policy(workspace, after, pins, version)
    return Moved(
        replace(rewritten, changelog=_with_notes(workspace, version, after, notes)),
        changes,
        last,
        f"a {part.name.lower()} one",
    )


def last_release(workspace: Workspace) -> str | None:
    """Return the tag of the last release in build/, or None before the first."""
    if not (workspace.built / ".git").exists():
        return None
    known = releases(git(workspace.built, "for-each-ref", "refs/tags"))
    return known[-1] if known else None


def since(workspace: Workspace, last: str, tree: Tree) -> tuple[list[Change], Level]:
    """Return what a built tree changes for projects since a release, and the part of the version that this raises."""
    changes = compare(read_tree(workspace.built, f"refs/tags/{last}"), tree)
    return changes, max((change.level for change in changes), default=Level.patch)


def _with_policy(workspace: Workspace, after: str, pins: dict[str, str], version: str) -> Workspace:
    """Return the workspace with some values of its policy changed; its comments stay."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # no line is broken anew
    document = yaml.load(workspace.policy_file.content.decode())
    document["upstream"]["version"] = after
    document["version"] = version
    for path, sha256 in pins.items():
        document["replaces"][path] = sha256
    written = StringIO()
    yaml.dump(document, written)
    return replace(workspace, policy=parse(written.getvalue()), policy_file=File(written.getvalue().encode()))


def _with_notes(workspace: Workspace, version: str, after: str, notes: dict[str, str]) -> str:
    """Return the changelog with a section for the new version, which holds what upstream says."""
    if section(workspace.changelog, version):
        return workspace.changelog
    told = HEADING.sub(r"#\g<0>", "\n\n".join(notes.values()))
    new = f"## {version}\n\nBuilt from copier-mlops {after}.\n\n" + (
        f"### From copier-mlops\n\n{told}\n\n" if told else ""
    )
    before, heading, rest = workspace.changelog.partition("\n## ")
    return f"{before}\n{new}{heading.removeprefix(chr(10))}{rest}" if heading else f"{workspace.changelog}\n{new}"


def _write(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(content)
    Path(file.name).chmod(path.stat().st_mode & 0o777)
    os.replace(file.name, path)
