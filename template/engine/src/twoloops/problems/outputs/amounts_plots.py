"""The pictures of a regressor's verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.inner_loop.report import INK, new_figure, save

MOST_POINTS = 4000  # more would hide one another
TREND_BINS = 10
HISTOGRAM_BINS = 60

Amounts = NDArray[np.float64]


def draw(folder: Path, target: NDArray[Any], scores: NDArray[np.float64], classes: tuple[Any, ...]) -> None:
    """Draw predictions and residuals of the holdout as PNG files.

    A residual is the observed amount minus the predicted one: above 0 the model said too little.

    Args:
        folder: where to.
        target: amounts, shape [rows].
        scores: predicted amounts, shape [rows, 1].
        classes: empty, a regression has none.
    """
    predicted = scores[:, 0]
    _predicted_against_observed(folder / "predicted_against_observed.png", target, predicted)
    _residuals(folder / "residuals.png", target - predicted, predicted)
    _residual_distribution(folder / "residual_distribution.png", target - predicted)


def _drawn(rows: int) -> NDArray[np.int64]:
    """Return the rows to draw: all, or as many as can be told apart, evenly spaced."""
    return np.linspace(0, rows - 1, min(rows, MOST_POINTS)).astype(np.int64)


def _predicted_against_observed(path: Path, observed: Amounts, predicted: Amounts) -> None:
    figure, axes = new_figure("Predicted against observed", "observed", "predicted")
    rows = _drawn(len(observed))
    axes.scatter(observed[rows], predicted[rows], s=8, alpha=0.3, linewidths=0)
    ends = [min(observed.min(), predicted.min()), max(observed.max(), predicted.max())]
    axes.plot(ends, ends, color=INK, linestyle=":", label="perfect")
    save(figure, axes, path)


def _residuals(path: Path, residual: Amounts, predicted: Amounts) -> None:
    figure, axes = new_figure("Residuals", "predicted", "observed minus predicted")
    rows = _drawn(len(residual))
    axes.scatter(predicted[rows], residual[rows], s=8, alpha=0.3, linewidths=0)
    axes.axhline(0, color=INK, linestyle=":", label="perfect")
    # The mean of each tenth shows where the model is wrong on average, which single points hide.
    tenths = [tenth for tenth in np.array_split(np.argsort(predicted, kind="stable"), TREND_BINS) if len(tenth)]
    middle = [predicted[tenth].mean() for tenth in tenths]
    axes.plot(middle, [residual[tenth].mean() for tenth in tenths], color="C1", marker="o", label="mean of each tenth")
    save(figure, axes, path)


def _residual_distribution(path: Path, residual: Amounts) -> None:
    figure, axes = new_figure("Distribution of residuals", "observed minus predicted", "rows")
    axes.hist(residual, bins=HISTOGRAM_BINS)
    axes.axvline(0, color=INK, linestyle=":", label="perfect")
    axes.axvline(float(residual.mean()), color="C1", label=f"mean {residual.mean():.3g}")
    save(figure, axes, path)
