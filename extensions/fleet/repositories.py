"""The list of repositories, and how each is read: a local one in place, a remote one through a clone in the cache."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from .cache import made_beside, short_digest
from .git import Refused, git, line

# A scheme, or `host:path` as ssh has it; a letter and a colon would be a drive of Windows.
URL = re.compile(r"[a-z][a-z0-9+.-]*://|([\w.-]+@)?[\w.-]{2,}:(?!//)")


@dataclass(frozen=True)
class Repository:
    """One line of the list."""

    address: str  # an absolute path, or a URL

    @property
    def name(self) -> str:
        """What people call it: the last part of its address."""
        return re.split(r"[/:\\]", self.address.rstrip("/"))[-1].removesuffix(".git")

    @property
    def remote(self) -> bool:
        """Whether it is reached by URL."""
        return bool(URL.match(self.address))


@dataclass(frozen=True)
class Snapshot:
    """The last commit of a repository, readable by git in `folder`."""

    folder: Path
    head: str
    prefix: str = ""  # where the project lies in the repository: "" or "models/churn/"


def read_list(file: Path) -> Iterator[Repository]:
    """Yield the repositories of a list, each once: a path or URL a line; `#` begins a comment.

    Raises:
        Refused: the list cannot be read, or names nothing.
    """
    hint = "A list has a line for each repository: a path, relative to the list's folder, or a URL."
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"The list {file} cannot be read: {error}", hint=hint) from error
    seen = set()
    for number, text in enumerate(lines, 1):
        address = re.sub(r"(^|\s)#.*", "", text).strip()
        if not address:
            continue
        if address.startswith("-"):
            raise Refused(f"{file}, line {number}: {address} is an option, not a repository.", hint=hint)
        if not URL.match(address):
            address = str((file.parent / Path(address).expanduser()).resolve())
        if address not in seen:
            seen.add(address)
            yield Repository(address)
    if not seen:
        raise Refused(f"The list {file} names no repository.", hint=hint)


def head_of(repository: Repository, cache: Path) -> str:
    """Return the last commit's name; of a remote one without fetching it.

    Raises:
        Refused: there is no repository, it cannot be reached, or it is empty.
    """
    if repository.remote:
        found = line("ls-remote", "--", repository.address, "HEAD", folder=cache).partition("\t")[0]
    else:
        folder = Path(repository.address)
        line("rev-parse", "--git-dir", folder=folder)
        found = git("rev-parse", "--verify", "--quiet", "HEAD", folder=folder, accepted=(0, 1)).decode().strip()
    if not found:
        raise Refused("It has no commit yet.", hint="Commit and push something, or take it off the list.")
    return found


def snapshot(repository: Repository, head: str, cache: Path) -> Snapshot:
    """Make the commit `head` readable, and say where.

    A clone in the cache has the history, which tells an answers file that was edited by hand, and no
    files where the remote can give them later one by one: only those that both sides changed are fetched.

    Raises:
        Refused: it cannot be fetched.
    """
    if not repository.remote:
        folder = Path(repository.address)
        return Snapshot(folder, head, line("rev-parse", "--show-prefix", folder=folder))
    clone = cache / "clones" / short_digest(repository.address)
    clone.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{clone}.lock"):
        if not clone.exists():
            words = ("--quiet", "--bare", "--single-branch", "--no-tags", "--filter=blob:none")
            with made_beside(clone) as unfinished:
                git("clone", *words, "--", repository.address, str(unfinished), folder=clone.parent)
                line("symbolic-ref", "HEAD", "refs/heads/fleet/head", folder=unfinished)
        git("fetch", "--quiet", "--no-tags", "origin", "+HEAD:refs/heads/fleet/head", folder=clone)
    return Snapshot(clone, head)
