"""Statistics of the training data, kept in the artifact so that monitoring can tell drift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.contracts.watched import FIRST_CATEGORY, Watched

BINS = 20


def describe(
    values: NDArray[Any], watched: Sequence[Watched], scores: NDArray[np.float64], outputs: Sequence[str]
) -> dict[str, Any]:
    """Return the distribution of each watched column and of each score.

    Args:
        values: of the training records, shape [records, watched].
        watched: names the columns.
        scores: the model's scores on the holdout, shape [records, outputs].
        outputs: names the scores.
    """
    columns = {each.name: _column(values[:, place], each) for place, each in enumerate(watched)}
    answers = {name: _numbers(scores[:, place]) for place, name in enumerate(outputs)}
    return {"rows": len(values), "features": columns, "scores": answers}


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
