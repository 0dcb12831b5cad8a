"""The inner loop on Azure ML: a job of the graph's steps, which registers in the workspace that it runs in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from twoloops import artifact, registry
from twoloops.paths import paths
from twoloops.pipelines import graph
from twoloops.platforms.azure import blobs, rest
from twoloops.platforms.azure.registry import LOGIN, tracking_uri

from tests.engine.platforms.conformance import Subject
from tests.engine.support.project import prepare_graph
from tests.support.azure.subscription import EmulatedSubscription

from .conftest import NAMES, push_images


@pytest.fixture
def registering(
    subject: Subject, logged_in: EmulatedSubscription, runs: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Subject]:
    """Return a project whose registry is the workspace's, in which nothing is registered."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(NAMES))
    prepare_graph(subject.project)
    push_images(logged_in)
    yield subject
    os.environ.pop(LOGIN, None)
    blobs.remove(f"{NAMES.home}/models/registry")
    logged_in.tell(remove=[f"{NAMES.workspace()}/models/churn/"])


@pytest.mark.slow
def test_the_loop_registers_in_the_workspace(registering: Subject) -> None:
    told: list[str] = []
    registering.platform.submit(graph.load(paths().root), told.append)
    steps = [line.partition(":")[0] for line in told if " after " in line]
    assert steps == list(graph.load(paths().root).names)
    version = registry.find(registry.CHALLENGER)
    assert version is not None
    assert version.number == "1"
    assert json.loads(paths().registration.read_text(encoding="utf-8"))["version"] == "1"
    with registry.download(version.uri) as folder:
        assert artifact.identity(folder) == version.tags["model_identity"]
    seen = rest.ask("GET", f"{NAMES.workspace()}/models/churn/versions/1")["properties"]
    assert seen["modelUri"].endswith(f"/datastores/project/paths/models/{version.tags['model_identity']}")
    assert seen["tags"]["verdict"] == "green"
