"""The seam of problems holds: a problem that knows no table passes through every loop.

Nothing below asks for anything but what any project asks for: verbs' functions, the registry, the gate, a real
deployment of this machine, scoring, the monitor.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from twoloops import params, plugins, registry
from twoloops.contracts.release import UnfitError
from twoloops.errors import ProjectError
from twoloops.inner_loop.evaluate import evaluate
from twoloops.inner_loop.prepare import prepare
from twoloops.inner_loop.refit import refit
from twoloops.inner_loop.register import register
from twoloops.inner_loop.staleness import staleness
from twoloops.inner_loop.train import train
from twoloops.inner_loop.tune import tune
from twoloops.outer_loop.deploy import DeploymentRun, rollback
from twoloops.outer_loop.invoke import invoke
from twoloops.outer_loop.monitoring.monitor import monitor
from twoloops.outer_loop.predict import predict
from twoloops.platforms import platform
from twoloops.problems import problem
from twoloops.scoring.run import score

from tests.engine.problems.fake import Fake
from tests.engine.support.project import Project

PROBLEM = {
    "__init__": "",
    "parameters": """
from twoloops import ModelSection

class ModelParams(ModelSection):
    strength: float
""",
    "data": """
import json
from pathlib import Path
from twoloops import Frozen, Split

ENTITY, EVENT_TIME, TARGET, PERSONAL = "id", None, "label", []

def load(source):
    return [json.loads(line) for line in Path(source).read_text(encoding="utf-8").splitlines()]

def split(records, share, frozen):
    first = int(len(records) * (1 - share))
    held_out = records[first:]
    return Split(records[:first], held_out, Frozen(split="order", share=share, rows=len(held_out), version="1"))
""",
    "metrics": """
from twoloops import Metric, area_under_roc

METRICS = [Metric("roc_auc", lambda target, scores: area_under_roc(target == 1, scores[:, 1]), "higher")]
SLICES, GROUPS, FAIRNESS = ["group"], [], []

def baseline(signature):
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior")
""",
    "model": """
from twoloops import as_python

def build(section, signature, seed):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=section.strength)

def search_space(trial):
    return {"strength": trial.suggest_float("strength", 0.1, 10.0)}

def export(estimator, signature):
    return as_python(estimator)
""",
}


def records(number: int, seed: int, shift: float = 0.0) -> list[dict[str, Any]]:
    """Return records whose label follows the value, with noise."""
    drawn = np.random.default_rng(seed)
    values = [float(drawn.normal(shift, 1)) for _ in range(number)]
    return [
        {"id": f"r{seed}-{place}", "value": value, "label": int(value + drawn.normal(0, 0.5) > 0), "group": place % 2}
        for place, value in enumerate(values)
    ]


def write(path: str, rows: list[dict[str, Any]]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def fake_project(bare_project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return a project of the fake problem, which another package registers, as an organization's own would."""
    package, installed = bare_project.folder / "src/fakes/problem", bare_project.folder / "installed"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    for name, content in PROBLEM.items():
        (package / f"{name}.py").write_text(content, encoding="utf-8")
    about = installed / "fakes_of_tests-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fakes-of-tests\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[twoloops.problems]\nfake = tests.engine.problems.fake:fake\n")
    root = str(Path(__file__).parents[3])
    places = [str(package.parents[1]), str(installed), root]
    monkeypatch.setattr(sys, "path", [*places, *sys.path])
    monkeypatch.setenv("PYTHONPATH", ":".join(places))
    plugins.forget()
    for name in [name for name in sys.modules if name.split(".")[0] == "fakes"]:
        del sys.modules[name]
    bare_project.configure(package="fakes", problem="fake")
    bare_project.set(
        data__source="data/raw/records.jsonl",
        data__label_days=None,
        model={"strength": 1.0},
        gate__threshold=0.8,
        gate__slice_threshold=0.8,
        gate__maximum_latency_ms=1000.0,
        tune__trials=2,
        tune__folds=2,
        monitor__minimum_rows=200,
        deploy__load_seconds=0.5,
        deploy__maximum_p99_ms=5000.0,
        deploy__canary_seconds=2.0,
        deploy__canary_requests=20,
        deploy__maximum_latency_ratio=50.0,
    )
    write("data/raw/records.jsonl", records(900, 1))
    return bare_project


def inner_loop() -> dict[str, Any]:
    """Run the inner loop, and return the verdict."""
    checked = params.load()
    prepare(checked, new_holdout=True)
    train(checked)
    verdict = evaluate(checked)
    refit(checked)
    register()
    return verdict


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_problem_that_knows_no_table_passes_through_every_loop(fake_project: Project) -> None:
    assert problem.name == "fake"
    verdict = inner_loop()
    assert verdict["verdict"] == "green"
    assert set(verdict["slices"]) == {"group=0", "group=1"}
    assert {rule["rule"] for rule in verdict["rules"]} >= {"threshold", "baseline", "slice", "latency", "parity"}
    card = Path("reports/model_card.md").read_text(encoding="utf-8")
    assert "predicts `label` for one `id`" in card
    assert 0.1 <= tune(params.load())["params"]["strength"] <= 10.0
    with pytest.raises(ProjectError, match="where rows have a time"):
        staleness(params.load())

    # Deployed through both environments, with trials; a second version behind a canary; and back.
    said: list[str] = []
    deploying = DeploymentRun(platform, params.load(), lambda question: True, said.append, lambda line: None)
    try:
        assert deploying.run(None, None)["champion"] == "1"
        assert any("kinds of bad input refused" in line for line in said)
        fake_project.set(model={"strength": 0.2})
        inner_loop()
        assert deploying.run(None, None)["champion"] == "2"
        answered = invoke(
            "data/raw/records.jsonl", None, platform.endpoint("production"), 100, lambda row, why: None, said.append
        )
        assert answered["rows"] == 900
        assert answered["refused"] == 900, "records with a label break the contract of requests"
        write("unlabelled.jsonl", [{"id": each["id"], "value": each["value"]} for each in records(300, 2)])
        answered = invoke(
            "unlabelled.jsonl", Path("answers.jsonl"), platform.endpoint("production"), 100, print, said.append
        )
        assert (answered["answered"], answered["versions"]) == (300, ["2"])
        assert rollback(platform)["champion"] == "1"
    finally:
        for environment in ("staging", "production"):
            platform.stop(environment)

    # Predictions and scoring of tables; bad rows are put aside.
    assert predict("unlabelled.jsonl", Path("predicted.jsonl"))["rows"] == 300
    first = json.loads(Path("predicted.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert set(first) == {"id", "prediction", "probability_0", "probability_1", "model"}
    values = [each["value"] for each in records(1000, 3, shift=4.0)]
    pq.write_table(pa.table({"id": [str(each) for each in range(1001)], "value": [*values, None]}), "scored.parquet")
    summary = score("scored.parquet", "scores", params.load())
    assert (summary["scored"], summary["quarantined"]) == (1000, 1)
    assert summary["rules"] == {"value is missing": 1}

    # The monitor sees the shifted world, and labels that came later.
    write("labels.jsonl", [{"id": str(place), "label": int(value > 4)} for place, value in enumerate(values)])
    found = monitor(params.load(), labels="labels.jsonl")
    checks = {check["name"]: check["state"] for check in found["checks"]}
    assert (checks["data drift"], checks["prediction drift"]) == ("red", "red")
    assert found["performance"]["rows"] == 600, "three windows of 200"
    assert registry.find_in_use().number == "1"


def test_a_red_gate_closes_for_any_problem(fake_project: Project) -> None:
    fake_project.set(gate__threshold=0.9999)
    checked = params.load()
    prepare(checked)
    train(checked)
    assert evaluate(checked)["verdict"] == "red"
    with pytest.raises(ProjectError, match="red"):
        refit(checked)


def test_records_that_break_the_contract_are_refused(fake_project: Project) -> None:
    write("data/raw/records.jsonl", [*records(100, 1), {"id": "x", "value": "many", "label": 1}])
    with pytest.raises(ProjectError, match="value: 'many'"):
        prepare(params.load())


@pytest.mark.slow
def test_what_fails_a_trial_serves_nobody(fake_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial asks the problem what is bad: were bad input taken, the version would not pass."""
    inner_loop()
    monkeypatch.setattr(Fake, "bad_requests", lambda *_: iter([("what is good", {"value": 1.0}, "value")]))
    deploying = DeploymentRun(platform, params.load(), lambda question: True, lambda line: None, lambda line: None)
    try:
        with pytest.raises(UnfitError, match="what is good"):
            deploying.run(None, None)
    finally:
        platform.stop("staging")
