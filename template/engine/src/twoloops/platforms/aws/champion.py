"""What the platform does when another version becomes champion."""

from __future__ import annotations

from twoloops import config
from twoloops.platforms.aws import packages, scoring
from twoloops.registry import Version


def make_ready(version: Version) -> None:
    """Let the platform follow a version that is about to become champion; may be repeated.

    Args:
        version: forward from a challenger, or back to an earlier champion.
    """
    if packages.is_shared():
        packages.approve(version)
        if config.current().batch:
            scoring.schedule(version)
