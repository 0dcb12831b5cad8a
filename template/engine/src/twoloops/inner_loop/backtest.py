"""The recipe's value on earlier origins: one exam is one draw, and several tell how steady the recipe is."""

from __future__ import annotations

from typing import Any

import numpy as np

from twoloops.contracts.signature import Signature
from twoloops.inner_loop import folds, measure
from twoloops.params import Params
from twoloops.problems import problem

MOST_ROWS = 50_000  # that one fit learns from, the newest, and as many that it is judged on: it must not take hours


def backtest(
    params: Params, metric: measure.Metric, records: Any, signature: Signature, *, by_time: bool
) -> dict[str, Any]:
    """Fit the recipe on the rows before each of some days, and judge it on those that came next.

    Args:
        params: the recipe, and `gate.backtest_origins`.
        metric: that decides.
        records: the training records; the holdout is not touched.
        signature: names what goes in.
        by_time: whether the holdout is of the newest rows.

    Returns:
        `origins`: the last day that was fitted, the judged period, rows and value of each; `mean` and `spread` (the
        standard deviation) of the values; `reason` why there are none.
    """
    nothing: dict[str, Any] = {"origins": [], "mean": None, "spread": None}
    times = problem.times(records)
    if params.gate.backtest_origins < 2:  # of one there is no spread
        return nothing | {"reason": f"gate.backtest_origins is {params.gate.backtest_origins}"}
    if times is None or not by_time:
        return nothing | {"reason": "the holdout is not split off by time"}
    inputs, target = problem.encode(records, signature), problem.target(records, signature)
    origins: list[dict[str, Any]] = []
    parted = folds.rolling(times, min(params.gate.backtest_origins, len(records) - 1), params.data)
    for fitted, judged in folds.with_every_class(parted, target):
        known, asked = fitted[-MOST_ROWS:], judged[:MOST_ROWS]
        if not folds.with_every_class([(known, asked)], target):
            continue
        estimator = problem.learn(params, params.model, inputs[known], target[known], signature)
        value = float(metric.compute(target[asked], problem.answer(estimator, inputs[asked], signature)))
        if np.isfinite(value):
            days = [
                str(np.datetime64(each, "D")) for each in (times[known].max(), times[asked].min(), times[asked].max())
            ]
            origins.append(
                dict(zip(("fitted_until", "since", "until"), days, strict=True)) | {"rows": len(asked), "value": value}
            )
    values = [each["value"] for each in origins]
    if len(values) < 2:
        return nothing | {"reason": "too few rows, or too few of each class, before the holdout"}
    return {"origins": origins, "mean": float(np.mean(values)), "spread": float(np.std(values, ddof=1)), "reason": ""}
