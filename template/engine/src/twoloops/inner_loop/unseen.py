"""Which rows a model has not been fitted on: on those alone it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.contracts.split import is_held_out
from twoloops.problem import data
from twoloops.problems import problem


def unseen(holdout: Any, version: str, lineage: Mapping[str, Any]) -> NDArray[np.bool_] | None:
    """Say of each held-out record whether a model is sure not to have been fitted on it.

    A record that is older than the newest training record counts as seen, whether it was in the table then or not,
    unless the model's own split kept it out.

    Args:
        holdout: the records.
        version: of them.
        lineage: the model's.

    Returns:
        Shape [records]; None where nothing tells: the model is of an older form, or of a split of the project's own.
    """
    refitted = "refitted" in lineage
    if not refitted and lineage["holdout_version"] == version:
        return np.ones(len(holdout), dtype=bool)
    times, until, split = problem.times(holdout), lineage.get("until"), lineage.get("split", {})
    newer = None
    if until is not None and times is not None:
        newer = times > np.datetime64(until.removesuffix("Z"))
    if split.get("rule") == "group" and split.get("group") == data.ENTITY and not refitted:
        keys = problem.entities(holdout)
        apart = np.asarray([is_held_out(str(key), split["share"], split["salt"]) for key in keys], dtype=bool)
        return apart if newer is None else apart | newer
    if newer is None and refitted:
        return np.zeros(len(holdout), dtype=bool)
    return newer
