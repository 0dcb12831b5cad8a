"""An update that one job merged and another one pushes: whatever ran in the first one, one branch is pushed.

The first job runs the template's command, whose packages nobody here has looked at, and has no login that may write. It
hands over a bundle of git, and what the change is to say. Both are data: they are looked at before anything is pushed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twoloops import git
from twoloops.errors import ProjectError

DOCUMENT: Final = "update.json"
BUNDLE: Final = "update.bundle"
PAGE: Final = "update.md"
BRANCH: Final = re.compile(r"template/[A-Za-z0-9][\w.+=/-]{0,200}", re.ASCII)
COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
TITLE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
MARK: Final = "Template-Update:"  # in the message of every commit that an update makes
HINT: Final = "Nothing was pushed. Run the flow again; if it says the same, look at what the job before has run."


@dataclass(frozen=True)
class Handover:
    """What was handed over, after it was looked at.

    Attributes:
        branch: of the update, such as template/1.0.0.
        commit: its tip, which this repository has now.
        title: of the change.
        body: its text, Markdown.
    """

    branch: str
    commit: str
    title: str
    body: str


def take(folder: Path) -> Handover | None:
    """Look at what was handed over, and bring its commits into this repository; None: there is no update.

    Args:
        folder: has update.json, update.bundle and update.md, as `update-template --bundle` writes them.

    Raises:
        ProjectError: it is not there, or is something else than one branch of an update above this very commit.
    """
    try:
        told = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        if told.get("branch") is None:
            return None
        body = (folder / PAGE).read_text(encoding="utf-8")
    except (OSError, ValueError, AttributeError) as error:
        raise ProjectError(f"{folder} holds no update that was handed over: {error}", hint=HINT) from error
    fields = {"branch": BRANCH, "commit": COMMIT, "title": TITLE}
    wrong = [name for name, form in fields.items() if not form.fullmatch(str(told.get(name)))]
    if wrong:
        raise ProjectError(f"{folder / DOCUMENT} says something else than an update does: {wrong[0]}.", hint=HINT)
    found = Handover(told["branch"], told["commit"], told["title"], body)
    git.demand("check-ref-format", "--branch", found.branch)
    bundle = str((folder / BUNDLE).absolute())
    heads = git.demand("bundle", "list-heads", bundle)
    if heads != f"{found.commit} refs/heads/{found.branch}":
        raise ProjectError(f"{folder / BUNDLE} holds something else than the branch {found.branch}.", hint=HINT)
    safely = ("-c", "fetch.fsckObjects=true", "-c", "transfer.fsckObjects=true")
    git.demand(*safely, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", bundle, f"refs/heads/{found.branch}")
    if git.ask("rev-list", "-1", f"HEAD..{found.commit}") != found.commit:
        raise ProjectError(f"The commit {found.commit[:12]} brings nothing that is new here.", hint=HINT)
    if git.ask("merge-base", "--is-ancestor", "HEAD", found.commit) is None:
        raise ProjectError(f"The commit {found.commit[:12]} does not stand above the one that is here.", hint=HINT)
    return found


def push(update: Handover) -> bool:
    """Push the commit to its branch of the remote `origin`; False: a person has gone on there, it stays as it is.

    Raises:
        ProjectError: the remote cannot be reached, or does not take the branch.
    """
    branch = f"refs/heads/{update.branch}"
    tip = git.demand("ls-remote", "--", "origin", branch).partition("\t")[0]
    if tip:
        git.demand("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", "origin", branch)
        is_ours = MARK in git.demand("log", "-1", "--no-show-signature", "--format=%B", tip, "--")
        if not is_ours and git.demand("rev-list", "-1", tip, f"^{update.commit}", "--"):
            return False
    # Only over the commit that was looked at: somebody may have pushed since.
    lease = f"--force-with-lease={branch}:{tip}"
    git.demand("push", "--quiet", "--no-verify", lease, "--", "origin", f"{update.commit}:{branch}")
    return True
