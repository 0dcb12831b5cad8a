"""The branch that an update comes on: its name, whether it is free, and how it is checked out without a loss."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..git import git, items
from ..refusal import Refused

# Stands in the message of every commit that an update makes: one without it is a person's.
MARK = "Template-Update:"
SHOWN = 5  # paths in a message; more say less


def name_of(version: str, inside: str = "") -> str:
    """Return the branch of an update: each project of a repository has its own.

    Args:
        version: the version that it brings, such as "0.2.0".
        inside: the project's folder in its repository: "" or "models/churn/".
    """
    folder = inside.strip("/")
    if not folder:
        return f"template/{version}"
    plain = "/".join(
        re.sub(r"[^\w.+=-]|\.{2,}|^\.|\.lock$|\.$", "-", part, flags=re.ASCII) for part in folder.split("/")
    )
    if plain != folder:  # git has no such name, and two folders may become alike
        plain += f"-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]}"
    return f"template/{plain}/{version}"


def made_here(project: Path, tip: str) -> bool:
    """Tell whether a commit was made by an update, and so holds nobody's work."""
    return MARK in git(project, "log", "-1", "--format=%B", tip, "--")


def is_free(project: Path, tip: str, commit: str) -> bool:
    """Tell whether a branch with this tip may begin anew at a commit: nobody's work is lost by that."""
    return made_here(project, tip) or not git(project, "rev-list", "-1", tip, f"^{commit}", "--")


def tip_of(project: Path, branch: str) -> str:
    """Return the last commit of a branch of the repository; "" when there is no such branch."""
    return git(project, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}^{{commit}}", accepted=(0, 1))


def require_clean(project: Path) -> None:
    """Refuse a working tree with changes: they are not part of what is merged.

    Raises:
        Refused: it has some, or is no git repository, or one without a commit.
    """
    require_commit(project)
    if git(project, "status", "--porcelain"):
        hint = "Commit or stash them first: git commit, or git stash --include-untracked."
        raise Refused("The working tree has changes that are not committed.", hint=hint)


def require_commit(project: Path) -> None:
    """Refuse a repository without a commit: there is nothing to merge into.

    Raises:
        Refused: it has none, or is no git repository.
    """
    if not git(project, "rev-parse", "--verify", "--quiet", "HEAD", accepted=(0, 1)):
        raise Refused(
            "The repository has no commit yet.", hint='Make the first one: git add . && git commit -m "Begin".'
        )


def require_free(project: Path, branch: str, commit: str, *, here: bool = True) -> None:
    """Refuse a branch that cannot begin at a commit: a person's, one with another's name, or one in use elsewhere.

    Args:
        project: a folder of the repository.
        branch: the branch.
        commit: where it is to begin.
        here: whether it is going to be checked out in this working tree, where it may be checked out now.

    Raises:
        Refused: with the branch that is in the way, and the way out.
    """
    found = tip_of(project, branch)
    if found and not is_free(project, found, commit):
        hint = f"Merge it or go on there (git switch {branch}); git branch -D {branch} gives it up."
        raise Refused(f"The branch {branch} holds commits of yours.", hint=hint)
    others = git(project, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads/").splitlines()
    parents = {"/".join(branch.split("/")[:end]) for end in range(1, branch.count("/") + 1)}
    for other in others:
        if other in parents or other.startswith(f"{branch}/"):
            raise Refused(
                f"git cannot make the branch {branch} beside one that is called {other}.",
                hint=f"Rename that one: git branch -m {other} ANOTHER-NAME.",
            )
    mine = str(Path(git(project, "rev-parse", "--show-toplevel")).resolve()) if here else ""
    for place in worktrees_of(project, branch):
        if str(Path(place).resolve()) != mine:
            raise Refused(
                f"The branch {branch} is checked out in {place}.",
                hint=f"Go to another branch there: git -C {place} switch --detach.",
            )


def worktrees_of(project: Path, branch: str) -> list[str]:
    """Return the working trees in which a branch is checked out."""
    listed = git(project, "worktree", "list", "--porcelain", "-z").split("\0\0")
    entries = [entry.strip("\0").split("\0") for entry in listed]
    return [lines[0].removeprefix("worktree ") for lines in entries if f"branch refs/heads/{branch}" in lines]


def require_room(project: Path, commit: str, *, ignored_only: bool = False) -> None:
    """Refuse a commit that brings files where the working tree has some that git does not know, such as ignored ones.

    git itself would overwrite what it ignores, and nothing could bring that back.

    Args:
        project: a folder of the repository.
        commit: the commit.
        ignored_only: leave out what git does not ignore: where nothing is checked out now, git itself refuses later.

    Raises:
        Refused: with the paths.
    """
    top = Path(git(project, "rev-parse", "--show-toplevel"))
    names = ("diff", "--name-only", "--no-renames", "-z", "--diff-filter=AT", "HEAD", commit, "--")
    added = items(git(top, *names))
    known = set(items(git(top, "ls-files", "-z")))
    lost = sorted(_in_place(top, added, known))
    if lost and ignored_only:
        asked = ("check-ignore", "--stdin", "-z")
        lost = sorted(items(git(top, *asked, accepted=(0, 1), given="\0".join(lost))))
    if lost:
        listed = ", ".join(lost[:SHOWN]) + (f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else "")
        raise Refused(
            f"The new version brings files where you have others that git does not know: {listed}.",
            hint="They would be lost. Move them elsewhere, or commit them (git add --force), and begin again.",
        )


def _in_place(top: Path, added: Iterable[str], known: set[str]) -> set[str]:
    """Return what git does not know and would be overwritten by files at these paths."""
    lost = set()
    for path in added:
        for place in (*reversed([each.as_posix() for each in Path(path).parents][:-1]), path):
            target = top / place
            if not os.path.lexists(target):
                break
            if target.is_symlink() or not target.is_dir():
                if place not in known:
                    lost.add(place)
                break
        else:  # a folder stands where the file would come
            inside = (Path(folder, name) for folder, _, names in os.walk(top / path) for name in names)
            lost |= {name for each in inside if (name := each.relative_to(top).as_posix()) not in known}
    return lost


def switch_to(project: Path, branch: str, commit: str) -> None:
    """Let a branch begin at a commit that was made here, and check it out; or touch nothing.

    Raises:
        Refused: the working tree has changes or files that would be lost, or the branch cannot begin there.
    """
    require_ready(project, branch, commit)
    found = tip_of(project, branch)
    if found:
        git(project, "switch", "--quiet", "--no-overwrite-ignore", "--force-create", branch, commit)
        return
    # The name first: where git refuses it, the working tree is as it was.
    git(project, "branch", "--no-track", "--", branch, commit)
    try:
        git(project, "switch", "--quiet", "--no-overwrite-ignore", branch)
    except Refused:
        git(project, "branch", "--quiet", "--delete", "--force", "--", branch)
        raise


def require_ready(project: Path, branch: str, commit: str) -> None:
    """Refuse what `switch_to` would refuse.

    Raises:
        Refused: see there.
    """
    require_clean(project)
    require_free(project, branch, commit)
    require_room(project, commit)
