"""GitHub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoloops.hosts.github.host import (
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
    set_variable,
    start,
    temporary_folder,
    update_issue,
    variables,
)
from twoloops.hosts.github.identity import identifiers, token

if TYPE_CHECKING:
    from twoloops.contracts.host import Setup

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
    "set_variable",
    "setup",
    "start",
    "temporary_folder",
    "token",
    "update_issue",
    "variables",
]


def setup() -> Setup:
    """Return what changes the settings of GitHub."""
    from twoloops.hosts.github import settings

    return settings
