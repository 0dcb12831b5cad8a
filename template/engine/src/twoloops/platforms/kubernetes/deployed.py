"""What deployments have made in an environment, beside its infrastructure: seen, and taken away."""

from __future__ import annotations

from twoloops import config
from twoloops.platforms.kubernetes import scoring, services


def list_deployed(environment: str) -> list[str]:
    """Return in words what is there.

    Args:
        environment: one of the project's.
    """
    found = []
    if config.current().online and services.exists(environment):
        found.append("its service")
    if config.current().batch and scoring.exists(environment):
        found.append("the schedule that scores")
    return found


def stop(environment: str) -> bool:
    """End it, and return whether anything was there.

    Args:
        environment: one of the project's.
    """
    config.current().check_environment(environment)
    there = bool(list_deployed(environment))
    if config.current().online:
        services.stop(environment)
    if config.current().batch:
        scoring.remove(environment)
    return there
