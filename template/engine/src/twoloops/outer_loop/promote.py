"""The champion alias moves to another version: forward to a challenger, or back to an earlier champion."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from twoloops import params, registry
from twoloops.contracts.platform import Platform
from twoloops.errors import ProjectError
from twoloops.registry import Version

# Tags of a version. The first one tells which champion it followed ("none": no one), and so leads
# back from champion to champion. It is written once: a rollback goes further back, never in a circle.
FOLLOWED = "followed_champion"
ROLLED_BACK = "rolled_back_at"
# Who was champion is also noted where only a deployment into the last environment may write: a tag alone would let
# whoever trains choose what the next rollback brings.
CHAMPIONS = "champions"


def promote(platform: Platform, number: str | None = None) -> dict[str, Any]:
    """Make a registered version the champion.

    Args:
        platform: where the champion is used.
        number: the version; without it, the challenger. An older number rolls back.

    Returns:
        The champion before and after.

    Raises:
        ProjectError: there is no challenger, or it was judged against another champion.
    """
    with platform.lock("A promotion"):  # a deployment moves the same alias
        champion, challenger = registry.find(registry.CHAMPION), registry.find(registry.CHALLENGER)
        version = registry.get(number) if number else challenger
        if version is None:
            raise ProjectError(
                "There is no challenger to promote.", hint="Run the verb 'run': it registers a green model."
            )
        before = champion.number if champion else None
        if number is None and version.number != before:
            check_comparison(version, champion)
        # A version of this machine alone runs nowhere else; a way back is not closed by what was found meanwhile.
        if registry.is_shared() and not _was_champion(platform, version):
            platform.image(params.load().scan)
        make_champion(platform, version, champion)
        return {"champion": version.number, "before": before}


def check_comparison(version: Version, champion: Version | None) -> None:
    """Demand that a version was judged against the champion of today.

    Raises:
        ProjectError: it was judged against another one.
    """
    compared, current = version.tags.get(registry.COMPARED_WITH), champion.number if champion else registry.NONE
    if compared != current:
        raise ProjectError(
            f"Version {version.number} was compared with champion {compared}, but the champion is now {current}.",
            hint="Run the verbs 'evaluate' and 'register' again, "
            f"or name the version to promote it all the same: 'promote {version.number}'.",
        )


def make_champion(platform: Platform, version: Version, champion: Version | None) -> None:
    """Move the champion alias forward to `version`, and note which champion it followed; it may be champion already."""
    platform.follow_champion(version)
    if champion and not platform.records().read(CHAMPIONS):
        _note(platform, champion)  # of a project from before these notes: a rollback may go to it
    _note(platform, version)
    # An earlier champion keeps its own note, or the notes would lead in a circle.
    if champion is None or version.number not in (champion.number, *line_of(champion)):
        registry.set_tag(version, FOLLOWED, champion.number if champion else registry.NONE)
    registry.set_alias(registry.CHAMPION, version)
    challenger = registry.find(registry.CHALLENGER)
    if challenger and challenger.number == version.number:
        # It has won. Were the alias left, `promote` after a rollback would bring it straight back.
        registry.remove_alias(registry.CHALLENGER)


def _was_champion(platform: Platform, version: Version) -> bool:
    """Say whether a deployment has noted that this very artifact is or was champion."""
    return bool(platform.records().read(f"{CHAMPIONS}/{version.tags.get(registry.IDENTITY)}"))


def _note(platform: Platform, version: Version) -> None:
    """Note once that an artifact is champion."""
    if not _was_champion(platform, version):
        identity = version.tags.get(registry.IDENTITY)
        note = {"version": version.number, "identity": identity, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        platform.records().add(f"{CHAMPIONS}/{identity}", note)


def require_champion(platform: Platform, version: Version) -> None:
    """Demand that a version which a tag or the alias names was champion, as it is now.

    A project from before these notes has none. It believes its tags until a champion is noted.

    Raises:
        ProjectError: no deployment has noted that it was.
    """
    if _was_champion(platform, version) or not platform.records().read(CHAMPIONS):
        return
    raise ProjectError(
        f"By the registry, version {version.number} was champion before, but no deployment has noted that.",
        hint="Somebody may have changed the registry's tags. "
        f"Look at the version; 'deploy {version.number}' or 'promote {version.number}' brings it back all the same.",
    )


def previous(version: Version) -> Version | None:
    """Return the champion that this version followed, or None."""
    number = version.tags.get(FOLLOWED, registry.NONE)
    return None if number == registry.NONE else registry.get(number)


def line_of(version: Version) -> list[str]:
    """Return the numbers of the champions that led to this version, the latest first."""
    line: list[str] = []
    before = previous(version)
    while before and before.number not in (version.number, *line):  # a tag changed by hand must not make a circle
        line.append(before.number)
        before = previous(before)
    return line


def reinstate(platform: Platform, version: Version, left: Version) -> None:
    """Move the champion alias back to `version`, and note when `left` was given up."""
    platform.follow_champion(version)
    registry.set_tag(left, ROLLED_BACK, datetime.now(UTC).isoformat(timespec="seconds"))
    registry.set_alias(registry.CHAMPION, version)


def rollback(platform: Platform) -> dict[str, Any]:
    """Make the champion's predecessor champion again.

    Args:
        platform: where the champion is used.

    Returns:
        The champion before and after, and the one that a further rollback would bring.

    Raises:
        ProjectError: there is no champion, or none before it.
    """
    with platform.lock("A rollback"):
        champion, target = find_rollback(platform)
        reinstate(platform, target, champion)
        return rollback_result(target, champion)


def rollback_result(version: Version, left: Version) -> dict[str, Any]:
    """Return what a rollback from `left` to `version` tells."""
    earlier = previous(version)
    return {
        "canary": None,
        "champion": version.number,
        "before": left.number,
        "earlier": earlier.number if earlier else None,
    }


def find_rollback(platform: Platform) -> tuple[Version, Version]:
    """Return the champion and its predecessor.

    Raises:
        ProjectError: there is no champion, or none before it, or what the tags call one never was.
    """
    champion = registry.find(registry.CHAMPION)
    target = previous(champion) if champion else None
    if champion is None or target is None:
        raise ProjectError(
            f"There is no champion before version {champion.number}." if champion else "There is no champion.",
            hint="A rollback goes from a champion to the one before it. 'promote VERSION' takes any version.",
        )
    require_champion(platform, target)
    return champion, target
