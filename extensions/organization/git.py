"""What git is asked: a release of upstream, and the built repository."""

from __future__ import annotations

import tempfile
from pathlib import Path

from packaging.version import Version

from .. import sources
from ..git import RELEASE, run
from ..refusal import Refused
from .trees import File, Tree

# Commits are made in the builder's name, whoever runs it.
BUILDER = (
    *("-c", "user.name=organization template", "-c", "user.email=organization@localhost"),
    *("-c", "core.autocrlf=false", "-c", "core.fileMode=true"),
)
# What of the upstream a build looks at; the rest is its maintainers'.
COMMANDS = ("pyproject.toml", "commands", "extensions")  # owners of projects run them from the built template
PROVENANCE = "provenance.yaml"  # says what a built template was built from
KEPT = ("copier.yml", "template", "LICENSE", "CHANGELOG.md", PROVENANCE, *COMMANDS)


def git(folder: Path, *words: str, content: bytes | None = None) -> str:
    """Run git in a folder in the builder's name and return what it prints.

    Raises:
        Refused: git failed; the message is git's own.
    """
    return attempt(folder, *words, content=content).decode().strip()


def attempt(folder: Path, *words: str, content: bytes | None = None) -> bytes:
    """Run git in a folder in the builder's name and return the bytes that it prints.

    Raises:
        Refused: git is not installed, or failed.
    """
    return run(folder, *BUILDER, *words, given=content or b"")


def version_of(tag: str) -> Version:
    """Return the version that a release's tag says."""
    return Version(tag.removeprefix("v"))


def releases(listing: str) -> list[str]:
    """Return the tags of releases in git's listing of references, oldest first."""
    tags = {line.rpartition("refs/tags/")[2].removesuffix("^{}") for line in listing.splitlines()}
    return sorted((tag for tag in tags if RELEASE.fullmatch(tag)), key=version_of)


class Upstream:
    """The repository that releases come from; fetched into a temporary one, release by release."""

    def __init__(self, source: str, workspace: Path) -> None:
        """Remember where it is; a path is relative to the workspace.

        Raises:
            Refused: it is no address, or one of another kind.
        """
        self.source = sources.address(source, workspace)
        self._folder = tempfile.TemporaryDirectory(prefix="upstream-")
        self._place = Path(self._folder.name)
        self._trees: dict[str, Tree] = {}

    def releases(self) -> list[str]:
        """Return the tags of its releases, oldest first.

        Raises:
            Refused: it cannot be reached.
        """
        return releases(git(self._place, "ls-remote", "--tags", "--", self.source))

    def tree(self, tag: str) -> Tree:
        """Return what is in a release.

        Raises:
            Refused: it cannot be reached, has no such release, or the release holds a symbolic link.
        """
        if tag not in self._trees:
            self._fetch(tag)
            self._trees[tag] = read_tree(self._place, f"refs/tags/{tag}")
        return self._trees[tag]

    def commit(self, tag: str) -> str:
        """Return the commit of a release that was read."""
        return git(self._place, "rev-parse", f"refs/tags/{tag}^{{commit}}")

    def _fetch(self, tag: str) -> None:
        if not (self._place / "HEAD").exists():
            git(self._place, "init", "--quiet", "--bare")
        reference = f"refs/tags/{tag}"
        try:
            git(
                self._place, "fetch", "--quiet", "--depth=1", "--no-tags", "--", self.source, f"{reference}:{reference}"
            )
        except Refused as error:
            known = self.releases()
            if tag in known:
                raise
            raise Refused(
                f"The upstream {self.source} has no release {tag}.",
                f"Its releases: {', '.join(known)}." if known else "It has none here; in a clone: git fetch --tags.",
            ) from error


def read_tree(repository: Path, reference: str) -> Tree:
    """Return what a commit has of a template.

    Raises:
        Refused: it holds a symbolic link, or something else that is no plain file.
    """
    listing = attempt(repository, "ls-tree", "-r", "-z", reference, "--", *KEPT).decode()
    entries = [(*about.split(), name) for about, _, name in (e.partition("\t") for e in listing.split("\0") if e)]
    wanted = "".join(f"{identifier}\n" for _, _, identifier, _ in entries)
    contents = attempt(repository, "cat-file", "--batch", content=wanted.encode())
    tree, position = {}, 0
    for mode, _, _, name in entries:
        if mode not in ("100644", "100755"):
            raise Refused(f"{name} in {reference} is no plain file.", "Take another release.")
        end = contents.index(b"\n", position)
        size = int(contents[position:end].split()[2])
        tree[name] = File(contents[end + 1 : end + 1 + size], mode == "100755")
        position = end + 1 + size + 1
    return tree
