"""MLflow's own registry keeps to the contract of registries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twoloops import registry
from twoloops.contracts.registry import Registry
from twoloops.registry.mlflow import MlflowRegistry, connection

from tests.engine.registries.conformance import Connect, RegistryConformance
from tests.engine.support.project import Project


def test_another_scheme_is_served_by_whoever_registers_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "elsewhere://place")
    monkeypatch.setattr(registry.plugins, "find_any", lambda kind, name: lambda uri, model: (kind, name, uri, model))
    assert registry._registry() == ("registries", "elsewhere", "elsewhere://place", "churn")


def test_the_disk_has_a_version_s_files_before_the_version(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    real = os.fsync

    def fsync(opened: int) -> None:
        synced.add(os.fstat(opened).st_ino)
        real(opened)

    (tmp_path / "model/inner").mkdir(parents=True)
    for name in ("manifest.json", "inner/model.onnx"):
        (tmp_path / "model" / name).write_text(name, encoding="utf-8")
    run_id = registry.log_run({}, {}, {}, {})
    monkeypatch.setattr(os, "fsync", fsync)
    registry.add_files(run_id, {tmp_path / "model": registry.REFITTED})
    with connection(registry.tracking_uri()) as asked:
        kept = Path(asked.get_run(run_id).info.artifact_uri.removeprefix("file://")) / registry.REFITTED
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert {path.stat().st_ino for path in (*files, kept, *(path.parent for path in files))} <= synced


class TestMlflow(RegistryConformance):
    """The suite, on a local file."""

    @pytest.fixture
    def connect(self, project: Project) -> Connect:
        """Return a function that connects."""

        def connect() -> Registry:
            return MlflowRegistry(registry.tracking_uri(), registry.model_name())

        return connect
