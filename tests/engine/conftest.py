"""Fixtures of the engine's tests: projects in which to call it, from a bare one to one with a champion."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Small models are fitted fastest by one thread, above all where the machine is shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import dvc  # noqa: F401 - its log keeps the streams of the moment in which it is loaded: not those of one test
import pytest
from filelock import FileLock
from twoloops import config, paths
from twoloops.platforms import platform

from tests.engine.support.project import PACKAGES, Project, begin_project, lay_out, open_gate, original

# A job of a flow has these, and a developer may; a test starts without them.
FOREIGN = (config.VARIABLE, paths.STATE_VARIABLE, "MLFLOW_TRACKING_URI", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker by which a test runs for every problem type; any other runs for classification."""
    config.addinivalue_line("markers", "each_problem_type: runs in a project of each problem type")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for it, and uses a project, once a problem type."""
    asked = metafunc.definition.get_closest_marker("each_problem_type")
    if asked and "problem_type" in metafunc.fixturenames:
        metafunc.parametrize("problem_type", PACKAGES, indirect=True)


@pytest.fixture(autouse=True)
def _own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the variables of a flow's job."""
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def problem_type(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the problem type of this test's projects, whose package every process of the test can import."""
    name: str = getattr(request, "param", "classification")
    monkeypatch.setenv("PYTHONPATH", str(original(name) / "src"))
    return name


@pytest.fixture
def bare_project(problem_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return a project, the working folder, with configuration and parameters, and neither data nor model."""
    project = begin_project(tmp_path / "project", problem_type)
    monkeypatch.chdir(project.folder)
    return project


@pytest.fixture
def laid_out(problem_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Project]:
    """Return what lays out a whole project for answers and makes it the working folder: all files but the engine's."""

    def make(**answers: Any) -> Project:
        folder = tmp_path / "project"
        shutil.rmtree(folder, ignore_errors=True)
        lay_out(folder, {"problem_type": problem_type, **answers})
        monkeypatch.chdir(folder)
        return Project(folder)

    return make


@pytest.fixture
def finished(problem_type: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return a project, the working folder, whose inner loop has run and whose model is champion; tests only read it.

    One process makes it, and all use it.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / f"finished-{problem_type}"
    with FileLock(f"{folder}.lock"):
        if not (root / f"{folder.name}.made").exists():
            _finish(folder, problem_type)
            (root / f"{folder.name}.made").touch()
    monkeypatch.chdir(folder)
    return Project(folder)


def _finish(folder: Path, problem_type: str) -> None:
    from twoloops.inner_loop.evaluate import evaluate
    from twoloops.inner_loop.prepare import prepare
    from twoloops.inner_loop.refit import refit
    from twoloops.inner_loop.register import register
    from twoloops.inner_loop.train import train
    from twoloops.outer_loop.promote import promote

    shutil.rmtree(folder, ignore_errors=True)  # of a try that failed
    project = begin_project(folder, problem_type)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        checked = open_gate(project)
        prepare(checked)
        train(checked)
        evaluate(checked)
        refit(checked)
        # Making the registry takes seconds: later tests begin with a copy of this one.
        shutil.copy("mlflow.db", "empty.db")
        register()
        promote(platform)


@pytest.fixture
def project(finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return a project, the working folder, that has data and a trained, judged model, but nothing registered."""
    folder = tmp_path / "project"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns("mlruns", "registration.json"))
    shutil.move(folder / "empty.db", folder / "mlflow.db")
    monkeypatch.chdir(folder)
    return Project(folder)


@pytest.fixture
def promoted(project: Project, finished: Project) -> Project:
    """Return a project, the working folder, whose model is champion."""
    shutil.copy(finished.folder / "mlflow.db", project.folder / "mlflow.db")
    return project
