"""Kubernetes keeps to the contract of platforms: on a real API server with the real controllers.

The API server is older than the schedules and the autoscalers of today (1.20); what needs those is in tests/engine.
"""

from __future__ import annotations

import pytest

from tests.engine.platforms.conformance import PlatformConformance, Subject

pytestmark = pytest.mark.slow  # a cluster, and services with models


class TestKubernetes(PlatformConformance):
    """The suite, on Kubernetes."""

    def test_it_follows_a_champion_again_and_again(self, subject: Subject) -> None:
        pytest.skip("this API server has no CronJob of batch/v1: tests/engine has it")

    def see_scoring(self, subject: Subject) -> None:
        pytest.skip("this API server has no CronJob of batch/v1: tests/engine has it")
