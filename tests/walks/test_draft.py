"""A real table by the one command that drafts a project from it: checked, judged, used."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from commands.rendering import TEMPLATE
from tests.support.projects import commit_all, install

PAGE = " ".join((TEMPLATE / "docs/your-data.md").read_text(encoding="utf-8").split())
COPY = """
import shutil
from importlib.resources import files
shutil.copy(files("palmerpenguins") / "data/penguins.csv", "data/raw/penguins.csv")
"""


@pytest.mark.slow
@pytest.mark.twin  # tests/engine/problems/test_draft.py has the traps; this has the tools and the loops
def test_penguins_from_the_file_to_predictions(tmp_path: Path) -> None:
    project = install(tmp_path / "project", {"project_name": "Penguins"})
    (project.folder / "data/raw").mkdir(parents=True)
    project.run("--with", "palmerpenguins>=0.1.4", "python", "-c", COPY)
    told = project.verb("draft", "data/raw/penguins.csv", "--target", "sex", "--yes").stdout
    lines = [line for line in told.splitlines() if line.startswith(("Suspected", "Drafted"))]
    assert lines
    for line in lines:
        assert line in PAGE, "docs/your-data.md shows what is printed"
    commit_all(project, "Draft")

    assert "All checks passed." in project.verb("check").stdout
    project.verb("run")
    verdict = json.loads((project.folder / "reports/verdict.json").read_text(encoding="utf-8"))
    assert verdict["verdict"] == "green"
    assert verdict["metrics"]["roc_auc"]["value"] > 0.95
    project.verb("promote")
    project.verb("predict", "data/raw/penguins.csv", "out.csv")
    predicted = pd.read_csv(project.folder / "out.csv")
    assert len(predicted) == 344
    assert set(predicted["prediction"]) == {"male", "female"}
