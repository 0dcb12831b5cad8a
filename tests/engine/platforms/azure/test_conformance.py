"""Azure keeps to the contracts of platforms and of registries: on an emulator, where containers are processes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from twoloops import registry
from twoloops.contracts.registry import Registry
from twoloops.platforms.azure import blobs
from twoloops.platforms.azure.registry import LOGIN, AzureRegistry, tracking_uri

from tests.engine.platforms.conformance import LAST, PlatformConformance
from tests.engine.registries.conformance import Connect, RegistryConformance
from tests.engine.support.project import Project
from tests.support.azure.state import REGION
from tests.support.azure.subscription import EmulatedSubscription

from .conftest import CHOSEN, NAMES


class TestAzure(PlatformConformance):
    """The suite of platforms, on Azure."""


@pytest.mark.usefixtures("runs")
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
