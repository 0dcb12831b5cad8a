"""Statistics of the training data, kept in the artifact so that monitoring can tell drift."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.artifact import FIRST_CATEGORY, Feature, Matrix, Scores, Signature

BINS = 20


def describe(matrix: Matrix, scores: Scores, signature: Signature) -> dict[str, Any]:
    """Return the distribution of each feature and of each score.

    Args:
        matrix: encoded training rows, shape [rows, features].
        scores: the model's scores on the holdout, shape [rows, outputs].
        signature: names the columns.
    """
    features = {feature.name: _feature(matrix[:, place], feature) for place, feature in enumerate(signature.features)}
    outputs = {name: _numbers(scores[:, place]) for place, name in enumerate(signature.outputs)}
    return {"rows": len(matrix), "features": features, "scores": outputs}


def _feature(column: NDArray[Any], feature: Feature) -> dict[str, Any]:
    if feature.kind == "number":
        return _numbers(column)
    counts = {str(value): int((column == code).sum()) for code, value in enumerate(feature.categories, FIRST_CATEGORY)}
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
