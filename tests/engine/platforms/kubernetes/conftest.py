"""Each test of Kubernetes begins in a project on a stand-in for a cluster; its services have no model."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from twoloops.contracts.release import Release
from twoloops.platforms.kubernetes import store

from tests.engine.support.configuration import configure
from tests.support.kubernetes import pretending_service_file, stores
from tests.support.kubernetes import subject as own
from tests.support.kubernetes.server import StandIn, stand_in


@pytest.fixture(scope="session")
def bucket() -> Iterator[dict[str, str]]:
    with stores.bucket() as found:
        yield found


@pytest.fixture(scope="session")
def registry() -> Iterator[stores.Registry]:
    with stores.registry() as found:
        yield found


@pytest.fixture
def running(tmp_path: Path, bucket: dict[str, str]) -> Iterator[StandIn]:
    """Return a cluster with what bootstrap/ makes."""
    with stand_in(tmp_path / "cluster", tmp_path) as found:
        found.node.entrypoint = [sys.executable, str(pretending_service_file())]
        own.make_ground(found.admin, bucket)
        yield found
    assert found.node.errors == []


@pytest.fixture
def project(
    tmp_path: Path,
    running: StandIn,
    bucket: dict[str, str],
    registry: stores.Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """Return the working folder: a project on the cluster, whose images are pushed."""
    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig("admin")))
    configure(tmp_path, serving=["online", "batch"], **own.table(running.url, registry.repository))
    for name in ("src", "engine"):
        (tmp_path / name).mkdir()
    (tmp_path / "params.yaml").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    own.prepare(tmp_path, registry)
    with own.cleaned():
        yield tmp_path


@pytest.fixture
def by_kserve(project: Path, running: StandIn, registry: stores.Registry) -> Path:
    """Return the project, whose pods KServe keeps."""
    table = own.table(running.url, registry.repository, serving_platform="kserve")
    configure(project, serving=["online", "batch"], **table)
    own.prepare(project, registry)  # another project, other images
    return project


def make_release(version: str, text: str = "good") -> Release:
    """Put an artifact that says a text into the bucket, and return it as a release."""
    files = {"signature.json": json.dumps({"says": text, "version": version}).encode(), "model.onnx": b"model"}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = json.dumps({"format_version": 1, "files": hashes}).encode()
    identity = hashlib.sha256(manifest).hexdigest()
    for name, content in {**files, "manifest.json": manifest}.items():
        store.upload_bytes(content, f"{own.HOME}/models/{identity}/{name}")
    return Release(version, identity, "2026-01-01T00:00:00+00:00")
