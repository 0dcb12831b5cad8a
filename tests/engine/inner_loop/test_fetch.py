"""Data comes from where it is kept; only what is called simulated is simulated."""

import subprocess
import sys

import pytest
from twoloops.errors import ProjectError
from twoloops.inner_loop import fetch

from tests.engine.support.project import Project
from tests.engine.support.verbs import call


def test_fetch_simulates_only_what_is_called_simulated(project: Project) -> None:
    assert fetch.fetch("data/raw/rows.parquet") == fetch.HERE
    assert fetch.fetch("s3://bucket/rows.parquet") == fetch.URL
    assert fetch.fetch("data/raw/simulated.parquet") == fetch.SIMULATED
    with pytest.raises(ProjectError, match="not here") as raised:
        fetch.fetch("data/raw/customers.parquet")
    assert "dvc add" in raised.value.hint


def test_fetch_pulls_what_dvc_keeps(project: Project) -> None:
    project.set(data__source="data/raw/rows.parquet")
    subprocess.run(["git", "init", "--quiet"], check=True)
    for words in (["init"], ["remote", "add", "--default", "kept", "kept"], ["add", "data/raw/rows.parquet"], ["push"]):
        subprocess.run([sys.executable, "-m", "dvc", *words, "--quiet"], check=True)
    (project.folder / "data/raw/rows.parquet").unlink()
    told = call("fetch")
    assert told.exit_code == 0, told.output
    assert "from DVC's remote" in told.output
    assert (project.folder / "data/raw/rows.parquet").exists()
