"""params.yaml: what is wrong is named before anything runs."""

from typing import Any

import pytest
from twoloops import doctor, params
from twoloops.errors import ProjectError
from twoloops.inner_loop.evaluate import primary

from tests.engine.support.project import Project


def test_the_projects_own_parameters_are_valid(project: Project) -> None:
    assert params.load().data.source == "data/raw/rows.parquet"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gate__treshold": 1}, ["gate.treshold", "did you mean 'threshold'"]),
        ({"surprise": 1}, ["surprise", "known here", "seed"]),
        ({"split__holdout_share": 1.5}, ["split.holdout_share", "1.5", "less than 1"]),
        ({"data__minimum_rows": "many"}, ["data.minimum_rows", "'many'", "integer"]),
        ({"gate__threshold": float("nan")}, ["gate.threshold", "finite"]),
        ({"data": None}, ["data", "None"]),
        (
            {"data__label_days": 30, "serve__capture_days": 30, "monitor__labels": "labels.csv"},
            ["the file: monitor.labels", "serve.capture_days is 30 and data.label_days 30"],
        ),
    ],
)
def test_a_wrong_key_or_value_is_named(project: Project, change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ProjectError) as raised:
        project.set(**change)
    assert all(word in str(raised.value) for word in words)
    assert raised.value.hint
    assert len(str(raised.value)) < 300


def test_captures_may_be_gone_early_where_nobody_waits_for_labels(project: Project) -> None:
    def told() -> list[str]:
        return [each.text for each in doctor.check_parameters() if each.state == "note"]

    project.set(data__label_days=30, serve__capture_days=31, monitor__labels="labels.csv")
    assert told() == []
    project.set(serve__capture_days=30, monitor__labels=None)
    assert "serve.capture_days is 30 and data.label_days 30" in told()[0]
    project.set(serve__capture=False)
    assert told() == []
    project.set(serve__capture=True, data__label_days=None)
    assert told() == []


def test_a_missing_key_is_named(project: Project) -> None:
    (project.folder / "params.yaml").write_text("seed: 1\n", encoding="utf-8")
    with pytest.raises(ProjectError, match="gate: is missing"):
        params.load()


def test_a_broken_or_missing_file_is_told(project: Project) -> None:
    (project.folder / "params.yaml").write_text("seed: [1\n", encoding="utf-8")
    with pytest.raises(ProjectError, match="not valid YAML"):
        params.load()
    (project.folder / "params.yaml").unlink()
    with pytest.raises(ProjectError, match="There is no params"):
        params.load()


def test_an_unknown_primary_metric_names_the_known_ones(project: Project) -> None:
    checked = project.set(gate__primary_metric="beauty")
    with pytest.raises(ProjectError, match="beauty") as raised:
        primary(checked)
    assert params.load().gate.primary_metric == "beauty"
    assert "problem/metrics.py knows" in raised.value.hint
