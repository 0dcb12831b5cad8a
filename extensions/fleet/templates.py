"""Templates in the cache: each is cloned once, and each of its versions is checked out once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from filelock import FileLock

from commands.answer_space import Template, template

from ..update import updating
from .cache import made_beside, short_digest
from .git import Refused, git


@cache
def _releases(source: str) -> list[str] | Refused:
    """Return the tags of the releases, or why not: a template out of reach is waited for once, not per project."""
    try:
        tags: list[str] = updating.releases(source)
    except Refused as refused:
        return refused
    return tags


def releases(source: str) -> list[str]:
    """Return the tags of a template's releases, the oldest first; asked once per process.

    Raises:
        Refused: the template cannot be reached.
    """
    found = _releases(source)
    if isinstance(found, Refused):
        raise Refused(found.message, hint=found.hint)
    return found


@cache
def version_of(source: str, version: str, cache_folder: Path) -> Template:
    """Return one version of a template.

    Raises:
        Refused: the template or the version cannot be reached.
        UnsupportedError: only Copier itself can render it.
    """
    mirror = cache_folder / "templates" / short_digest(source) / "mirror.git"
    mirror.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{mirror}.lock"):
        if not mirror.exists():
            with made_beside(mirror) as unfinished:
                address = updating.address(source)
                git("clone", "--quiet", "--bare", "--", address, str(unfinished), folder=mirror.parent)
        commit = _commit(mirror, version)
        if not commit:
            git("fetch", "--quiet", "origin", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", folder=mirror)
            commit = _commit(mirror, version)
        if not commit:
            raise Refused(
                f"The template {source} has no version {version}.",
                hint="Was its tag deleted, or the template replaced? Its owner can push the tag again.",
            )
        folder = mirror.parent / commit
        if not folder.exists():
            with made_beside(folder) as unfinished:
                where = (f"--git-dir={mirror}", f"--work-tree={unfinished}")
                git(*where, "read-tree", "--reset", "-u", commit, folder=unfinished)
    return template(folder)


def _commit(mirror: Path, version: str) -> str:
    words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{version}^{{commit}}")
    return git(*words, folder=mirror, accepted=(0, 1, 128)).decode().strip()


def notes(folder: Path, before: str, after: str) -> str:
    """Return what the template's CHANGELOG.md says of the releases after `before` up to `after`, Markdown."""
    file = folder / "CHANGELOG.md"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    told: str = updating.notes_between(text, before, after)
    return told
