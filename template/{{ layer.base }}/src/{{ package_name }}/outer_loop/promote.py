"""The champion alias moves to another version: forward to a challenger, or back."""

from __future__ import annotations

from typing import Any

from .. import ProjectError, registry


def promote(number: str | None = None) -> dict[str, Any]:
    """Make a registered version the champion.

    Args:
        number: the version; without it, the challenger. An older number rolls back.

    Returns:
        The champion before and after.

    Raises:
        ProjectError: there is no challenger, or it was judged against another champion.
    """
    champion, challenger = registry.find(registry.CHAMPION), registry.find(registry.CHALLENGER)
    version = registry.get(number) if number else challenger
    if version is None:
        raise ProjectError("There is no challenger to promote.", hint="Run the verb 'run': it registers a green model.")
    before = champion.number if champion else None
    if version.number == before:
        return {"champion": before, "before": before}
    if number is None and version.tags.get("compared_with") != (before or "none"):
        raise ProjectError(
            f"The challenger, version {version.number}, was compared with champion "
            f"{version.tags.get('compared_with')}, but the champion is now {before or 'none'}.",
            hint="Run the verb 'evaluate' and 'register' again, or name the version to promote it all the same.",
        )
    registry.set_alias(registry.CHAMPION, version)
    if version == challenger:
        # It has won. Were the alias left, `promote` after a rollback would bring it straight back.
        registry.remove_alias(registry.CHALLENGER)
    return {"champion": version.number, "before": before}
