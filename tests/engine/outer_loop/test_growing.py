"""A table grows into a new world: the monitor is red, a retraining ships what has learned it, the monitor is green."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.metrics import log_loss
from twoloops import params, registry
from twoloops.artifact import Predictor
from twoloops.inner_loop.evaluate import evaluate
from twoloops.inner_loop.prepare import prepare
from twoloops.inner_loop.refit import refit
from twoloops.inner_loop.register import register
from twoloops.inner_loop.train import train
from twoloops.outer_loop.monitoring.monitor import monitor
from twoloops.outer_loop.promote import promote
from twoloops.outer_loop.retrain import retrain
from twoloops.platforms import platform
from twoloops.problem import data
from twoloops.problems import problem

from tests.engine.support.project import RAW, Project, signature_of
from tests.engine.support.verbs import call


def test_a_table_that_grows_into_a_new_world_is_learned(promoted: Project) -> None:
    checked = promoted.set(monitor__minimum_rows=500, monitor__red_windows=1, monitor__windows=1)
    new_world = Path("new.parquet")
    assert call("simulate", str(new_world), "--rows=1500", "--drift=1", "--seed=8").exit_code == 0
    first = Predictor.load(registry.find_in_use().uri)

    def ask() -> dict[str, Any]:
        assert call("score", str(new_world), "scored", "--force").exit_code == 0
        return monitor(checked)

    assert ask()["decision"] == "red"
    rows = len(promoted.rows())
    assert call("simulate", RAW.as_posix(), "--rows=600", "--drift=1", "--seed=9", "--append").exit_code == 0
    grown = promoted.rows()
    assert len(grown) == rows + 600
    assert grown[data.ENTITY].is_unique
    assert grown[data.EVENT_TIME].is_monotonic_increasing

    def run() -> None:
        prepare(checked, new_holdout=True)
        train(checked)
        evaluate(checked)
        refit(checked)
        register()

    done = retrain(run, lambda: None, params.load(), reason="drift", force=False)
    promote(platform, done["challenger"])
    shipped, judged = Predictor.load(registry.find_in_use().uri), Predictor.load("artifacts/model")
    test = problem.labelled(problem.check(pd.read_parquet(new_world), "the new world"))
    target = problem.target(test, signature_of(shipped))
    losses = [float(log_loss(target, each.scores(test)[:, 1])) for each in (shipped, judged, first)]
    assert losses[0] < min(losses[1:]), "what is shipped knows the newest rows; what was judged nearly none of them"
    told = ask()
    assert (told["decision"], told["window_red"]) == ("green", False), told["checks"]
