"""GitLab."""

from __future__ import annotations

from types import ModuleType

from twoloops.hosts.gitlab.host import (
    NAME,
    add_summary,
    base,
    change,
    close_issue,
    comment,
    find_issue,
    from_fork,
    in_flow,
    open_issue,
    propose,
    run_url,
    set_output,
    start,
    update_issue,
)
from twoloops.hosts.gitlab.identity import identifiers, token

__all__ = [
    "NAME",
    "add_summary",
    "base",
    "change",
    "close_issue",
    "comment",
    "find_issue",
    "from_fork",
    "identifiers",
    "in_flow",
    "open_issue",
    "propose",
    "run_url",
    "set_output",
    "setup",
    "start",
    "token",
    "update_issue",
]


def setup() -> ModuleType:
    """Return what changes the settings of GitLab."""
    from twoloops.hosts.gitlab import setup as room

    return room
