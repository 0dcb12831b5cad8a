"""Projects on each code host, and the host around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.trust import arn

from .hosts import HOSTS, CodeHost
from .project import ENVIRONMENTS, begin

TRACKING = "https://mlflow.example.com"
CLOUD = {
    "CLOUD_REGION": "eu-west-1",
    "CLOUD_ROLE_PLAN": arn("ci-plan"),
    "CLOUD_ROLE_TRAIN": arn("ci-train"),
    **{
        f"CLOUD_ROLE_{purpose.upper()}_{name.upper()}": arn(f"{name}--{purpose}")
        for name in ENVIRONMENTS
        for purpose in ("apply", "deploy")
    },
}


def _serve(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, **answers: Any
) -> Iterator[CodeHost]:
    """Yield a host whose settings `bootstrap` has made, around a project whose verbs are played."""
    folder = tmp_path_factory.mktemp(request.param)
    project = begin(folder / "churn", request.param, **answers)
    with HOSTS[request.param].around(project) as host:
        # A push that brings a change of the model: rules look at what it changes.
        project.set(gate__confidence=0.9)
        known = {"MLFLOW_TRACKING_URI": TRACKING, "PROJECT_STATE": str(project.state)}
        host.set_up(**known, **(CLOUD if project.on_a_cloud else {}))
        yield host


@pytest.fixture(scope="module", params=HOSTS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeHost]:
    """Yield each host around a project that runs on this machine; tests leave it as it is."""
    yield from _serve(request, tmp_path_factory)


@pytest.fixture(scope="module", params=HOSTS)
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeHost]:
    """Yield each host around a project on a cloud; tests leave it as it is."""
    yield from _serve(request, tmp_path_factory, infrastructure="aws", serving_mode="online_and_batch")


@pytest.fixture(scope="module", params=HOSTS)
def batch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeHost]:
    """Yield each host around a project that scores tables on this machine."""
    yield from _serve(request, tmp_path_factory, serving_mode="batch")
