"""Data that keeps its contract, split into training records and a frozen holdout."""

from __future__ import annotations

from typing import Any

from twoloops.contracts.split import Frozen, Split
from twoloops.errors import ProjectError
from twoloops.inner_loop import environment
from twoloops.params import DataParams, Params
from twoloops.paths import paths
from twoloops.problems import problem
from twoloops.storage import read_json, write_json


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
    signature = problem.signature()
    raw = problem.load(params.data.source)
    records = problem.check(raw, params.data.source)
    labelled = problem.labelled(records)
    _check_amount(len(labelled), len(records), params.data)
    problem.examine(records, signature, params.data)

    frozen = None
    if paths().frozen_holdout.exists() and not new_holdout:
        frozen = Frozen.model_validate(read_json(paths().frozen_holdout, "prepare"))
    split = problem.split(labelled, params.split.holdout_share, frozen)
    refuse_shared_entities(split, signature.entity)
    for part in (split.train, split.holdout):
        problem.target(part, signature)

    problem.write(split.train, paths().train)
    problem.write(split.holdout, paths().holdout)
    write_json(paths().frozen_holdout, split.frozen.model_dump())
    write_json(paths().environment, environment.resolve(paths().root))
    return {
        "rows": len(records),
        "without_label": len(records) - len(labelled),
        "train_rows": len(split.train),
        "holdout_rows": len(split.holdout),
        "newer_than_holdout": len(labelled) - len(split.train) - len(split.holdout),
        "features": [each.name for each in problem.watched(signature)],
        "columns_left_out": problem.left_out(raw),
        "holdout": split.frozen.model_dump(),
    }


def _check_amount(labelled: int, rows: int, params: DataParams) -> None:
    if labelled < params.minimum_rows:
        raise ProjectError(
            f"{params.source} has {labelled:,} labelled rows (of {rows:,}); "
            f"data.minimum_rows demands {params.minimum_rows:,}.",
            hint="Bring more data, or lower data.minimum_rows in params.yaml.",
        )


def refuse_shared_entities(split: Split, entity: str) -> None:
    """Raise a ProjectError when an entity has rows on both sides: the holdout would not be unseen."""
    shared = set(problem.entities(split.train)) & set(problem.entities(split.holdout))
    if shared:
        examples = ", ".join(map(str, sorted(shared, key=str)[:3]))
        raise ProjectError(
            f"{len(shared):,} values of {entity!r} are on both sides of the split (such as {examples}): "
            "the model would be judged on entities that it has seen.",
            hint="In problem/data.py split with by_group(frame, ENTITY, share, frozen), or keep one row per entity.",
        )
