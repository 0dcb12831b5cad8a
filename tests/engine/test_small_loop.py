"""The small loop of a project's own tests: it judges, and touches nothing of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twoloops import ProjectError, config, run_small_loop

from tests.engine.support.project import Project, example_rows


def test_it_ends_with_a_verdict_and_leaves_the_project_as_it_was(
    bare_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    before = sorted(bare_project.folder.rglob("*"))
    verdict = run_small_loop(example_rows(), tmp_path / "loop", gate={"threshold": 0.999})
    assert verdict["verdict"] == "red"
    assert (tmp_path / "loop/artifacts/model/manifest.json").exists()
    assert sorted(bare_project.folder.rglob("*")) == before
    assert config.current().root == bare_project.folder
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9"


def test_it_refuses_what_a_verb_refuses(bare_project: Project, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="the column is missing"):
        run_small_loop(example_rows().drop(columns="plan"), tmp_path / "loop")
    assert Path.cwd() == bare_project.folder
