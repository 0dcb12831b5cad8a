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

DAY = np.timedelta64(1, "D")


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
    old_enough, unripe = ripe(records, params.data)
    labelled = problem.labelled(old_enough)
    _check_amount(len(labelled), len(records), params.data)
    problem.examine(old_enough, signature, params.data)
    refuse_stale_names(problem.fields(signature))

    frozen = None
    if paths().frozen_holdout.exists() and not new_holdout:
        frozen = Frozen.model_validate(read_json(paths().frozen_holdout, "prepare"))
    whole = _split(labelled, params, frozen)
    split, embargoed = _embargo(whole, params.data)
    returning = refuse_shared_entities(split, signature.entity, params.data.label_days)
    targets = [problem.target(part, signature) for part in (split.train, split.holdout)]
    refuse_unlearned_classes(targets[0], signature)
    try_metrics(params, targets[1], signature)

    problem.write(split.train, paths().train)
    problem.write(split.holdout, paths().holdout)
    identity = split.frozen.model_dump(exclude_none=True)
    write_json(paths().frozen_holdout, identity)
    write_json(paths().environment, environment.resolve(paths().root))
    return {
        "rows": len(records),
        "without_label": len(old_enough) - len(labelled),
        "unripe": unripe,
        "train_rows": len(split.train),
        "embargoed": embargoed,
        "holdout_rows": len(split.holdout),
        "returning": returning,
        "newer_than_holdout": len(labelled) - len(whole.train) - len(whole.holdout),
        "features": [each.name for each in problem.watched(signature)],
        "columns_left_out": problem.left_out(raw),
        "warnings": problem.warnings(records, signature),
        "holdout": identity,
    }


def _check_amount(labelled: int, rows: int, params: DataParams) -> None:
    if labelled < params.minimum_rows:
        raise ProjectError(
            f"{params.source} has {labelled:,} labelled rows (of {rows:,}); "
            f"data.minimum_rows demands {params.minimum_rows:,}.",
            hint="Bring more data, or lower data.minimum_rows in params.yaml.",
        )


def ripe(records: Any, params: DataParams) -> tuple[Any, int]:
    """Return the records whose label can be known, and how many are too young.

    A label that needs 30 days is not known of a record of yesterday, whatever the table says: where it says
    "churned" at once, and "stayed" after 30 days, all young labelled records have churned. The table reaches as
    far as its newest record.
    """
    if not params.label_days:
        return records, 0
    times = problem.times(records)
    if times is None:
        raise ProjectError(
            f"data.label_days is {params.label_days}, and rows have no time.",
            hint="Set EVENT_TIME in problem/data.py, or data.label_days to null.",
        )
    old = times <= times.max() - params.label_days * DAY
    return problem.take(records, np.flatnonzero(old).tolist()), int((~old).sum())


def _split(labelled: Any, params: Params, frozen: Frozen | None) -> Split:
    """Split as the project does, by a share of the records or by days, which are a share too."""
    days, share = params.split.holdout_days, params.split.holdout_share
    if frozen and frozen.days != days:
        asked, now = (f"{each} days" if each else "a share of the rows" for each in (frozen.days, days))
        raise ProjectError(
            f"The frozen holdout is of {asked}; split in params.yaml asks for {now}.",
            hint="Freeze a new holdout with: prepare --new-holdout.",
        )
    if share is None or days is not None:
        share = frozen.share if frozen else _share_of(days or 1, problem.times(labelled))
    split: Split = problem.split(labelled, share, frozen)
    if days and split.frozen.split != "time":
        raise ProjectError(
            f"split.holdout_days asks for the newest {days} days, and problem/data.py splits by {split.frozen.split}.",
            hint="Give split.holdout_share, or split by time.",
        )
    return split._replace(frozen=split.frozen.model_copy(update={"days": days}))


def _share_of(days: int, times: NDArray[np.datetime64] | None) -> float:
    """Return the share of the records that are of the newest days."""
    if times is None:
        raise ProjectError(
            "split.holdout_days needs rows that have a time.",
            hint="Set EVENT_TIME in problem/data.py, or give split.holdout_share.",
        )
    older = int((times <= times.max() - days * DAY).sum())
    if not older:
        raise ProjectError(
            f"The labelled rows span {(times.max() - times.min()) / DAY:,.0f} days, and split.holdout_days holds "
            f"out {days}: none is left to train on.",
            hint="Lower split.holdout_days, or bring more data.",
        )
    # The half keeps the first row of the holdout where it is, however the share is rounded.
    return 1 - (older + 0.5) / len(times)


def _embargo(split: Split, params: DataParams) -> tuple[Split, int]:
    """Leave out training records whose label was not known yet when the holdout began, and count them.

    Else the verdict is about a model that nobody could have had on the first day of its exam. Purging and embargo:
    Lopez de Prado, Advances in Financial Machine Learning (2018), chapter 7. It concerns splits by time alone.
    """
    times, exam = problem.times(split.train), problem.times(split.holdout)
    if not params.label_days or times is None or exam is None or not _is_time_cut(split):
        return split, 0
    known = times <= exam.min() - params.label_days * DAY
    if not known.any():
        raise ProjectError(
            f"No training row is {params.label_days} days (data.label_days) older than the holdout.",
            hint="Hold out less (split in params.yaml), or bring older rows.",
        )
    train = problem.take(split.train, np.flatnonzero(known).tolist())
    return split._replace(train=train), int((~known).sum())


def _is_time_cut(split: Split) -> bool:
    train, holdout = problem.times(split.train), problem.times(split.holdout)
    return train is not None and holdout is not None and bool(train.max() < holdout.min())


def refuse_shared_entities(split: Split, entity: str, label_days: int | None) -> int:
    """Return how many held-out records are about entities that training rows are about, too.

    With a time cut, and a gap as long as labels take, that is as in use: a model is asked about whom it has
    seen before, and what was learnt of them is older.

    Raises:
        ProjectError: the two sides share entities otherwise: the holdout would not be unseen.
    """
    trained = set(problem.entities(split.train))
    shared = trained & set(problem.entities(split.holdout))
    if shared and not (label_days is not None and _is_time_cut(split)):
        examples = ", ".join(map(str, sorted(shared, key=str)[:3]))
        raise ProjectError(
            f"{len(shared):,} values of {entity!r} are on both sides of the split (such as {examples}): "
            "the model would be judged on entities that it has seen.",
            hint="In problem/data.py split with by_group(frame, ENTITY, share, frozen), or keep one row per entity. "
            "Or, with a split by time, say in data.label_days how long a label takes: then a gap as long parts the "
            "two sides.",
        )
    return sum(each in shared for each in problem.entities(split.holdout)) if shared else 0


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
