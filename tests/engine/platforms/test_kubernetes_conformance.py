"""Kubernetes keeps to the contract of platforms: on the stand-in for a cluster, with services that have models.

tests/kubernetes has the suite on a real API server, which is too old for schedules: those are seen here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twoloops import registry as versions

from tests.engine.platforms.conformance import PlatformConformance, Subject
from tests.engine.support.project import Project, original
from tests.support.kubernetes import stores
from tests.support.kubernetes import subject as own
from tests.support.kubernetes.server import StandIn, stand_in

pytestmark = pytest.mark.slow  # services with models


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    with stores.bucket() as found:
        yield found


@pytest.fixture(scope="module")
def registry() -> Iterator[stores.Registry]:
    with stores.registry() as found:
        yield found


@pytest.fixture
def link(tmp_path: Path) -> Path:
    """Return a link to the project that images hold."""
    path = tmp_path / "image"
    path.symlink_to(original("classification"))
    return path


@pytest.fixture
def running(tmp_path: Path, link: Path, bucket: dict[str, str]) -> Iterator[StandIn]:
    with stand_in(tmp_path / "cluster", link) as found:
        own.make_ground(found.admin, bucket)
        yield found


@pytest.fixture
def subject(
    promoted: Project,
    link: Path,
    running: StandIn,
    bucket: dict[str, str],
    registry: stores.Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Subject]:
    with own.subject_on(running, promoted, link, bucket, registry, monkeypatch) as found:
        yield found


@pytest.mark.twin
class TestKubernetes(PlatformConformance):
    """The suite, on the stand-in."""


def test_a_schedule_follows_champions_and_scores(subject: Subject) -> None:
    for _ in range(2):
        subject.platform.follow_champion(versions.get("1"))
    subject.platform.stop("production")
    PlatformConformance().see_scoring(subject)
