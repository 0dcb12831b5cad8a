"""Projects whose loop has run, for each test a copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.projects import CopyOf, copy_of, install, shared_project
from tests.support.servers import object_store, tracking_server


@pytest.fixture
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> CopyOf:
    """Return a copy of a project whose inner loop has run; of the problem type in `request.param`, if there is one."""
    problem_type = getattr(request, "param", "classification")

    def make(folder: Path) -> None:
        project = install(
            folder, {"problem_type": problem_type, "project_name": "Loop", "serving_mode": "online_and_batch"}
        )
        for words in (["simulate"], ["run"], ["promote"]):
            project.verb(*words)

    return copy_of(shared_project(tmp_path_factory, f"trained-{problem_type}", make), tmp_path / "loop")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Yield the address of a real MLflow server on loopback."""
    with tracking_server(tmp_path) as address:
        yield address


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of an S3 endpoint on loopback that has the bucket `data`."""
    with object_store(tmp_path) as environment:
        yield environment
