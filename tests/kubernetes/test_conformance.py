"""Kubernetes keeps to the contract of platforms: on a real API server with the real controllers.

The API server is older than the schedules and the autoscalers of today (1.20). What needs those is seen on the
stand-in, tests/engine/platforms/kubernetes; here, that a cluster which lacks them says so.
"""

from __future__ import annotations

import pytest
from twoloops import registry
from twoloops.errors import ProjectError

from tests.engine.platforms.conformance import PlatformConformance, Subject

# A cluster, and services with models. What the stand-in beside the engine shows, shown on the real thing.
pytestmark = [pytest.mark.slow, pytest.mark.twin]


class TestKubernetes(PlatformConformance):
    """The suite, on Kubernetes."""

    def test_it_follows_a_champion_again_and_again(self, subject: Subject) -> None:
        with pytest.raises(ProjectError, match=r"Scheduling the scoring .*has no such thing") as refused:
            subject.platform.follow_champion(registry.get("1"))
        assert "too old" in refused.value.hint

    def see_scoring(self, subject: Subject) -> None:
        with pytest.raises(ProjectError, match="No version scores"):
            subject.platform.score(print)
