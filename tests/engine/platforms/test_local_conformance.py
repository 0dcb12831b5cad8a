"""This machine keeps to the contract of platforms: with real services."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest
from twoloops.contracts.release import Release
from twoloops.paths import paths
from twoloops.platforms import local

from tests.engine.platforms.conformance import PlatformConformance, Subject
from tests.engine.support.project import Project


@pytest.fixture
def subject(promoted: Project) -> Subject:
    """Return a project whose platform is this machine."""

    def spoil(release: Release) -> Release:
        (paths().deployments / "models/broken").mkdir(parents=True)
        return Release(release.version, "broken", release.registered_at)

    def held_by_another() -> AbstractContextManager[None]:
        return local.lock("Somebody else's deployment")

    promoted.set(serve__drain_seconds=0)
    return Subject(local, promoted, spoil, held_by_another)


class TestLocal(PlatformConformance):
    """The suite, here."""
