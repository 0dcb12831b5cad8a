"""The pictures of a classifier's verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.inner_loop.report import INK, new_figure, save
from twoloops.problems.outputs.classes import events

CALIBRATION_BINS = 10


def draw(folder: Path, target: NDArray[Any], scores: NDArray[np.float64], classes: tuple[Any, ...]) -> None:
    """Draw ROC, precision-recall and calibration curves of the holdout as PNG files.

    Args:
        folder: where to.
        target: class places, shape [rows].
        scores: probabilities, shape [rows, classes].
        classes: the classes' names. Of two, only the last is drawn: the other mirrors it.
    """
    curves = [(name, *pair) for name, pair in events(target, scores, classes).items()]
    _roc(folder / "roc.png", curves)
    _precision_recall(folder / "precision_recall.png", curves)
    _calibration(folder / "calibration.png", curves)


Curves = list[tuple[str, NDArray[np.bool_], NDArray[np.float64]]]


def _roc(path: Path, curves: Curves) -> None:
    from sklearn.metrics import roc_curve

    figure, axes = new_figure("ROC curve", "false positive rate", "true positive rate")
    for name, inside, probability in curves:
        false_positive, true_positive, _ = roc_curve(inside, probability)
        axes.plot(false_positive, true_positive, label=name)
    axes.plot([0, 1], [0, 1], color=INK, linestyle=":", label="by chance")
    save(figure, axes, path)


def _precision_recall(path: Path, curves: Curves) -> None:
    from sklearn.metrics import precision_recall_curve

    figure, axes = new_figure("Precision and recall", "recall", "precision")
    for name, inside, probability in curves:
        precision, recall, _ = precision_recall_curve(inside, probability)
        (line,) = axes.plot(recall, precision, label=name)
        axes.axhline(inside.mean(), color=line.get_color(), linestyle=":", label=f"share of {name}")
    save(figure, axes, path)


def _calibration(path: Path, curves: Curves) -> None:
    from sklearn.calibration import calibration_curve

    figure, axes = new_figure("Calibration", "predicted probability", "observed share")
    for name, inside, probability in curves:
        observed, predicted = calibration_curve(inside, probability, n_bins=CALIBRATION_BINS, strategy="quantile")
        axes.plot(predicted, observed, marker="o", label=name)
    axes.plot([0, 1], [0, 1], color=INK, linestyle=":", label="perfect")
    save(figure, axes, path)
