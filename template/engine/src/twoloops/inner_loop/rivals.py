"""Whom a model is compared with, and on which held-out rows: on those that neither was fitted on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops import lineage, registry
from twoloops.artifact import Predictor, Scores
from twoloops.contracts.signature import Signature
from twoloops.errors import ProjectError
from twoloops.inner_loop.unseen import unseen
from twoloops.params import Params
from twoloops.problems import problem
from twoloops.storage import read_json

# The champion as it is in use is compared where it has not seen this part of the holdout or more; else its judged twin.
ENOUGH = 0.5


@dataclass(frozen=True)
class Rival:
    """A model on the held-out rows that it was not fitted on."""

    rows: NDArray[np.int64]  # places in the holdout
    scores: Scores  # of these, shape [rows, outputs]
    note: str = ""  # what a reader must know of the comparison


@dataclass(frozen=True)
class _Candidate:
    """The champion, or its judged twin."""

    open: Callable[[], AbstractContextManager[Path]]
    note: str
    mask: NDArray[np.bool_]
    known: bool


def baseline(training_records: Any, holdout: Any, signature: Signature) -> Rival:
    """Return the project's simple model, fitted on the same training rows as the model."""
    inputs, target = problem.encode(training_records, signature), problem.target(training_records, signature)
    simple = problem.baseline(inputs, target, signature)
    return Rival(np.arange(len(holdout)), problem.answer(simple, problem.encode(holdout, signature), signature))


def champion(version: registry.Version, holdout: Any, holdout_version: str, params: Params) -> Rival:
    """Return the champion on the held-out rows that it was not fitted on.

    After its verdict a champion was refitted on the holdout of then. On a holdout that has not changed its judged twin
    stands for it: the same recipe, as it was before. On a newer one the champion itself is compared, on rows that came
    after it was fitted.

    Args:
        version: the champion.
        holdout: the records.
        holdout_version: of them.
        params: the least number of rows.

    Raises:
        ProjectError: it cannot read this holdout, or has seen nearly all of it.
    """

    def in_use() -> AbstractContextManager[Path]:
        return registry.download(version.uri)

    def judged() -> AbstractContextManager[Path]:
        return registry.download_judged(version)

    try:
        with in_use() as folder:
            own = read_json(folder / lineage.FILE, "register")
        candidates = [_candidate(in_use, "", holdout, holdout_version, own)]
        if candidates[0].mask.mean() < ENOUGH and "refitted" in own:
            with judged() as folder:
                before = read_json(folder / lineage.FILE, "register")
            note = "The champion was refitted on rows of this holdout: its model before that stands for it."
            candidates.append(_candidate(judged, note, holdout, holdout_version, before))
        chosen = max(candidates, key=lambda each: int(each.mask.sum()))
        rows = np.flatnonzero(chosen.mask)
        if len(rows) < min(params.gate.minimum_slice_rows, len(holdout)):
            raise ProjectError(
                f"it was fitted on all but {len(rows):,} of its {len(holdout):,} rows, and a model is not judged on "
                "rows that it has seen"
            )
        with chosen.open() as folder:
            scores = Predictor.load(folder).scores(problem.take(holdout, rows.tolist()))
    except ProjectError as error:
        raise ProjectError(
            f"The champion, version {version.number}, cannot be compared on this holdout: {error}",
            hint="Freeze a holdout of newer rows (prepare --new-holdout). If the champion's inputs are gone for good, "
            "set gate.compare_with_champion to false for this one release.",
        ) from error
    notes = [chosen.note] if chosen.note else []
    if not chosen.known:
        notes.append("Whether the champion was fitted on rows of this holdout is not known.")
    elif len(rows) < len(holdout):
        notes.append(f"Compared on the {len(rows):,} rows that the champion was not fitted on.")
    return Rival(rows, scores, " ".join(notes))


def _candidate(
    open_: Callable[[], AbstractContextManager[Path]],
    note: str,
    holdout: Any,
    holdout_version: str,
    origin: dict[str, Any],
) -> _Candidate:
    mask = unseen(holdout, holdout_version, origin)
    return _Candidate(open_, note, np.ones(len(holdout), dtype=bool) if mask is None else mask, mask is not None)
