"""The judgement of one repository: where it comes from, how far behind it is, and what an update would meet.

The dry run renders the old and the new version here, which takes a fraction of the time that Copier
needs, and merges them as an update would. A test holds its verdict equal to that of the update itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from commands.answer_space import RefusedError, Rendered, Template, UnsupportedError

from ..update import updating
from .git import Refused, git, items, line
from .merging import Conflict, blob, copied, kind_of, merge, mode
from .repositories import Repository, Snapshot, head_of, snapshot
from .templates import notes, releases, version_of

ANSWERS: str = updating.ANSWERS


class Verdict(StrEnum):
    """What a report says of a repository."""

    CURRENT = "current"
    CLEAN = "merges cleanly"
    CONFLICTS = "conflicts"
    UNKNOWN = "unknown"


class Row(BaseModel):
    """One repository in the report."""

    name: str
    address: str
    verdict: Verdict = Verdict.UNKNOWN
    reason: str = ""  # why it is unknown, and what to do about it
    hint: str = ""
    head: str = ""
    source: str = ""  # the template
    version: str = ""  # such as "v0.1.0"
    newest: str = ""
    behind: list[str] = []
    answers: dict[str, Any] = {}
    changed: list[str] = []  # files that the update changes
    conflicts: list[Conflict] = []
    inside: str = ""  # the project's folder in its repository: "" or "models/churn/"
    left_out: list[str] = []  # the template changed them; the project has deleted them
    notes: str = ""  # what the releases bring, Markdown


def judge(repository: Repository, head: str, cache: Path, to: str | None = None) -> Row:
    """Judge a repository at its commit `head`, against the newest release or the version `to`.

    Whatever is wrong with it becomes the row's reason: one broken repository stops no report.
    """
    row = Row(name=repository.name, address=repository.address, head=head)
    try:
        with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
            _judge(row, snapshot(repository, head, cache), Path(folder), cache, to)
    except Refused as refused:
        row.reason, row.hint = refused.message, refused.hint
    except UnsupportedError as error:
        row.reason, row.hint = f"The template cannot be tried out here: {error}.", "Only an update itself tells."
    return row


def newest_release(source: str, to: str | None) -> str:
    """Return the tag that an update would go to.

    Raises:
        Refused: the template cannot be reached, or has no such release.
    """
    there = releases(source)
    wanted = f"v{to.removeprefix('v')}" if to else next(reversed(there), "")
    if wanted not in there:
        missing = f"no release {wanted}" if to else "no release"
        raise Refused(f"The template {source} has {missing}.", hint=f"Its releases: {', '.join(there) or 'none'}.")
    return wanted


def _judge(row: Row, place: Snapshot, folder: Path, cache: Path, to: str | None) -> None:
    known = _origin(place, place.head, folder)
    row.inside = place.prefix
    row.source, row.version, row.answers = known.source, known.version, known.answers
    row.newest = newest_release(known.source, to)
    number = updating.number
    row.behind = [tag for tag in releases(known.source) if number(row.version) < number(tag) <= number(row.newest)]
    if not row.behind:
        row.verdict = Verdict.CURRENT
        return
    _try_out(row, place, folder, known, *(version_of(known.source, each, cache) for each in (row.version, row.newest)))


def _try_out(row: Row, place: Snapshot, folder: Path, known: Any, old: Template, new: Template) -> None:
    """Render both versions with the project's answers, merge them into a copy of it, and fill in the row."""
    before = _answers(old, known.answers, f"What {ANSWERS} says is not possible", "Was it edited by hand? Put it back.")
    _refuse_hand_edits(place, known, old, before, folder)
    recorded, choose = old.recorded(before), "Choose, and update with it: fleet update --answer NAME=VALUE."
    after = _answers(new, recorded, f"Version {row.newest} no longer offers an answer of this project", choose)
    _refuse_lost_answers(recorded, new.recorded(after), row.newest, choose)
    base = old.render(before, origin={"_src_path": known.source, "_commit": known.version})
    theirs = {path: file for path, file in base.items() if old.belongs_to_user(path) or new.belongs_to_user(path)}
    theirs |= new.render(after, origin={"_src_path": known.source, "_commit": row.newest}, operation="update")
    merged = merge(place, base, theirs, folder)
    row.changed, row.conflicts, row.left_out = merged.changed, merged.conflicts, merged.left_out
    row.verdict = Verdict.CONFLICTS if merged.conflicts else Verdict.CLEAN
    row.notes = notes(new.folder, row.version, row.newest)


def _origin(place: Snapshot, revision: str, folder: Path) -> Any:
    """Return the origin that a commit records, as `updating` reads it."""
    return updating.origin(copied(place, revision, ANSWERS, folder).parent)


def origin_of(place: Snapshot) -> Any:
    """Return where a project comes from, by its last commit.

    Raises:
        Refused: see `updating.origin`.
    """
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        return _origin(place, place.head, Path(folder))


def _answers(template: Template, given: Mapping[str, Any], refusal: str, hint: str) -> dict[str, Any]:
    """Return complete answers.

    Raises:
        Refused: one of them is not possible.
    """
    try:
        return template.all_answers(given)
    except RefusedError as error:
        raise Refused(f"{refusal}: {error}", hint=hint) from error


def _refuse_hand_edits(place: Snapshot, known: Any, old: Template, before: Mapping[str, Any], folder: Path) -> None:
    """Refuse when answers were edited by hand and the files are still those of the former ones."""
    since = line(
        *("log", "-1", "--format=%H", "--no-textconv", "-G^_commit:", place.head, "--", ANSWERS),
        folder=place.folder, variables=place.variables,
    )  # fmt: skip
    former = _origin(place, since, folder).answers if since else {}
    if not former or former == known.answers:
        return
    then = _answers(old, former, f"What {ANSWERS} said at {since[:12]} is not possible", "Was it edited by hand?")
    listed = items(git("ls-tree", "-r", "-z", place.head, folder=place.folder, variables=place.variables))
    files = {item for item in listed if not item.endswith(ANSWERS)}
    former_entries, present_entries = (_entries(old, old.render(answers), kind_of(place)) for answers in (then, before))
    if len(files & former_entries - present_entries) > len(files & present_entries - former_entries):
        edited = sorted(name for name in {*former, *known.answers} if former.get(name) != known.answers.get(name))
        raise Refused(
            f"{ANSWERS} was edited by hand ({', '.join(edited)}), and the files are still those of the former answers.",
            hint=f"Put it back as it was at {since[:12]}, and give the update the answers: --answer NAME=VALUE.",
        )


def _entries(template: Template, project: Mapping[str, Rendered], kind: str) -> set[str]:
    """Return files as `git ls-tree` lists them, without those that no answer changes any more."""
    return {
        f"{mode(file)} blob {blob(file.content, kind)}\t{path}"
        for path, file in project.items()
        if not template.belongs_to_user(path)
    }


def _refuse_lost_answers(before: Mapping[str, Any], after: Mapping[str, Any], version: str, hint: str) -> None:
    """Refuse when the new version would put another value in place of a recorded answer."""
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            change = f"{name} is {before[name]!r}, it would become {after[name]!r}"
            raise Refused(f"Version {version} no longer offers an answer of this project: {change}.", hint=hint)


def look(repository: Repository, cache: Path, to: str | None, former: Row | None) -> Row:
    """Judge a repository, or return its former row, which was no unknown one, where nothing has changed since.

    Whatever goes wrong becomes the row's reason.
    """
    try:
        head = head_of(repository, cache)
        if former and (former.head, former.newest) == (head, newest_release(former.source, to)):
            return former
        return judge(repository, head, cache, to)
    except Refused as refused:
        return Row(name=repository.name, address=repository.address, reason=refused.message, hint=refused.hint)
