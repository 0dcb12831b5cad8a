"""The template's newer version comes as a change: on a branch, with what it brings and what conflicts."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from .. import ProjectError
from ..storage import REPORTS, replacing
from . import host

ANSWERS = Path(".copier-answers.yml")
COPIER = ("uv", "tool", "run", "--from", "copier>=9.19,<10", "copier")  # not the project's own: it is rarely needed
PAGE = REPORTS / "update.md"
CONFLICT = "<<<<<<< before updating"  # as Copier marks a place that both sides changed
HEADING = re.compile(r"^## \[?v?(?P<version>\d+\.\d+\.\d+\S*?)\]?(\s|$)", re.MULTILINE)


@dataclass(frozen=True)
class Update:
    """A newer version of the template, on its branch."""

    before: str
    after: str
    branch: str
    changed: tuple[str, ...]  # files
    conflicts: tuple[str, ...]  # those of them that a person has to settle
    notes: str  # of the releases in between, Markdown


def update(tell: Callable[[str], None]) -> Update | None:
    """Bring the template's newest version onto a branch of its own, committed; None when there is no newer one.

    Afterwards the working tree is on that branch. Edits of the project are merged; where both sides changed
    the same lines, the file is committed with both, marked, for a person to choose.

    Raises:
        ProjectError: the working tree has changes, the project does not know its template, or the template
            cannot be reached; nothing has been changed then.
    """
    source = _source()
    if _git("status", "--porcelain"):
        raise ProjectError(
            "The working tree has changes that are not committed.", hint="Commit or stash them first: an update merges."
        )
    found = json.loads(_run([*COPIER, "check-update", "--output-format=json"]))
    before, after = found["current_version"], found["latest_version"]
    if not found["update_available"]:
        tell(f"The project has the template's newest version, {before}.")
        return None
    start = _git("rev-parse", "--abbrev-ref", "HEAD")
    branch = f"template/{after}"
    tell(f"The template goes from {before} to {after}, on the branch {branch}.")
    _git("switch", "--quiet", "--force-create", branch)
    try:
        _run([*COPIER, "update", "--quiet", "--defaults", "--conflict=inline", f"--vcs-ref=v{after}"])
    except ProjectError:
        _git("reset", "--quiet", "--hard")
        _git("switch", "--quiet", start if start != "HEAD" else "--detach", *([] if start != "HEAD" else ["HEAD"]))
        raise
    _git("add", "--all")
    changed = _git("diff", "--cached", "--name-only").splitlines()
    conflicts = [name for name in changed if Path(name).is_file() and CONFLICT.encode() in Path(name).read_bytes()]
    _git(*_identity(), "commit", "--quiet", "--no-verify", "--message", f"Update the template to {after}")
    return Update(before, after, branch, tuple(changed), tuple(conflicts), _notes(source, before, after))


def page(update: Update) -> Path:
    """Write what the update brings as Markdown, and return the file."""
    parts = [f"The template this project was made from goes from {update.before} to {update.after}."]
    if update.conflicts:
        listed = "\n".join(f"- `{name}`" for name in update.conflicts)
        parts.append(
            f"## To settle: {len(update.conflicts)} files\n\nBoth sides changed the same lines. Each place is marked "
            f"with `{CONFLICT}`: choose, delete the marks, commit.\n\n{listed}"
        )
    merged = [name for name in update.changed if name not in update.conflicts]
    listed = "\n".join(f"- `{name}`" for name in merged)
    parts.append(f"## Merged: {len(merged)} files\n\n{listed}" if merged else "")
    parts.append(
        f"## What the releases say\n\n{update.notes}" if update.notes else "The template has no release notes."
    )
    with replacing(PAGE) as new:
        new.write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")
    return PAGE


def propose(update: Update) -> str:
    """Push the branch and open the change, or bring the open one up to date; return its address.

    Raises:
        ProjectError: the code host refuses the push or the change.
    """
    page(update)
    try:
        _git("push", "--quiet", "--force", "origin", update.branch)
    except ProjectError as error:
        raise ProjectError(
            f"{host.NAME} does not take the branch {update.branch}. {error}",
            hint="A flow's own token often may not change the flows' files: docs/flows.md tells which one may.",
        ) from error
    to_settle = f", {len(update.conflicts)} files to settle" if update.conflicts else ""
    title = f"Update the template to {update.after}{to_settle}"
    return host.propose(update.branch, title, PAGE.read_text(encoding="utf-8"))


def _source() -> str:
    """Return where the template lies."""
    answers = yaml.safe_load(ANSWERS.read_text(encoding="utf-8")) if ANSWERS.exists() else None
    if not isinstance(answers, dict) or not {"_commit", "_src_path"} <= answers.keys():
        raise ProjectError(
            f"{ANSWERS} does not say which template this project was made from.",
            hint="Bring the file back from git: updates need it.",
        )
    return str(answers["_src_path"])


def _notes(source: str, before: str, after: str) -> str:
    """Return the sections of the template's CHANGELOG.md that are newer than `before`."""
    # Copier's short forms of two hosts.
    address = re.sub("^gl:", "https://gitlab.com/", re.sub("^gh:", "https://github.com/", source))
    with tempfile.TemporaryDirectory() as folder:
        clone = ["clone", "--quiet", "--depth=1", f"--branch=v{after}", address, folder]
        _git("-c", "advice.detachedHead=false", *clone)
        file = Path(folder, "CHANGELOG.md")
        text = file.read_text(encoding="utf-8") if file.exists() else ""
    headings = list(HEADING.finditer(text))
    if not headings:
        return ""
    end = next((each.start() for each in headings if each["version"] == before.removeprefix("v")), len(text))
    notes = text[headings[0].start() : end].strip()
    return re.sub("^#", "##", notes, flags=re.MULTILINE)  # below the page's own headings


def _identity() -> list[str]:
    """Return who commits, where git has not been told: on a code host's runner."""
    known = subprocess.run(["git", "config", "user.email"], capture_output=True, check=False).returncode == 0
    return [] if known else ["-c", "user.name=flows", "-c", "user.email=flows@invalid"]


def _git(*words: str) -> str:
    return _run(["git", *words]).strip()


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join(f"  {line}" for line in done.stderr.strip().splitlines()[-5:])
        name = "copier" if command[0] == "uv" else "git"
        raise ProjectError(f"{name} failed with code {done.returncode}:\n{said}", hint="Its message says what to mend.")
    return done.stdout
