"""Classes: a target is one of a list, a model answers with a probability for each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.errors import ProjectError


def encode_target(values: Sequence[Any], classes: tuple[Any, ...], name: str) -> NDArray[np.int64]:
    """Return each row's class as its place in `classes`, shape [rows].

    Args:
        values: the target as it came, one a row.
        classes: all that there are.
        name: of the target, for the message.

    Raises:
        ProjectError: the contract names no classes, or the data holds fewer than two of them.
    """
    if len(classes) < 2:
        raise ProjectError(
            f"The contract does not say which classes {name!r} may have.",
            hint="In problem/data.py give the target's column Check.isin([...]) with all classes.",
        )
    places = {value: place for place, value in enumerate(classes)}
    target = np.asarray([places[value] for value in values], dtype=np.int64)
    present = np.unique(target)
    if len(present) < 2:
        raise ProjectError(
            f"Every row has the same {name!r}: {classes[present[0]]!r}. A classifier needs two classes or more.",
            hint="Widen the time or the population that the data covers.",
        )
    return target


def scores(estimator: Any, inputs: Any) -> NDArray[np.float64]:
    """Return a fitted estimator's probabilities, shape [rows, classes]."""
    return np.asarray(estimator.predict_proba(inputs), dtype=np.float64)


def predictions(
    scores: NDArray[np.float64], classes: tuple[Any, ...], threshold: float | None = None
) -> dict[str, NDArray[Any]]:
    """Return the predicted class, and the probability of each, as columns of shape [rows].

    Args:
        scores: probabilities, shape [rows, classes].
        classes: their names.
        threshold: of two classes the last is predicted where it is more probable than this; without it, the most
            probable class is.
    """
    places = scores.argmax(axis=1) if threshold is None else (scores[:, -1] > threshold).view(np.int8)
    called, names = _named(classes, *map(type, classes))
    columns: dict[str, NDArray[Any]] = {"prediction": called.take(places)}
    for place, name in enumerate(names):
        columns[name] = scores[:, place]
    return columns


@lru_cache(8)
def _named(classes: tuple[Any, ...], *_: type) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the classes as an array, shape [classes], and the names of their columns: no request has time for it.

    Args:
        classes: their names.
        _: their types: 1, True and 1.0 are equal, and are other classes.
    """
    return np.asarray(classes), tuple(f"probability_{name}" for name in classes)


def rarest(target: NDArray[Any]) -> int:
    """Return how many rows the rarest class has: what a metric of classes rests on."""
    return int(np.bincount(target.astype(np.int64), minlength=2).min())


def events(
    target: NDArray[Any], scores: NDArray[np.float64], classes: tuple[Any, ...]
) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.float64]]]:
    """Return for each class whether it came and how probable it was, shapes [rows]; of two only the last.

    The other one of two mirrors it.
    """
    places = [len(classes) - 1] if len(classes) == 2 else range(len(classes))
    return {str(classes[place]): (target == place, scores[:, place]) for place in places}


def area_under_roc(inside: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve, by ranks: (sum of ranks inside - n1 (n1 + 1) / 2) / (n1 n0).

    Equal to scikit-learn's roc_auc_score, and quick enough for thousands of resamples: rows that come sorted by score,
    as `Jackknife` hands them over, are not sorted anew. Hanley and McNeil, The Meaning and Use of the Area under a ROC
    Curve (1982).

    Args:
        inside: whether a row belongs to the class, shape [rows].
        score: higher means more likely inside, shape [rows].

    Raises:
        ValueError: all rows are inside, or none is.
    """
    inside, score = np.asarray(inside), np.asarray(score)  # not a pandas Series: comparing parts of one raises
    ones = int(np.count_nonzero(inside))
    zeros = len(inside) - ones
    if not ones or not zeros:
        raise ValueError("The area under the ROC curve is defined only where both classes occur.")
    return float((_sum_of_ranks(inside, score) - ones * (ones + 1) / 2) / (ones * zeros))


def _sum_of_ranks(inside: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Return the sum of the ranks of the rows inside, from 1; equal scores share their mean rank. NaN where one is NaN.

    Args:
        inside: shape [rows].
        score: shape [rows].
    """
    rises = score[1:] > score[:-1]
    if np.count_nonzero(rises) < len(rises) and not (score[1:] >= score[:-1]).all():  # not sorted, or NaN
        if np.isnan(score).any():
            return float("nan")
        order = np.argsort(score, kind="stable")
        inside, score = inside[order], score[order]
        rises = score[1:] > score[:-1]
    # Of each run of equal scores: the row it begins with, the row after it, and how many of it are inside.
    begins = np.concatenate([[0], np.flatnonzero(rises) + 1])
    ends = np.append(begins[1:], len(score))
    within = np.add.reduceat(inside, begins, dtype=np.int64)
    return float(within @ (begins + ends + 1)) / 2  # whole numbers up to here: no rounding


def separation(feature: NDArray[np.float64], target: NDArray[Any]) -> float:
    """Return how well one feature alone tells the target, from 0.5 (not at all) to 1 (completely).

    It is the area under the ROC curve of the class that the feature separates best.

    Args:
        feature: shape [rows], without NaN.
        target: class places, shape [rows].
    """
    classes = np.unique(target)
    if len(classes) < 2:
        return 0.5
    areas = [area_under_roc(target == place, feature) for place in classes]
    return max(max(area, 1 - area) for area in areas)


def told_by_tree(inputs: NDArray[np.float64], target: NDArray[Any], folds: NDArray[Any], tree: Any) -> float:
    """Return how well a tree tells the target of rows that it was not fitted on: the area of the class it tells best.

    Args:
        inputs: shape [rows, columns].
        target: class places, shape [rows].
        folds: the fold of each row, shape [rows].
        tree: its depth and leaves, as keyword arguments of scikit-learn.
    """
    from sklearn.tree import DecisionTreeClassifier

    scores = np.zeros((len(target), int(target.max()) + 1))
    for fold in np.unique(folds):
        judged = folds == fold
        fitted = DecisionTreeClassifier(**tree).fit(inputs[~judged], target[~judged])
        scores[np.ix_(judged, fitted.classes_)] = fitted.predict_proba(inputs[judged])
    return max(area_under_roc(target == place, scores[:, place]) for place in np.unique(target))


def draw(folder: Path, target: NDArray[Any], scores: NDArray[np.float64], classes: tuple[Any, ...]) -> None:
    """Draw the pictures of a verdict into a folder: see classes_plots.py."""
    from twoloops.problems.outputs import classes_plots

    classes_plots.draw(folder, target, scores, classes)
