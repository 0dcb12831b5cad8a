"""Training rows parted for judging: as the holdout is parted from them, by time or by entity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.contracts.split import Frozen
from twoloops.inner_loop import measure
from twoloops.params import DataParams
from twoloops.paths import paths
from twoloops.problems import problem
from twoloops.storage import read_json

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]  # the places that are fitted, and those that are judged


def by_time() -> bool:
    """Say whether the frozen holdout is of the newest rows, so that folds can be of the newest before it."""
    return Frozen.model_validate(read_json(paths().frozen_holdout, "prepare")).split == "time"


def rolling(times: NDArray[np.datetime64], folds: int, data: DataParams) -> list[Fold]:
    """Return folds of a rolling origin, each judged on the rows that come next (Tashman, Out-of-sample Tests, 2000).

    Rows whose label was not known yet when the judged ones began are not fitted on: the same gap as before the
    holdout. A fold that so has nothing to learn from is left out.

    Args:
        times: of the training records, in any order, shape [records].
        folds: how many.
        data: `label_days` is the gap.
    """
    from sklearn.model_selection import TimeSeriesSplit

    order = np.argsort(times, kind="stable")
    found = []
    for fitted, judged in TimeSeriesSplit(n_splits=folds).split(order):
        known = times[order[fitted]] <= times[order[judged]].min() - np.timedelta64(data.label_days or 0, "D")
        if known.any():
            found.append((order[fitted][known], order[judged]))
    return found


def grouped(entities: NDArray[Any], folds: int) -> list[Fold]:
    """Return folds that keep each entity on one side."""
    from sklearn.model_selection import GroupKFold

    return list(GroupKFold(n_splits=folds).split(np.arange(len(entities)), groups=entities))


def with_every_class(folds: list[Fold], target: measure.Target) -> list[Fold]:
    """Return the folds in which every class is learned, and judged; all of them where amounts are predicted."""
    if problem.outputs.rarest(target) is None:
        return folds
    everything = set(np.unique(target).tolist())
    return [
        (fitted, judged)
        for fitted, judged in folds
        if set(np.unique(target[fitted]).tolist()) == everything == set(np.unique(target[judged]).tolist())
    ]
