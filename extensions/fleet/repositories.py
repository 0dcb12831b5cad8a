"""The list of repositories, and how each is read: a local one in place, a remote one through a clone in the cache.

They are the repositories of others: none of their hooks, filters, merge drivers or monitors is run.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from .. import sources
from ..update import branches
from .cache import made_beside, short_digest
from .git import READ_ONLY, Refused, git, line


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
        return sources.is_remote(self.address)


@dataclass(frozen=True)
class Snapshot:
    """The last commit of a repository, readable by git in `folder`."""

    folder: Path
    head: str
    prefix: str = ""  # where the project lies in the repository: "" or "models/churn/"
    ours: bool = False  # it is a clone in the cache, which may fetch what it left out

    @property
    def variables(self) -> dict[str, str]:
        """What git is told when it reads there."""
        return {} if self.ours else READ_ONLY


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
        try:
            address = sources.address(address, file.parent)
        except Refused as error:
            raise Refused(f"{file}, line {number}: {error.message}", hint=error.hint) from error
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
        line("rev-parse", "--git-dir", folder=folder, variables=READ_ONLY)
        asked = ("rev-parse", "--verify", "--quiet", "HEAD")
        found = git(*asked, folder=folder, accepted=(0, 1), variables=READ_ONLY).decode().strip()
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
        return Snapshot(folder, head, line("rev-parse", "--show-prefix", folder=folder, variables=READ_ONLY))
    clone = cache / "clones" / short_digest(repository.address)
    clone.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{clone}.lock"):
        if not clone.exists():
            words = ("--quiet", "--bare", "--single-branch", "--no-tags", "--filter=blob:none")
            with made_beside(clone) as unfinished:
                git("clone", *words, "--", repository.address, str(unfinished), folder=clone.parent)
                line("symbolic-ref", "HEAD", "refs/heads/fleet/head", folder=unfinished)
        git("fetch", "--quiet", "--no-tags", "origin", "+HEAD:refs/heads/fleet/head", folder=clone)
    return Snapshot(clone, head, ours=True)


@contextmanager
def workshop(repository: Repository, place: Snapshot, branch: str) -> Iterator[Snapshot]:
    """Yield a repository of our own that has what a snapshot has: an update is made there.

    For a remote one that is its clone. For a local one it is a new repository that reads the objects of the other, and
    of its settings the address of `origin` alone.

    Args:
        repository: the repository.
        place: its snapshot.
        branch: the update's branch, which comes along if it is there.
    """
    if repository.remote:
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        folder = Path(name, "workshop.git")
        kind = line("rev-parse", "--show-object-format", folder=place.folder, variables=READ_ONLY)
        words = ("init", "--quiet", "--bare", "--template=", f"--object-format={kind}")
        line(*words, str(folder), folder=Path(name))
        (folder / "objects/info").mkdir(exist_ok=True)
        objects, shallow = (_path_in(place, each) for each in ("objects", "shallow"))
        (folder / "objects/info/alternates").write_bytes(bytes(objects) + b"\n")
        if shallow.exists():
            (folder / "shallow").write_bytes(shallow.read_bytes())
        line("symbolic-ref", "HEAD", "refs/heads/fleet/head", folder=folder)
        line("update-ref", "refs/heads/fleet/head", place.head, folder=folder)
        if tip := tip_of(place, branch):
            line("update-ref", f"refs/heads/{branch}", tip, folder=folder)
        asked = ("config", "--get", "remote.origin.url")
        if url := git(*asked, folder=place.folder, accepted=(0, 1), variables=READ_ONLY).decode().strip():
            line("config", "remote.origin.url", sources.address(url, _top(place)), folder=folder)
        yield Snapshot(folder, place.head, place.prefix, ours=True)


def tip_of(place: Snapshot, branch: str) -> str:
    """Return the last commit of a branch; "" when there is no such branch."""
    asked = ("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
    return line(*asked, folder=place.folder, variables=READ_ONLY)


def deliver(repository: Repository, place: Snapshot, made: Snapshot, branch: str, commit: str) -> None:
    """Let a branch of a repository begin at a commit that was made in the workshop.

    Objects and a name are written, and nothing else: no working tree, no hook, no transport.

    Raises:
        Refused: the branch is a person's, in use or cannot be made, or files that git ignores would be lost with it.
    """
    if repository.remote:
        git("branch", "--force", "--no-track", "--", branch, commit, folder=place.folder)
        return
    given = f"{commit}\n^{place.head}\n".encode()
    pack = git("pack-objects", "--quiet", "--revs", "--stdout", folder=made.folder, given=given)
    # In a folder below the top, git 2.39 makes a folder .git there and writes into that.
    git("index-pack", "--stdin", folder=_top(place), given=pack, variables=READ_ONLY)
    branches.require_free(place.folder, branch, commit, here=False)
    if not _is_bare(place):
        branches.require_room(place.folder, commit, ignored_only=True)
    line("update-ref", f"refs/heads/{branch}", commit, folder=place.folder, variables=READ_ONLY)


def _is_bare(place: Snapshot) -> bool:
    return line("rev-parse", "--is-bare-repository", folder=place.folder, variables=READ_ONLY) == "true"


def _top(place: Snapshot) -> Path:
    """Return the top folder of a local repository's working tree; of a bare one its own folder."""
    if _is_bare(place):
        return place.folder
    return Path(line("rev-parse", "--show-toplevel", folder=place.folder, variables=READ_ONLY))


def _path_in(place: Snapshot, name: str) -> Path:
    found = line("rev-parse", "--git-path", name, folder=place.folder, variables=READ_ONLY)
    return (place.folder / found).resolve()
