"""Azure keeps to the contracts of platforms and of registries: on an emulator, where containers are processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from twoloops import registry
from twoloops.contracts.registry import Registry
from twoloops.contracts.release import Release
from twoloops.platforms import azure
from twoloops.platforms.azure import account, blobs, endpoints
from twoloops.platforms.azure.registry import LOGIN, AzureRegistry, tracking_uri
from twoloops.platforms.shared import images
from twoloops.platforms.shared.infrastructure import role_names

from tests.engine.platforms.conformance import LAST, PlatformConformance, Subject
from tests.engine.registries.conformance import Connect, RegistryConformance
from tests.engine.support.project import RAW, Project
from tests.support.azure.state import REGION
from tests.support.azure.subscription import EmulatedSubscription

from .conftest import CHOSEN, MACHINES, NAMES


@pytest.fixture
def subject(
    promoted: Project, link: Path, logged_in: EmulatedSubscription, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Subject]:
    """Return a project whose platform is Azure. Its registry is a file, and taken for a server's."""
    promoted.configure(platform="azure", azure=CHOSEN)
    for name in set(images.FILES) - {"pyproject.toml", "params.yaml"}:
        (promoted.folder / name).write_text(name, encoding="utf-8")
    (promoted.folder / "infra").mkdir()
    (promoted.folder / "infra/machines.yaml").write_text(MACHINES, encoding="utf-8")
    blobs.upload(promoted.folder / RAW, f"{NAMES.home}/data/rows.parquet")
    promoted.set(score__source=f"{NAMES.home}/data/rows.parquet")
    roles = {
        NAMES.identity(*account.flow_identity(role)): f"00000000-0000-0000-0001-{number:012}"
        for number, role in enumerate(role_names())
    }
    logged_in.tell(resources={path: {"properties": {"clientId": client}} for path, client in roles.items()})
    tags = {images.tag(kind): f"sha256:{kind.ljust(64, '0')}" for kind in images.KINDS}
    logged_in.tell(images={f"{NAMES.registry}.azurecr.io/churn": tags})
    link.unlink()
    link.symlink_to(promoted.folder)
    monkeypatch.setattr(registry, "is_shared", lambda: True)
    monkeypatch.setattr(endpoints, "COUNTED_SECONDS", 0.3)

    def spoil(release: Release) -> Release:
        logged_in.control(fail_next=["ResourceNotReady", "User container has crashed or terminated."])
        return release

    yield Subject(azure, promoted, spoil, held_by_another())
    for name in NAMES.environments:
        azure.stop(name)


def held_by_another() -> Callable[[], AbstractContextManager[None]]:
    """Return what lets somebody else hold the lock for a while."""

    @contextmanager
    def hold() -> Iterator[None]:
        lease = blobs.blob(f"{NAMES.home}/locks/deployment").acquire_lease(15)
        yield
        lease.release()

    return hold


class TestAzure(PlatformConformance):
    """The suite of platforms, on Azure."""


class TestRegistry(RegistryConformance):
    """The suite of registries, on Azure ML's."""

    @pytest.fixture
    def connect(
        self, project: Project, logged_in: EmulatedSubscription, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Connect]:
        """Return a function that connects. The workspace keeps runs and versions, as Azure ML does."""
        project.configure(platform="azure", azure=CHOSEN)
        uri = tracking_uri(NAMES)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

        def connect() -> Registry:
            return AzureRegistry(uri, "churn")

        yield connect
        os.environ.pop(LOGIN, None)
        blobs.remove(f"{NAMES.home}/models/registry")
        logged_in.tell(remove=[f"{NAMES.workspace()}/models/churn/"])

    def test_runs_are_the_workspace_s(self, connect: Connect, logged_in: EmulatedSubscription) -> None:
        logged_in.tell(forget=True)
        registry.log_run({"a": 1}, {"score": 0.5}, {"holdout_version": "h", "model_identity": "x"}, {})
        asked = [each["action"] for each in logged_in.tell()["calls"] if each["who"] == "mlflow"]
        assert "POST /api/2.0/mlflow/runs/create" in asked
        assert "POST /api/2.0/mlflow/runs/log-batch" in asked
        assert registry.count_models("holdout_version", "h", "another") == 1
        assert registry.is_shared()
        assert registry.lasts()
        assert os.environ[LOGIN] == "azureml", "by which MLflow's client finds who adds the login"


def test_a_workspace_is_its_own_mlflow_server() -> None:
    found = AzureRegistry(tracking_uri(NAMES), "churn")
    assert found.server == f"https://{REGION}.api.azureml.ms/mlflow/v2.0{NAMES.workspace()}"
    assert LAST in NAMES.environments
