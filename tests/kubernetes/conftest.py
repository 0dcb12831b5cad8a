"""What the tests against a real API server share: a cluster, what lies beside it, and a project on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twoloops.platforms import kubernetes

from tests.engine.conftest import *  # noqa: F403 - projects with a champion
from tests.engine.platforms.conformance import Subject
from tests.engine.support.project import RAW, Project, original
from tests.support.kubernetes import stores
from tests.support.kubernetes import subject as own
from tests.support.kubernetes.cluster import Cluster, cluster


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    with stores.bucket() as found:
        yield found


@pytest.fixture(scope="module")
def registry() -> Iterator[stores.Registry]:
    with stores.registry() as found:
        yield found


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a link to the project that images hold."""
    path = tmp_path_factory.mktemp("images") / "project"
    path.symlink_to(original("classification"))
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, link: Path, bucket: dict[str, str]) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster"), link, {"deploy": own.DEPLOYER}) as found:
        found.node.environment = {"PYTHONPATH": str(original("classification") / "src")}
        own.make_ground(found.admin, bucket)
        yield found


@pytest.fixture
def subject(
    promoted: Project,
    link: Path,
    running: Cluster,
    bucket: dict[str, str],
    registry: stores.Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Subject]:
    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig("admin")))
    promoted.configure(**own.table(running.url, registry.repository))
    stores.client(bucket).upload_file(str(promoted.folder / RAW), stores.BUCKET, "data/rows.parquet")
    promoted.set(score__source=f"s3://{stores.BUCKET}/data/rows.parquet", serve__drain_seconds=0)
    own.prepare(promoted.folder, registry)
    own.share_registry(monkeypatch)
    link.unlink()
    link.symlink_to(promoted.folder)
    with own.cleaned():
        yield Subject(kubernetes, promoted, own.spoil, own.held_by_another)
    assert running.node.errors == []
