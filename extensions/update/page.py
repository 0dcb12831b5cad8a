"""An update, told to people: lines for a terminal, and a page for the change on the code host."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..git import git
from ..signatures import SIGNERS
from .updating import Update

PAGE = "reports/update.md"  # in the project
NOT_VERIFIED = f"Who made the release was not verified: {SIGNERS} of this project names no signer."
LINES_SHOWN = 60  # of the edits to a file that the template has no more


def title(update: Update) -> str:
    """Return the title of the change."""
    to_settle = f", {len(update.conflicts)} files to settle" if update.conflicts else ""
    return f"Update the template to {update.after}{to_settle}"


def summary(update: Update) -> list[str]:
    """Return in lines what the update does to the project."""
    lines = [
        f"The template goes from {update.before} to {update.after}: {len(update.changed)} files change."
        if update.before != update.after
        else f"The project has the template's version {update.after}: {len(update.changed)} files change."
    ]
    lines += [f"  answer {name}: {_answer(old)} → {_answer(new)}" for name, (old, new) in update.answers.items()]
    lines += [f"  left out, you have deleted it: {name}" for name in update.left_out]
    lines += [f"  the engine keeps an edit of yours: {name}" for name in update.engine_edits]
    lines += [f"  rewritten for what has moved: {name}" for name in update.rewritten]
    if update.to_rewrite:
        lines.append(f"To rewrite by hand, {len(update.to_rewrite)} places:")
        lines += [f"  {each}" for each in update.to_rewrite]
    if update.conflicts:
        lines.append(f"To settle, {len(update.conflicts)} files:")
        lines += [f"  {each.path}: {each.why}" for each in update.conflicts]
    return lines


def write(project: Path, update: Update) -> Path:
    """Write what the update brings as Markdown into the project, and return the file."""
    page = project / PAGE
    page.parent.mkdir(exist_ok=True)
    page.write_text(text(update), encoding="utf-8")
    return page


def notice(update: Update) -> list[str]:
    """Return in lines what nobody can vouch for."""
    return [] if update.verified or update.before == update.after else [NOT_VERIFIED]


def hand_over(project: Path, update: Update | None, folder: Path | None, start: str = "") -> None:
    """Write what another job needs to push the update and to open its change: the engine's `propose --bundle`.

    Args:
        project: has the update's branch.
        update: what was merged; None: there is nothing newer.
        folder: where it is written; None: nowhere.
        start: the commit that the update stands above.
    """
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    told = {"branch": None} if update is None else {
        "branch": update.branch, "commit": update.commit, "title": title(update)
    }  # fmt: skip
    (folder / "update.json").write_text(json.dumps(told), encoding="utf-8")
    if update is not None:
        words = ("bundle", "create", "--quiet", str((folder / "update.bundle").absolute()))
        git(project, *words, f"refs/heads/{update.branch}", f"^{start}")
        (folder / "update.md").write_text(text(update), encoding="utf-8")


def text(update: Update) -> str:
    """Return what the update brings as Markdown."""
    settled = {each.path for each in update.conflicts}
    # A folder of the engine is one line: nobody reviews it file by file.
    merged = [name for name in update.changed if not ({name} & {*settled, *update.rewritten} or _in_engine(name))]
    engine = sum(map(_in_engine, update.changed))
    answers = [f"`{name}`: {_answer(old)} → {_answer(new)}" for name, (old, new) in update.answers.items()]
    # Below the page's own headings.
    notes = re.sub("^#", "##", update.notes, flags=re.MULTILINE)
    parts = [
        f"The template that this project was made from goes from {update.before} to {update.after}.",
        *notice(update),
        _section("To settle", "files", [f"`{each.path}`: {each.why}." for each in update.conflicts]),
        _section("To rewrite by hand", "places", list(update.to_rewrite)),
        _section("Answers", "differ", answers),
        _section("Merged", "files", [f"`{name}`" for name in merged]),
        _section("Rewritten, in a commit of its own", "files", [f"`{name}`" for name in update.rewritten]),
        f"The engine: {engine} files of `engine/` change." if engine else "",
        _section("Edits in the engine, kept", "files", [f"`{name}`" for name in update.engine_edits]),
        _section("Left out", "files that you have deleted", [f"`{name}`" for name in update.left_out]),
        _diffs(update),
        _left(update),
        f"## What the releases say\n\n{notes}" if notes else "The template has no release notes.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _diffs(update: Update) -> str:
    """Show what the project had changed in files that the template has no more."""
    edited = [each for each in update.conflicts if each.diff]
    if not edited:
        return ""
    blocks = [f"`{each.path}`\n\n```diff\n{_shortened(each.diff)}\n```" for each in edited]
    lead = "The template has these files no more. They are kept as you had them; this is what you had changed."
    return "\n\n".join(["## Your edits in what is gone", lead, *blocks])


def _left(update: Update) -> str:
    """Show what of the template could not be merged, since something else stands there."""
    blocks = [f"`{each.path}`\n\n```diff\n{_shortened(each.left)}\n```" for each in update.conflicts if each.left]
    lead = "Nothing of yours was touched. This is what the template has changed: carry over what you need."
    return "\n\n".join(["## The template's changes that have no place", lead, *blocks]) if blocks else ""


def _shortened(diff: str) -> str:
    lines = [line for line in diff.splitlines() if not line.startswith(("diff --git", "index "))]
    more = len(lines) - LINES_SHOWN
    return "\n".join(lines[:LINES_SHOWN] + ([f"... {more} lines more"] if more > 0 else []))


def _in_engine(path: str) -> bool:
    return path.startswith("engine/") or "/engine/" in path


def _section(heading: str, what: str, lines: list[str]) -> str:
    listed = "\n".join(f"- {line}" for line in lines)
    return f"## {heading}: {len(lines)} {what}\n\n{listed}" if lines else ""


def _answer(value: object) -> str:
    return "none" if value is None else f"`{value}`"
