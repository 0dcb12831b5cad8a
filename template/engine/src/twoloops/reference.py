"""Statistics of the training data, kept in the artifact so that monitoring can tell drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops import drift
from twoloops.contracts.watched import FIRST_CATEGORY, Layout, Watched

BINS = 20


@dataclass(frozen=True)
class Rows:
    """Records that are described: what is watched of them, their scores, whom they are about, and when."""

    values: NDArray[Any]  # shape [records, watched]
    scores: NDArray[np.float64]  # shape [records, outputs]
    entities: NDArray[Any] | None = None  # shape [records]
    times: NDArray[np.datetime64] | None = None  # UTC, shape [records]


def describe(
    values: NDArray[Any],
    watched: Sequence[Watched],
    scores: NDArray[np.float64],
    outputs: Sequence[str],
    entities: NDArray[Any] | None = None,
    times: NDArray[np.datetime64] | None = None,
    history: Rows | None = None,
) -> dict[str, Any]:
    """Return the distribution of each watched column and of each score.

    Args:
        values: of the newest records, shape [records, watched].
        watched: names the columns.
        scores: the model's scores of these, shape [records, outputs].
        outputs: names the scores.
        entities: whom these are about: rows of one entity tell less than as many of different ones.
        times: when these were: then there is a distribution for each weekday.
        history: all records, with times: then there is a distribution for each month too. Their scores are of a model
            that has learned from them; they tell the season, and are compared with beside the others.
    """
    recent = Rows(values, scores, entities, times)
    columns = {each.name: _column(values[:, place], each) for place, each in enumerate(watched)}
    answers = {name: _numbers(scores[:, place]) for place, name in enumerate(outputs)}
    found = {"rows": len(values), "features": columns, "scores": answers}
    layout = Layout(tuple(watched), tuple(outputs))
    if entities is not None:
        tally = drift.count(values, scores, layout, found, entities)
        for about, counts in ((columns, tally.features), (answers, tally.scores)):
            for name, grouped in counts.items():
                about[name]["effective_rows"] = drift.Sample.of_groups(np.asarray(grouped)).rows
    for name, part in (("weekday", recent), ("month", history)):
        if part is None or part.times is None:
            continue
        stratum = drift.strata(part.times)[name]
        for number in range(drift.STRATA[name]):
            inside = stratum == number
            tally = drift.count(part.values[inside], part.scores[inside], layout, found)
            for about, counts in ((columns, tally.features), (answers, tally.scores)):
                for column, ((*counted,),) in counts.items():
                    about[column].setdefault("calendar", {}).setdefault(name, []).append(counted)
    return found


def _column(column: NDArray[Any], watched: Watched) -> dict[str, Any]:
    if watched.categories is None:
        return _numbers(column)
    counts = {str(value): int((column == code).sum()) for code, value in enumerate(watched.categories, FIRST_CATEGORY)}
    return {"counts": counts, "missing": int((column < FIRST_CATEGORY).sum())}


def _numbers(column: NDArray[Any]) -> dict[str, Any]:
    """Describe numbers by bins that each hold as many rows: a shift is then easy to see.

    A value so frequent that two quantiles fall on it gets a bin of its own: else whole numbers,
    or an amount that is mostly zero, would share one bin with everything near them.
    """
    known = column[~np.isnan(column)].astype(np.float64)
    if not len(known):
        return {"edges": [], "counts": [], "missing": len(column)}
    quantiles = np.quantile(known, np.linspace(0, 1, BINS + 1))
    frequent = quantiles[1:][np.diff(quantiles) == 0]
    edges = np.unique(np.concatenate([quantiles, np.nextafter(frequent, np.inf)]))
    counts, _ = np.histogram(known, bins=edges)
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "missing": int(len(column) - len(known)),
        "mean": float(known.mean()),
        "standard_deviation": float(known.std()),
    }
