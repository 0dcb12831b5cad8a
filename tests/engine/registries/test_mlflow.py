"""MLflow's own registry keeps to the contract of registries."""

from __future__ import annotations

import pytest
from twoloops import registry
from twoloops.contracts.registry import Registry
from twoloops.registry.mlflow import MlflowRegistry

from tests.engine.registries.conformance import Connect, RegistryConformance
from tests.engine.support.project import Project


def test_another_scheme_is_served_by_whoever_registers_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "elsewhere://place")
    monkeypatch.setattr(registry.plugins, "find_any", lambda kind, name: lambda uri, model: (kind, name, uri, model))
    assert registry._registry() == ("registries", "elsewhere", "elsewhere://place", "churn")


class TestMlflow(RegistryConformance):
    """The suite, on a local file."""

    @pytest.fixture
    def connect(self, project: Project) -> Connect:
        """Return a function that connects."""

        def connect() -> Registry:
            return MlflowRegistry(registry.tracking_uri(), registry.model_name())

        return connect
