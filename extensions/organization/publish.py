"""Publish what was built and checked: a commit, a tag, and one push of both or of neither."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .. import sources
from ..refusal import Refused
from .build import Workspace, built_tree, tree_of
from .check import passed
from .git import git, releases, version_of

BRANCH = "refs/heads/main"
REMOTE = "origin"
FOR_PROJECTS = ("copier.yml", "template")


def publish(workspace: Workspace, remote: str | None) -> str:
    """Commit and tag the built template, and push both to the remote.

    Nothing is written into build/ before the remote has taken everything.

    Args:
        workspace: what was built from it lies in build/.
        remote: the URL of the remote, which is remembered; None for the one that is remembered, if any.

    Returns:
        The name of the new commit.

    Raises:
        Refused: it was not checked, is no newer version, or changes nothing; or the remote refuses it.
    """
    built_tree(workspace)
    built, tag = workspace.built, workspace.policy.tag
    if not passed(workspace):
        raise Refused("What lies in build/ has not passed the check.", "First: organization check")
    tree = tree_of(built)
    place = _remote(built, remote)
    parent = _parent(built, tag, tree, place)
    title = f"{workspace.policy.organization.name} {tag}"
    commit = git(built, "commit-tree", tree, *(["-p", parent] if parent else []), "-m", title)
    annotation = _annotation(built, commit, tag, title)
    names = ((commit, BRANCH), (annotation, f"refs/tags/{tag}"))
    if place:
        _push(built, tag, parent, names, place)
    git(built, "update-ref", "--stdin", content="".join(f"update {name} {new}\n" for new, name in names).encode())
    git(built, "read-tree", tree)
    return commit


def _remote(built: Path, url: str | None) -> str | None:
    """Return the remote's URL; a path is made absolute, as git asks from inside build/."""
    known = git(built, "remote")
    if url is None:
        return sources.address(git(built, "remote", "get-url", REMOTE)) if REMOTE in known.split() else None
    place = sources.address(url)
    git(built, "remote", *(("set-url",) if known else ("add",)), "--", REMOTE, place)
    return place


def _parent(built: Path, tag: str, tree: str, remote: str | None) -> str | None:
    """Return the commit of the last release, or None before the first.

    Raises:
        Refused: the remote cannot be reached or holds what is no release; or this release is not above the last.
    """
    if remote:
        # Not quiet: a tag that is another at the remote is refused, and git says which.
        git(built, "fetch", "--no-write-fetch-head", "--", remote, "refs/tags/*:refs/tags/*")
    known = releases(git(built, "for-each-ref", "refs/tags"))
    head = _tip(built, remote)
    if not known:
        if head:
            raise Refused(f"The remote's main holds commits, but no release: {remote}", "Take an empty repository.")
        return None
    last = known[-1]
    parent = git(built, "rev-parse", f"refs/tags/{last}^{{commit}}")
    if remote and head not in (parent, None):
        raise Refused(f"The remote's main is not the release {last}: somebody has committed there.", "Take that back.")
    if version_of(tag) <= version_of(last):
        raise Refused(f"{tag} is not above the last release, {last}.", "Raise version in policy.yaml; build and check.")
    if _same(built, parent, tree):
        raise Refused(f"For projects nothing has changed since {last}.", "Publish when something has.")
    return parent


def _tip(built: Path, remote: str | None) -> str | None:
    return git(built, "ls-remote", "--", remote, BRANCH).partition("\t")[0] or None if remote else None


def _same(built: Path, commit: str, tree: str) -> bool:
    return all(
        git(built, "rev-parse", f"{commit}:{part}") == git(built, "rev-parse", f"{tree}:{part}")
        for part in FOR_PROJECTS
    )


def _annotation(built: Path, commit: str, tag: str, title: str) -> str:
    """Make an annotated tag that no name points to yet; a push that fails leaves nothing to clean."""
    author = git(built, "var", "GIT_COMMITTER_IDENT")
    content = f"object {commit}\ntype commit\ntag {tag}\ntagger {author}\n\n{title}\n"
    return git(built, "hash-object", "-t", "tag", "-w", "--stdin", content=content.encode())


def _push(built: Path, tag: str, parent: str | None, names: Iterable[tuple[str, str]], remote: str) -> None:
    """Push commit and tag, both or neither.

    Raises:
        Refused: somebody else was quicker, or the remote refuses.
    """
    try:
        earlier = [f"refs/tags/{known}" for known in releases(git(built, "for-each-ref", "refs/tags"))]
        wanted = [f"{new}:{name}" for new, name in names]
        git(built, "push", "--quiet", "--atomic", "--", remote, *wanted, *earlier)
    except Refused as error:
        taken = git(built, "ls-remote", "--", remote, f"refs/tags/{tag}")
        if taken or _tip(built, remote) != parent:
            what = f"has published {tag}" if taken else "has published"
            raise Refused(
                f"Somebody else {what} in the meantime. Nothing was pushed or tagged.",
                "Raise version in policy.yaml, then build, check and publish again.",
            ) from error
        raise Refused(f"The remote refuses it. Nothing was pushed or tagged. {error.message}") from error
