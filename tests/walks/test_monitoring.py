"""The monitor of rendered projects: no false alarms, no missed ones, and a loop that closes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.projects import Installed
from tests.support.traffic import TRAFFIC
from tests.support.twins import twins

pytestmark = pytest.mark.slow


def traffic(project: Installed, rows: int, seed: int, drift: float) -> None:
    project.run("python", "-c", TRAFFIC, str(rows), str(seed), str(drift))


def monitor(project: Installed, *words: str, code: int) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(project.verb("monitor", "--json", *words, code=code).stdout)
    return result


def red(result: dict[str, Any]) -> set[str]:
    return {check["name"] for check in result["checks"] if check["state"] == "red"}


# In CI the demonstration closes it: test_demo.py.
@pytest.mark.twin
def test_the_loop_closes(trained: Installed) -> None:
    """Drift is injected; the monitor turns red; a retrained model passes the gate; the monitor is green again."""
    traffic(trained, 900, 1, 0.0)
    calm = monitor(trained, code=0)
    assert (calm["decision"], calm["model"]["version"], red(calm)) == ("green", "1", set())

    # The world has changed. One red window may be an odd day; two of three are not.
    traffic(trained, 900, 2, 0.9)
    first = monitor(trained, code=0)
    assert (first["window_red"], first["decision"]) == (True, "green")
    assert red(first) == {"data drift", "prediction drift"}
    traffic(trained, 900, 3, 0.9)
    told = trained.verb("monitor", code=3).stdout
    assert "2 of the last 3 windows are red" in told
    assert "monthly_price" in told
    assert "uv run loop retrain" in told

    # New data has come, and with it a challenger that is better in today's world.
    trained.verb("simulate", "--drift", "0.9", "--seed", "4", "--force")
    retrained = trained.verb("retrain", "--reason", "the monitor is red").stdout
    assert "Version 2 is the challenger" in retrained
    verdict = json.loads((trained.folder / "reports/verdict.json").read_text(encoding="utf-8"))
    assert verdict["gains"]["champion"]["low"] > 0, "on the new holdout the new model is better beyond doubt"
    # The graph agrees with what was done, and no second retraining is asked for meanwhile.
    assert "Nothing has changed since the last run" in trained.verb("run").stdout
    assert trained.run("dvc", "repro").stdout.count("didn't change, skipping") == 5
    traffic(trained, 900, 5, 0.9)
    waiting = monitor(trained, code=0)
    assert (waiting["decision"], waiting["retrain"]) == ("red", False)
    assert "cool_down_hours" in trained.verb("retrain", code=1).stderr

    trained.verb("promote")
    traffic(trained, 900, 6, 0.9)
    calm = monitor(trained, code=0)
    assert (calm["decision"], calm["model"]["version"], red(calm)) == ("green", "2", set())
    assert len(calm["timeline"]) == 1, "the old model's windows say nothing about the new one"


def test_a_retraining_without_new_data_says_so(trained: Installed) -> None:
    told = trained.verb("retrain")
    assert "same model as before" in told.stdout
    history = json.loads((trained.folder / "reports/monitoring/history.json").read_text(encoding="utf-8"))
    assert history["retraining"]["outcome"] == "no challenger"


# Runs inside the project, in one process: many windows with and without drift, judged as the monitor does.
ALARMS = """
import json
from twoloops import params
from twoloops.artifact import Predictor
from twoloops.problems.tabular.encoding import encode
from twoloops import drift
from loop.problem.sample import simulate

monitor = params.load().monitor
predictor = Predictor.load("artifacts/shipped")

def alarms(moved):
    found = 0
    for seed in range(200):
        frame = simulate(monitor.minimum_rows, 1000 + seed, moved)
        matrix = encode(frame, predictor.signature.features)
        scores = predictor.score_inputs(matrix)
        found += bool(drift.compare(matrix, scores, predictor.layout, predictor.reference, monitor).drifted)
    return found

print(json.dumps({"without": alarms(0.0), "with": alarms(0.5)}))
"""


@pytest.mark.parametrize("trained", ["classification", *twins(["regression"])], indirect=True)
def test_there_are_no_false_alarms_and_none_is_missed(trained: Installed) -> None:
    """Of 200 of the smallest windows: without drift none is red, with half of the simulator's drift all are."""
    found = json.loads(trained.run("python", "-c", ALARMS).stdout)
    assert found["without"] <= 2  # 1 %: monitor.significance, for all features together
    assert found["with"] == 200


SPEED = """
import json, time
import numpy as np
import scipy.spatial.distance, scipy.stats
from twoloops import params
from twoloops import drift, reference
from twoloops.contracts.watched import Layout, Watched

random = np.random.default_rng(0)
matrix = random.normal(size=(100_000, 20)).astype(np.float32)
scores = random.uniform(size=(100_000, 2))
layout = Layout(tuple(Watched(f"f{place}") for place in range(20)), ("0", "1"))
known = reference.describe(matrix, layout.watched, scores, layout.outputs)
start = time.process_time()  # another program's turns on the same core do not count
drift.compare(matrix, scores, layout, known, params.load().monitor)
print(json.dumps(time.process_time() - start))
"""


def test_a_hundred_thousand_rows_take_less_than_a_second(trained: Installed) -> None:
    assert json.loads(trained.run("python", "-c", SPEED).stdout) < 1.0


def test_a_killed_monitor_counts_for_nothing(trained: Installed) -> None:
    """Killed at each file that it writes, the monitor judges the same window when it runs again."""
    traffic(trained, 600, 1, 0.9)
    for written in ("report.json", "index.html", "monitor.prom", "history.json"):
        code = f"""
import os
from twoloops import storage
replacing = storage.replacing
def killed(target):
    if target.name == {written!r}:
        os.kill(os.getpid(), 9)
    return replacing(target)
from twoloops import textfile
from twoloops.outer_loop.monitoring import monitor
storage.replacing = monitor.replacing = textfile.replacing = killed
from twoloops import params
monitor.monitor(params.load())
"""
        trained.run("python", "-c", code, code=None)
        assert not (trained.folder / "reports/monitoring/history.json").exists()
    assert monitor(trained, code=0)["window"]["rows"] == 600
