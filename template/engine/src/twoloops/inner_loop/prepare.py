"""Data that keeps its contract, split into training rows and a frozen holdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from twoloops.artifact import Signature, encode
from twoloops.errors import ProjectError
from twoloops.inner_loop import environment
from twoloops.inner_loop.splitting import Frozen, refuse_shared_entities
from twoloops.params import DataParams, Params
from twoloops.paths import paths
from twoloops.problem import data as problem
from twoloops.problems import task
from twoloops.problems.tabular import contract
from twoloops.storage import read_json, write_json, write_table

if TYPE_CHECKING:
    import pandas as pd


def prepare(params: Params, *, new_holdout: bool = False) -> dict[str, Any]:
    """Load, check, split and write the data; nothing is written unless everything is in order.

    Args:
        params: the checked params.yaml.
        new_holdout: freeze a new holdout in place of the one in data/holdout.json.

    Returns:
        The counts and the holdout's identity, for the reader.

    Raises:
        ProjectError: the data breaks the contract, is too old, leaks its target, or does not split.
    """
    signature = contract.signature(problem.CONTRACT, problem, task.NAME)
    raw = problem.load(params.data.source)
    frame = contract.check(raw, problem.CONTRACT, params.data.source)
    labelled = frame.dropna(subset=[problem.TARGET]).reset_index(drop=True)
    _check_amount(labelled, len(frame), params.data)
    _check_age(frame, params.data)
    _check_leakage(labelled, signature, params.data.leakage_threshold)

    frozen = None
    if paths().frozen_holdout.exists() and not new_holdout:
        frozen = Frozen.model_validate(read_json(paths().frozen_holdout, "prepare"))
    split = problem.split(labelled.drop(columns=problem.PERSONAL), params.split.holdout_share, frozen)
    refuse_shared_entities(split, problem.ENTITY)
    for part in (split.train, split.holdout):
        task.encode_target(part[problem.TARGET], signature.classes)

    write_table(paths().train, split.train)
    write_table(paths().holdout, split.holdout)
    write_json(paths().frozen_holdout, split.frozen.model_dump())
    write_json(paths().environment, environment.resolve(paths().root))
    return {
        "rows": len(frame),
        "without_label": len(frame) - len(labelled),
        "train_rows": len(split.train),
        "holdout_rows": len(split.holdout),
        "newer_than_holdout": len(labelled) - len(split.train) - len(split.holdout),
        "features": signature.names,
        "columns_left_out": [str(name) for name in raw.columns if name not in problem.CONTRACT.columns],
        "holdout": split.frozen.model_dump(),
    }


def _check_amount(labelled: pd.DataFrame, rows: int, params: DataParams) -> None:
    if len(labelled) < params.minimum_rows:
        raise ProjectError(
            f"{params.source} has {len(labelled):,} labelled rows (of {rows:,}); "
            f"data.minimum_rows demands {params.minimum_rows:,}.",
            hint="Bring more data, or lower data.minimum_rows in params.yaml.",
        )


def _check_age(frame: pd.DataFrame, params: DataParams) -> None:
    if params.maximum_age_days is None or problem.EVENT_TIME is None:
        return
    import pandas as pd

    newest = frame[problem.EVENT_TIME].max()
    age = (pd.Timestamp.now(tz="UTC") - newest).days
    if age > params.maximum_age_days:
        raise ProjectError(
            f"The newest row of {params.source} is from {newest:%Y-%m-%d}, {age} days ago; "
            f"data.maximum_age_days allows {params.maximum_age_days}.",
            hint="Refresh the data, or raise data.maximum_age_days in params.yaml.",
        )


def _check_leakage(labelled: pd.DataFrame, signature: Signature, threshold: float) -> None:
    """Refuse a feature that alone tells the target: it was written after the fact."""
    target = task.encode_target(labelled[problem.TARGET], signature.classes)
    matrix = encode(labelled, signature.features).astype(np.float64)
    for column, feature in enumerate(signature.features):
        known = ~np.isnan(matrix[:, column])
        separation = task.separation(matrix[known, column], target[known])
        if separation >= threshold:
            raise ProjectError(
                f"The feature {feature.name!r} alone tells {problem.TARGET!r} almost completely "
                f"(separation {separation:.4f}, data.leakage_threshold {threshold}): the target leaks into it.",
                hint="Take the column out of CONTRACT in problem/data.py if it is known only after the event; "
                "if it is honest, raise data.leakage_threshold.",
            )
