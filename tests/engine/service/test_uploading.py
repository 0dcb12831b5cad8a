"""Captures on their way to an object store: here a folder that is addressed as one."""

from pathlib import Path
from typing import Any

import obstore
import pandas as pd
import pytest
from twoloops import params
from twoloops.service import server, uploading
from twoloops.service.capture import Capture
from twoloops.service.metrics import Metrics
from twoloops.service.models import Models

from tests.engine.support.project import Project


class Service:
    """A model, and what captures its answers."""

    def __init__(self, folder: Path, url: str) -> None:
        models = Models(Path("artifacts/model"), params.load().serve.maximum_rows)
        models.start()
        self.model = models.current.stable
        self.metrics = Metrics(lambda: 0)
        kind, place = server._kept_in(url, folder)
        self.capture = kind(place, self.metrics, lambda: self.model, rows=10, seconds=3600.0, days=30)

    def answer(self, rows: int = 1) -> None:
        inputs, entities = self.model.schema.encode(self.model.schema.from_objects([self.model.example] * rows))
        self.capture.add("any", self.model, (entities, entities), inputs, self.model.scores(inputs))
        self.capture.write()

    def dropped(self) -> float:
        return float(self.metrics.captured.labels("dropped")._value.get())


def rows(folder: Path) -> int:
    return sum(len(pd.read_parquet(path)) for path in folder.glob("*.parquet"))


def test_files_go_to_the_store_and_not_to_the_disk(project: Project, tmp_path: Path) -> None:
    store, disk = tmp_path / "store", tmp_path / "disk"
    store.mkdir()
    service = Service(disk, f"file://{store}")
    service.answer(2)
    service.answer()
    service.capture.stop()
    assert rows(store) == 3
    assert not list(disk.glob("*"))


def test_a_store_that_refuses_is_tried_again(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, disk = tmp_path / "store", tmp_path / "disk"
    store.mkdir()
    service = Service(disk, f"file://{store}")
    monkeypatch.setattr(uploading, "WAITING_FILES", 2)

    def refuse(*_: Any) -> None:
        raise OSError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(obstore, "put", refuse)
        for _ in range(4):
            service.answer()
    assert capsys.readouterr().err.count("captures cannot be uploaded") == 1
    assert rows(disk) == 2
    assert service.dropped() == 2
    service.answer()
    assert "uploaded again" in capsys.readouterr().err
    assert (rows(store), rows(disk)) == (3, 0)
    service.capture.stop()


def test_a_folder_is_one(tmp_path: Path) -> None:
    assert server._kept_in(None, tmp_path) == (Capture, tmp_path)
    assert server._kept_in("other", tmp_path) == (Capture, Path("other"))
