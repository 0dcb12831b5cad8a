"""Amounts: a target is a number, a model answers with one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.errors import ProjectError


def encode_target(values: Sequence[Any], classes: tuple[Any, ...], name: str) -> NDArray[np.float64]:
    """Return each row's amount, shape [rows].

    Args:
        values: the target as it came, one a row; NaN where it is missing.
        classes: none.
        name: of the target, for the message.

    Raises:
        ProjectError: the contract names classes, an amount is NaN or infinite, or all are the same.
    """
    if classes:
        raise ProjectError(
            f"The contract lists which values {name!r} may have, as for classes. A regressor predicts amounts.",
            hint="In problem/data.py give the target's column Check.in_range(...) in place of Check.isin([...]).",
        )
    target = np.asarray(values, dtype=np.float64)
    broken = np.flatnonzero(~np.isfinite(target))
    if len(broken):
        raise ProjectError(
            f"{name!r} is NaN or infinite in {len(broken):,} of {len(target):,} rows (first: row {broken[0]}).",
            hint="Correct the data, or let the contract in problem/data.py refuse such rows: Check.in_range(...).",
        )
    present = np.unique(target)
    if len(present) < 2:
        raise ProjectError(
            f"Every row has the same {name!r}: {present.tolist()}. A regressor needs two amounts or more.",
            hint="Widen the time or the population that the data covers.",
        )
    return target


def scores(estimator: Any, inputs: Any) -> NDArray[np.float64]:
    """Return a fitted estimator's amounts, shape [rows, 1]."""
    return np.asarray(estimator.predict(inputs), dtype=np.float64).reshape(-1, 1)


def predictions(
    scores: NDArray[np.float64], classes: tuple[Any, ...], threshold: float | None = None
) -> dict[str, NDArray[Any]]:
    """Return the amount as a column of shape [rows]; a regression has neither classes nor a threshold."""
    return {"prediction": scores[:, 0]}


def rarest(target: NDArray[Any]) -> int | None:
    """Return None: amounts have no classes of which one could be rare."""
    return None


def events(target: NDArray[Any], scores: NDArray[np.float64], classes: tuple[Any, ...]) -> dict[str, Any]:
    """Return nothing: an amount is no probability."""
    return {}


def separation(feature: NDArray[np.float64], target: NDArray[Any]) -> float:
    """Return how well one feature alone tells the target, from 0.5 (not at all) to 1 (completely).

    It is (1 + |rho|) / 2 with Spearman's rank correlation rho (1904): 1 for every feature that only
    rises, or only falls, with the target. A relation that turns round is not seen.

    Args:
        feature: shape [rows], without NaN.
        target: amounts, shape [rows].
    """
    from scipy.stats import spearmanr

    # Any two rows are in perfect order, and a constant has none.
    if len(feature) < 3 or len(np.unique(feature)) < 2 or len(np.unique(target)) < 2:
        return 0.5
    return float((1 + abs(spearmanr(feature, target).statistic)) / 2)


def told_by_tree(inputs: NDArray[np.float64], target: NDArray[Any], folds: NDArray[Any], tree: Any) -> float:
    """Return how well a tree tells the target of rows that it was not fitted on: (1 + rho) / 2, as in `separation`.

    Args:
        inputs: shape [rows, columns].
        target: amounts, shape [rows].
        folds: the fold of each row, shape [rows].
        tree: its depth and leaves, as keyword arguments of scikit-learn.
    """
    from scipy.stats import spearmanr
    from sklearn.tree import DecisionTreeRegressor

    scores = np.zeros(len(target))
    for fold in np.unique(folds):
        judged = folds == fold
        scores[judged] = DecisionTreeRegressor(**tree).fit(inputs[~judged], target[~judged]).predict(inputs[judged])
    if len(np.unique(scores)) < 2 or len(np.unique(target)) < 2:
        return 0.5
    return float((1 + spearmanr(scores, target).statistic) / 2)


def draw(folder: Path, target: NDArray[Any], scores: NDArray[np.float64], classes: tuple[Any, ...]) -> None:
    """Draw the pictures of a verdict into a folder: see amounts_plots.py."""
    from twoloops.problems.outputs import amounts_plots

    amounts_plots.draw(folder, target, scores, classes)
