"""How fast a model ages: its quality on the holdout when its training data ended earlier."""

from __future__ import annotations

from typing import Any

from twoloops.errors import ProjectError
from twoloops.inner_loop.evaluate import primary
from twoloops.inner_loop.report import new_figure, save
from twoloops.inner_loop.train import fit, inputs, read_parts
from twoloops.params import Params
from twoloops.paths import paths
from twoloops.problem import data as problem
from twoloops.problems import task
from twoloops.problems.tabular import contract
from twoloops.storage import write_json

AGES = 5


def staleness(params: Params) -> dict[str, Any]:
    """Train on windows of equal length that end earlier and earlier, and judge each on the same holdout.

    Returns:
        The metric by age in days, as in reports/staleness.json; the curve is in reports/plots.

    Raises:
        ProjectError: rows have no event time.
    """
    import pandas as pd

    if problem.EVENT_TIME is None:
        raise ProjectError(
            "Ageing can only be studied where rows have a time.", hint="Set EVENT_TIME in problem/data.py."
        )
    metric = primary(params)
    training_rows, holdout = read_parts()
    signature = contract.signature(problem.CONTRACT, problem, task.NAME)
    target = task.encode_target(holdout[problem.TARGET], signature.classes)
    times = training_rows[problem.EVENT_TIME]
    span = times.max() - times.min()
    window = span / 2
    rows = []
    for step in range(AGES):
        end = times.max() - span / 2 * step / (AGES - 1)
        past = training_rows[(times > end - window - pd.Timedelta(1, "us")) & (times <= end)]
        value = metric.compute(target, task.scores(fit(params, past, signature), inputs(holdout, signature)))
        rows.append({"age_days": round((times.max() - end) / pd.Timedelta(1, "D"), 1), "value": value})
    result = {"metric": metric.name, "window_days": round(window / pd.Timedelta(1, "D"), 1), "ages": rows}
    write_json(paths().reports / "staleness.json", result)
    paths().plots.mkdir(parents=True, exist_ok=True)
    figure, axes = new_figure("How the model ages", "days since the training data ended", metric.name)
    axes.plot([row["age_days"] for row in rows], [row["value"] for row in rows], marker="o")
    save(figure, axes, paths().reports / "staleness.png")
    return result
