"""Fixtures: a project whose inner loop has run, and copies of it to do anything with."""

import os
import shutil
from pathlib import Path

# Small models are fitted fastest by one thread, above all where the machine is shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A job of a flow has these; a test starts without them.
for name in ("PROJECT_STATE", "MLFLOW_TRACKING_URI", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD"):
    os.environ.pop(name, None)

import pytest
from small_project import Project, make_project

from twoloops import params
from twoloops.inner_loop.evaluate import evaluate
from twoloops.inner_loop.prepare import prepare
from twoloops.inner_loop.register import register
from twoloops.inner_loop.train import train
from twoloops.outer_loop.promote import promote


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project whose inner loop has run and whose model is champion; tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    project = make_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        checked = params.load()
        prepare(checked)
        train(checked)
        evaluate(checked)
        # Making the registry takes seconds: later tests begin with a copy of this one.
        shutil.copy("mlflow.db", "empty.db")
        register()
        promote()
    return project


@pytest.fixture
def project(tmp_path: Path, finished: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return a project that has data and a trained, judged model, but nothing registered."""
    folder = tmp_path / "project"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns("mlruns", "registration.json"))
    shutil.move(folder / "empty.db", folder / "mlflow.db")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Project(folder)


@pytest.fixture
def promoted(project: Project, finished: Project) -> Project:
    """Return a project whose model is champion."""
    shutil.copy(finished.folder / "mlflow.db", project.folder / "mlflow.db")
    return project
