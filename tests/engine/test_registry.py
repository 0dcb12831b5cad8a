"""Where models are registered."""

import pytest
from twoloops import registry

from tests.engine.support.project import Project


def test_another_registry_gets_the_model_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.place() == "beside params.yaml"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert registry.place() == "beside params.yaml"
    places = set()
    for login in ("one", "another"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://{login}@registry.invalid")
        places.add(registry.place())
    assert len(places) == 1
    assert "beside params.yaml" not in places
