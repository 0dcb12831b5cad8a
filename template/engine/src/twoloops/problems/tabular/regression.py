"""What regression means to the loops: targets are amounts, a model answers with one amount a row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twoloops.errors import ProjectError

if TYPE_CHECKING:
    import pandas as pd

NAME = "regression"


def encode_target(column: pd.Series, classes: tuple[Any, ...]) -> NDArray[np.float64]:
    """Return each row's amount, shape [rows].

    Raises:
        ProjectError: the contract names classes, an amount is NaN or infinite, or all are the same.
    """
    if classes:
        raise ProjectError(
            f"The contract lists which values {column.name!r} may have, as for classes. A regressor predicts amounts.",
            hint="In problem/data.py give the target's column Check.in_range(...) in place of Check.isin([...]).",
        )
    target = column.to_numpy(dtype=np.float64, na_value=np.nan)
    broken = np.flatnonzero(~np.isfinite(target))
    if len(broken):
        raise ProjectError(
            f"{column.name!r} is NaN or infinite in {len(broken):,} of {len(target):,} rows (first: row {broken[0]}).",
            hint="Correct the data, or let the contract in problem/data.py refuse such rows: Check.in_range(...).",
        )
    present = np.unique(target)
    if len(present) < 2:
        raise ProjectError(
            f"Every row has the same {column.name!r}: {present.tolist()}. A regressor needs two amounts or more.",
            hint="Widen the time or the population that the data covers.",
        )
    return target


def scores(estimator: Any, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Return a fitted estimator's amounts, shape [rows, 1]."""
    return np.asarray(estimator.predict(frame), dtype=np.float64).reshape(-1, 1)


def predictions(scores: NDArray[np.float64], classes: tuple[Any, ...]) -> dict[str, NDArray[Any]]:
    """Return the amount as a column of shape [rows]; a regression has no classes."""
    return {"prediction": scores[:, 0]}


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


def draw(folder: Path, target: NDArray[Any], scores: NDArray[np.float64], classes: tuple[Any, ...]) -> None:
    """Draw the pictures of a verdict into a folder: see regression_plots.py."""
    from twoloops.problems.tabular import regression_plots

    regression_plots.draw(folder, target, scores, classes)
