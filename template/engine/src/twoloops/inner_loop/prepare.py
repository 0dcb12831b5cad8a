"""Data that keeps its contract, split into training records and a frozen holdout."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.contracts.signature import Signature
from twoloops.contracts.split import Frozen, Split
from twoloops.errors import ProjectError
from twoloops.inner_loop import environment
from twoloops.inner_loop.evaluate import primary
from twoloops.params import DataParams, Params
from twoloops.paths import paths
from twoloops.problem import metrics as measures
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
    refuse_stale_names(problem.fields(signature))

    frozen = None
    if paths().frozen_holdout.exists() and not new_holdout:
        frozen = Frozen.model_validate(read_json(paths().frozen_holdout, "prepare"))
    split = problem.split(labelled, params.split.holdout_share, frozen)
    refuse_shared_entities(split, signature.entity)
    targets = [problem.target(part, signature) for part in (split.train, split.holdout)]
    refuse_unlearned_classes(targets[0], signature)
    try_metrics(params, targets[1], signature)

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
        "warnings": problem.warnings(records, signature),
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


def refuse_stale_names(fields: Collection[str] | None) -> None:
    """Raise a ProjectError when problem/metrics.py judges by a field that no record has: training would be in vain."""
    for role in ("SLICES", "GROUPS") if fields is not None else ():
        stale = [name for name in getattr(measures, role, ()) if name not in (fields or ())]
        if stale:
            raise ProjectError(
                f"{role} of problem/metrics.py names {', '.join(map(repr, stale))}, and the contract has none.",
                hint=f"Take it out, or name one of: {', '.join(fields or ())}.",
            )


def refuse_unlearned_classes(target: NDArray[Any], signature: Signature) -> None:
    """Raise a ProjectError when a class has no training row: an estimator would answer with fewer classes."""
    unlearned = [name for place, name in enumerate(signature.classes) if not (target == place).any()]
    if unlearned:
        raise ProjectError(
            f"No training row has the {signature.target!r} {', '.join(map(repr, unlearned))}, "
            "which the contract declares: a model cannot learn it.",
            hint="Take the class out of Check.isin([...]) in problem/data.py, or bring rows that have it.",
        )


def try_metrics(params: Params, target: NDArray[Any], signature: Signature) -> None:
    """Compute each metric once on made-up answers, so that one that cannot be computed is told before training.

    Args:
        params: gate.primary_metric must be one of the metrics.
        target: of the holdout, encoded, shape [records].
        signature: tells how many scores an answer has.

    Raises:
        ProjectError: a metric raises an error, or the gate names one that is not there.
    """
    primary(params)
    scores = np.random.default_rng(0).uniform(0.1, 1, (len(target), len(signature.outputs)))
    if signature.classes:
        scores /= scores.sum(axis=1, keepdims=True)
    for metric in measures.METRICS:
        try:
            metric.compute(target, scores)
        except Exception as error:  # the project's own code may raise anything
            outputs = f"{len(signature.classes)} classes" if signature.classes else "amounts"
            raise ProjectError(
                f"The metric {metric.name!r} of problem/metrics.py cannot be computed for {outputs} on the "
                f"{len(target):,} holdout rows: {type(error).__name__}: {error}",
                hint="Let it take scores of the shape [rows, classes], or replace it; what it is computed from is in "
                "the comments of problem/metrics.py.",
            ) from error
