"""A project whose platform is Kubernetes, as the suite of platforms wants it; on whatever API server there is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from twoloops import config, registry
from twoloops.contracts.release import Release
from twoloops.platforms import kubernetes
from twoloops.platforms.kubernetes import cluster as known
from twoloops.platforms.kubernetes import store
from twoloops.platforms.kubernetes.api import Api, namespaced
from twoloops.platforms.shared import images

from tests.engine.platforms.conformance import Subject
from tests.engine.support.project import RAW, Project, original

from .cluster import Cluster
from .server import StandIn
from .stores import BUCKET, Registry, client

NAME = "churn"
SPACES = {"staging": f"{NAME}-staging", "production": f"{NAME}-production"}
HOME = f"s3://{BUCKET}/{NAME}"
MACHINES = {
    "training": {"cpu": "1", "memory": "1Gi", "disk": "1Gi", "hours": 1},
    "scoring": {"cpu": "1", "memory": "1Gi", "disk": "1Gi", "hours": 1, "schedule": "0 3 * * *"},
    "serving": {
        "staging": {"cpu": "100m", "memory": "512Mi", "least": 1, "most": 1},
        "production": {"cpu": "100m", "memory": "512Mi", "least": 2, "most": 2},
    },
}


def settings(environment: dict[str, str], **changes: Any) -> dict[str, Any]:
    """Return what bootstrap/ leaves to know."""
    roles = ["plan", "train", *(f"{what}/{name}" for what in ("apply", "deploy") for name in SPACES)]
    return {
        "environments": SPACES,
        "tracking_uri": "http://127.0.0.1:9",  # no step of these tests asks the server
        "pod_environment": environment,
        "roles": {role: f"{NAME}-flows/{role.replace('/', '-')}" for role in roles},
        **changes,
    }


def make_ground(admin: Api, environment: dict[str, str]) -> None:
    """Make what infra/bootstrap makes, as far as the verbs meet it."""
    for space in (NAME, *SPACES.values()):
        admin.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
        for account in ("serving", "training", "scoring"):
            body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": space}}
            admin.create(namespaced("v1", "serviceaccounts", space), body)
    settle(admin, environment)


def settle(admin: Api, environment: dict[str, str], **changes: Any) -> None:
    """Write what bootstrap/ leaves, with changes."""
    data = {known.KEY: json.dumps(settings(environment, **changes))}
    metadata = {"name": known.SETTINGS, "namespace": NAME}
    admin.apply(
        namespaced("v1", "configmaps", NAME, known.SETTINGS),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data},
    )
    known.forget()


def table(url: str, image_repository: str, **changes: Any) -> dict[str, Any]:
    """Return [tool.twoloops] of such a project."""
    own = {"cluster": url, "object_store": HOME, "image_repository": image_repository, **changes}
    return {"platform": "kubernetes", "kubernetes": own}


def prepare(folder: Path, pushed: Registry) -> None:
    """Write what such a project has besides, and let the registry have its images."""
    (folder / "infra").mkdir(exist_ok=True)
    (folder / "infra/machines.yaml").write_text(yaml.safe_dump(MACHINES), encoding="utf-8")
    for name in set(images.FILES) - {"pyproject.toml", "params.yaml"}:
        (folder / name).write_text(name, encoding="utf-8")
    pushed.tags |= set(map(images.tag, images.KINDS))


def spoil(release: Release) -> Release:
    """Return a release under whose identity the bucket holds other bytes."""
    identity = "b" * 64
    for name in store.sizes(f"{HOME}/models/{release.identity}"):
        content = store.read_bytes(f"{HOME}/models/{release.identity}/{name}")
        store.upload_bytes(content, f"{HOME}/models/{identity}/{name}")
    return Release(release.version, identity, release.registered_at)


def held_by_another() -> AbstractContextManager[None]:
    """Let somebody else change what runs."""
    return kubernetes.lock("Somebody else's deployment")


def share_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the registry, a file, for a server's."""
    monkeypatch.setattr(registry, "is_shared", lambda: True)


def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until a call returns something true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


@contextmanager
def cleaned() -> Iterator[None]:
    """End what a test has left running."""
    try:
        yield
    finally:
        for name in config.current().environments:
            kubernetes.stop(name)
            kubernetes.remove(name)
        known.forget()


@contextmanager
def subject_on(
    running: Cluster | StandIn,
    promoted: Project,
    link: Path,
    bucket: dict[str, str],
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Subject]:
    """Give what the suite of platforms wants: a project with a champion, on a cluster; end what it leaves.

    Args:
        running: the cluster.
        promoted: the project.
        link: what the images of the cluster hold; it becomes a link to the project.
        bucket: the variables by which the object store is found.
        registry: of the images.
        monkeypatch: of the test.
    """
    running.node.environment = {"PYTHONPATH": str(original("classification") / "src")}
    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig("admin")))
    promoted.configure(**table(running.url, registry.repository))
    client(bucket).upload_file(str(promoted.folder / RAW), BUCKET, "data/rows.parquet")
    promoted.set(score__source=f"s3://{BUCKET}/data/rows.parquet", serve__drain_seconds=0)
    prepare(promoted.folder, registry)
    share_registry(monkeypatch)
    link.unlink()
    link.symlink_to(promoted.folder)
    with cleaned():
        yield Subject(kubernetes, promoted, spoil, held_by_another)
    assert running.node.errors == []
