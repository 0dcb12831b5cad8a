"""Paths are a value of the current project: nothing is fixed when a module is imported."""

from pathlib import Path

import pytest
from twoloops.errors import ProjectError
from twoloops.paths import STATE_VARIABLE, paths

from tests.engine.support.configuration import configure


def test_they_are_relative_in_the_projects_folder_and_absolute_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert paths().params == Path("params.yaml")
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path / "src")
    assert paths().params == tmp_path / "params.yaml"


def test_the_state_lies_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert not paths().lasts
    assert paths().database == Path("mlflow.db")
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    assert paths().lasts
    state = {paths().database, paths().mlruns, paths().captures, paths().deployments, paths().history}
    assert all(path.is_relative_to(tmp_path / "state") for path in state)
    # What a commit holds, or a job makes anew, is beside params.yaml all the same.
    assert not any(path.is_absolute() for path in (paths().params, paths().model, paths().reports, paths().train))


def test_two_projects_in_one_process_have_each_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        configure(tmp_path / name)
    found = []
    for name in ("one", "two"):
        (tmp_path / name / "docs").mkdir()
        monkeypatch.chdir(tmp_path / name / "docs")
        found.append(paths().database)
    assert found == [tmp_path / "one/mlflow.db", tmp_path / "two/mlflow.db"]


def test_without_a_project_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match="There is no project"):
        paths()
