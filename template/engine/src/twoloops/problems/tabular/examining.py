"""Tables from which nothing honest can be learned: too old, or with the target in a feature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from twoloops.errors import ProjectError
from twoloops.params import DataParams
from twoloops.problem import data
from twoloops.problems import problem
from twoloops.problems.tabular.encoding import encode
from twoloops.problems.tabular.signature import Signature

if TYPE_CHECKING:
    import pandas as pd


def refuse_old(frame: pd.DataFrame, params: DataParams) -> None:
    """Raise a ProjectError when the newest row is older than data.maximum_age_days allows."""
    if params.maximum_age_days is None or data.EVENT_TIME is None:
        return
    import pandas as pd

    newest = frame[data.EVENT_TIME].max()
    age = (pd.Timestamp.now(tz="UTC") - newest).days
    if age > params.maximum_age_days:
        raise ProjectError(
            f"The newest row of {params.source} is from {newest:%Y-%m-%d}, {age} days ago; "
            f"data.maximum_age_days allows {params.maximum_age_days}.",
            hint="Refresh the data, or raise data.maximum_age_days in params.yaml.",
        )


def refuse_leaks(labelled: pd.DataFrame, signature: Signature, threshold: float) -> None:
    """Refuse a feature that alone tells the target: it was written after the fact."""
    target = problem.target(labelled, signature)
    matrix = encode(labelled, signature.features).astype(np.float64)
    for column, feature in enumerate(signature.features):
        known = ~np.isnan(matrix[:, column])
        separation = problem.outputs.separation(matrix[known, column], target[known])
        if separation >= threshold:
            raise ProjectError(
                f"The feature {feature.name!r} alone tells {data.TARGET!r} almost completely "
                f"(separation {separation:.4f}, data.leakage_threshold {threshold}): the target leaks into it.",
                hint="Take the column out of CONTRACT in problem/data.py if it is known only after the event; "
                "if it is honest, raise data.leakage_threshold.",
            )


def collisions(frame: pd.DataFrame, signature: Signature) -> list[str]:
    """Tell each feature of whose whole numbers some become one: models read float32, which has 24 bits for digits."""
    told = []
    for feature in signature.features:
        if feature.kind != "number":
            continue
        values = np.unique(frame[feature.name].dropna().to_numpy(dtype=np.float64))
        whole = values[np.mod(values, 1) == 0]
        read = whole.astype(np.float32)
        same = np.flatnonzero(read[1:] == read[:-1])
        if len(same):
            one, other = whole[same[0]], whole[same[0] + 1]
            told.append(
                f"{feature.name}: {len(same):,} of {len(whole):,} different whole numbers are one to a model, such as "
                f"{one:.0f} and {other:.0f}: it reads float32. Subtract what they have in common, such as the event "
                "time, or take the column out."
            )
    return told
