"""Features that a client computes otherwise than training does: the same entity, at the same time, with other values.

A model is asked with what the client computes, and learns from what the training table holds. Where the two are made by
different code, they differ some day (training-serving skew: Zinkevich, Rules of Machine Learning, rules 29 and 37). No
distribution has to move for it. So captured rows are looked up in the training table, by entity and event time, and
compared value by value.

A column differs where more than `monitor.maximum_refused_share` of its values do, beyond doubt: by an exact binomial
test, at `monitor.significance` for all columns together, on rows of different entities. What is not told apart: a
client that is wrong, and a table that was corrected afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from twoloops.artifact import Predictor
from twoloops.contracts.watched import Watched
from twoloops.outer_loop.monitoring import captures
from twoloops.outer_loop.monitoring.training import TrainingRows
from twoloops.params import MonitorParams
from twoloops.problems import problem

TOLERANCE: Final = 1e-5  # relative: the same number by way of float32 and of text
NONE: Final = (
    "Features were not compared with the training table's: no answer is about an entity and time that {} holds, as far "
    "as requests tell them."
)

NO_TIME: Final = "Features were not compared with the training table's: rows have no time, and values change."


@dataclass(frozen=True)
class Equal:
    """How many values of a column are those of the training table."""

    name: str
    share: float  # of the rows that were looked up
    differs: bool  # more differ than may, beyond doubt


@dataclass(frozen=True)
class Skew:
    """Captured rows against those of the training table about the same entity and time."""

    origin: str
    rows: int  # that were looked up, each of another entity
    columns: tuple[Equal, ...]  # the one that differs most first

    @property
    def differing(self) -> list[Equal]:
        """The columns that differ beyond doubt."""
        return [each for each in self.columns if each.differs]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


def compare(paths: list[Path], training: TrainingRows, predictor: Predictor, params: MonitorParams) -> Skew | str:
    """Look up the newest captured rows in the training table.

    A table gets its rows late, so all captures on disk are looked through, from the newest back, until there are
    `monitor.minimum_rows`, each of another entity.

    Args:
        paths: capture files, oldest first.
        training: the table.
        predictor: the model that was asked.
        params: the thresholds.

    Returns:
        What was found, or a sentence that says why there is nothing.
    """
    held_rows = training.rows
    if held_rows.times is None:
        return NO_TIME
    moments = held_rows.times.astype(np.int64).tolist()
    known = {key: place for place, key in enumerate(zip(held_rows.entities.tolist(), moments, strict=True))}
    asked: list[NDArray[Any]] = []
    held: list[int] = []
    seen: set[str] = set()
    for rows in captures.backwards(paths, predictor):
        told = problem.read_times(rows.event_times.tolist()).astype(np.int64).tolist()
        for place, key in reversed(list(enumerate(zip(rows.entities.tolist(), told, strict=True)))):
            if key in known and key[0] not in seen and len(held) < params.minimum_rows:
                seen.add(key[0])
                asked.append(rows.values[place])
                held.append(known[key])
        if len(held) >= params.minimum_rows:
            break
    if not held:
        return NONE.format(training.origin)
    return judge(np.stack(asked), held_rows.values[held], predictor.layout.watched, training.origin, params)


def judge(
    asked: NDArray[Any], held: NDArray[Any], watched: Sequence[Watched], origin: str, params: MonitorParams
) -> Skew:
    """Say which columns differ.

    Args:
        asked: what the model was asked, shape [rows, watched].
        held: what the training table has of the same, shape [rows, watched].
        watched: names the columns.
        origin: of the table, for the message.
        params: the thresholds.
    """
    from scipy.stats import binom

    columns = []
    for place, each in enumerate(watched):
        one, other = asked[:, place].astype(np.float64), held[:, place].astype(np.float64)
        tolerance = TOLERANCE if each.categories is None else 0.0
        equal = int(np.isclose(one, other, rtol=tolerance, atol=0, equal_nan=True).sum())
        p_value = float(binom.sf(len(asked) - equal - 1, len(asked), params.maximum_refused_share))
        columns.append(Equal(each.name, equal / len(asked), p_value < params.significance / len(watched)))
    return Skew(origin, len(asked), tuple(sorted(columns, key=lambda each: each.share)))
