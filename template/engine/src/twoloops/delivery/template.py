"""The template's newer version, shown to people: a page about what it brings, and a change on the code host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from twoloops.delivery import updating
from twoloops.delivery.updating import Update
from twoloops.errors import ProjectError
from twoloops.hosts import host
from twoloops.paths import paths
from twoloops.storage import replacing

HERE = Path()


def merge(to: str | None, answers: Sequence[str], *, clean: bool) -> Update | None:
    """Merge a version of the template into the last commit; nothing is checked out. None: there is nothing newer.

    Args:
        to: the version; None: the newest.
        answers: those to be changed with it, as NAME=VALUE.
        clean: refuse a working tree with changes, at once.

    Raises:
        ProjectError: it cannot be done; nothing has been changed.
    """
    with _refusals():
        if clean:
            updating.require_clean(HERE)
        return updating.merge(HERE, to=to, answers=updating.assignments(answers, "--answer"))


def switch(update: Update) -> None:
    """Check the update's branch out.

    Raises:
        ProjectError: the working tree has changes, or the branch holds commits of a person.
    """
    with _refusals():
        updating.switch(HERE, update)


def summary(update: Update) -> list[str]:
    """Return in lines what the update does to the project."""
    lines = [f"The template goes from {update.before} to {update.after}: {len(update.changed)} files change."]
    lines += [f"  answer {name}: {_answer(old)} → {_answer(new)}" for name, (old, new) in update.answers.items()]
    lines += [f"  left out, you have deleted it: {name}" for name in update.left_out]
    if update.conflicts:
        lines.append(f"To settle, {len(update.conflicts)} files:")
        lines += [f"  {each.path}: {each.why}" for each in update.conflicts]
    return lines


def page(update: Update) -> Path:
    """Write what the update brings as Markdown, and return the file."""
    settled = {each.path for each in update.conflicts}
    merged = [name for name in update.changed if name not in settled]
    answers = [f"`{name}`: {_answer(old)} → {_answer(new)}" for name, (old, new) in update.answers.items()]
    # Below the page's own headings.
    notes = re.sub("^#", "##", update.notes, flags=re.MULTILINE)
    parts = [
        f"The template that this project was made from goes from {update.before} to {update.after}.",
        _section("To settle", "files", [f"`{each.path}`: {each.why}." for each in update.conflicts]),
        _section("Answers", "differ", answers),
        _section("Merged", "files", [f"`{name}`" for name in merged]),
        _section("Left out", "files that you have deleted", [f"`{name}`" for name in update.left_out]),
        f"## What the releases say\n\n{notes}" if notes else "The template has no release notes.",
    ]
    with replacing(paths().reports / "update.md") as new:
        new.write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")
    return paths().reports / "update.md"


def propose(update: Update) -> str:
    """Push the branch and open the change, or bring the open one up to date; return its address, in words.

    A branch on which a person has gone on stays as it is.

    Raises:
        ProjectError: the code host refuses the push or the change.
    """
    to_settle = f", {len(update.conflicts)} files to settle" if update.conflicts else ""
    title = f"Update the template to {update.after}{to_settle}"
    try:
        pushed = updating.push(HERE, update)
    except updating.Refused as error:
        raise ProjectError(
            f"{host.NAME} does not take the branch {update.branch}. {error.message}",
            hint="A flow's own token often may not change the flows' files: docs/flows.md tells which one may.",
        ) from error
    where = host.propose(update.branch, title, page(update).read_text(encoding="utf-8"))
    return where if pushed else f"{where}, whose branch holds commits of yours and is left as it is"


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what refuses an update into the project's own error."""
    try:
        yield
    except updating.Refused as error:
        raise ProjectError(error.message, hint=error.hint) from error


def _section(title: str, what: str, lines: list[str]) -> str:
    listed = "\n".join(f"- {line}" for line in lines)
    return f"## {title}: {len(lines)} {what}\n\n{listed}" if lines else ""


def _answer(value: object) -> str:
    return "none" if value is None else f"`{value}`"
