"""How fast a model ages: its quality on the holdout when its training data ended earlier."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.errors import ProjectError
from twoloops.inner_loop import folds
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
LEAST_SPAN = 2 * (AGES - 1) * DAY  # the oldest window ends half of it earlier, in steps of a day


def unsuitable() -> str:
    """Return why age cannot be told here, or nothing.

    With a split by group the holdout is not newer than the training rows: all ages would be judged on the same time.
    """
    if data.EVENT_TIME is None:
        return "it can only be where rows have a time (EVENT_TIME in problem/data.py)."
    if paths().frozen_holdout.exists() and not folds.by_time():
        return "the holdout is split off by group, so it is not newer than the rows that models are fitted on."
    return ""


def staleness(params: Params) -> dict[str, Any]:
    """Train on windows of equal length that end earlier and earlier, and judge each on the same holdout.

    Returns:
        The metric by age in days, as in reports/staleness.json; the curve is in reports/plots.

    Raises:
        ProjectError: `unsuitable` says why, or the training rows span too few days.
    """
    if why := unsuitable():
        raise ProjectError(f"Ageing cannot be studied: {why}", hint="Rows need a time, and a split by time.")
    metric = primary(params)
    training_records, holdout = read_parts()
    signature = problem.signature()
    target, held_out = problem.target(holdout, signature), problem.encode(holdout, signature)
    times, trained_on = _times(training_records), problem.target(training_records, signature)
    span = times.max() - times.min()
    if span < LEAST_SPAN:
        raise ProjectError(
            f"The training rows span {span / DAY:,.1f} days; ages of whole days need {LEAST_SPAN / DAY:,.0f}.",
            hint="Come back when the table is longer.",
        )
    window = span // 2
    rows = []
    for step in range(AGES):
        end = times.max() - span // 2 * step // (AGES - 1)
        within = np.flatnonzero((times > end - window - np.timedelta64(1, "us")) & (times <= end))
        if not folds.with_every_class([(within, within)], trained_on):
            raise ProjectError(
                f"Of {window / DAY:,.0f} days that end at {np.datetime64(end, 'D')} not every class has a row.",
                hint="Come back when there are more rows of the rarest class.",
            )
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
