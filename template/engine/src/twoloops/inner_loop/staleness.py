"""How fast a model ages: its quality on the holdout when its training data ended earlier."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.errors import ProjectError
from twoloops.inner_loop.evaluate import primary
from twoloops.inner_loop.report import new_figure, save
from twoloops.inner_loop.train import fit, read_parts
from twoloops.params import Params
from twoloops.paths import paths
from twoloops.problem import data
from twoloops.problems import problem
from twoloops.storage import write_json

AGES = 5
DAY = np.timedelta64(1, "D")


def staleness(params: Params) -> dict[str, Any]:
    """Train on windows of equal length that end earlier and earlier, and judge each on the same holdout.

    Returns:
        The metric by age in days, as in reports/staleness.json; the curve is in reports/plots.

    Raises:
        ProjectError: rows have no event time.
    """
    if data.EVENT_TIME is None:
        raise ProjectError(
            "Ageing can only be studied where rows have a time.", hint="Set EVENT_TIME in problem/data.py."
        )
    metric = primary(params)
    training_records, holdout = read_parts()
    signature = problem.signature()
    target, held_out = problem.target(holdout, signature), problem.encode(holdout, signature)
    times = _times(training_records)
    span = times.max() - times.min()
    window = span // 2
    rows = []
    for step in range(AGES):
        end = times.max() - span // 2 * step // (AGES - 1)
        within = np.flatnonzero((times > end - window - np.timedelta64(1, "us")) & (times <= end))
        estimator = fit(params, problem.take(training_records, within.tolist()), signature)
        value = metric.compute(target, problem.answer(estimator, held_out, signature))
        rows.append({"age_days": round(float((times.max() - end) / DAY), 1), "value": value})
    result = {"metric": metric.name, "window_days": round(float(window / DAY), 1), "ages": rows}
    write_json(paths().reports / "staleness.json", result)
    paths().plots.mkdir(parents=True, exist_ok=True)
    figure, axes = new_figure("How the model ages", "days since the training data ended", metric.name)
    axes.plot([row["age_days"] for row in rows], [row["value"] for row in rows], marker="o")
    save(figure, axes, paths().reports / "staleness.png")
    return result


def _times(records: Any) -> NDArray[np.datetime64]:
    times = problem.times(records)
    if times is None:
        raise ProjectError("The records have no time.", hint="Set EVENT_TIME in problem/data.py.")
    return times
