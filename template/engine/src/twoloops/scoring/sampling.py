"""A uniform sample of scored rows, for the drift report and for labels that come later.

Every scored row draws a number between 0 and 1, and a sample holds all rows that drew less than
its threshold. Samples of partitions can so be put together in any order, after any interruption:
the rows below the smallest of their thresholds are a uniform sample of all.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from twoloops.artifact import Scores
from twoloops.contracts.captures import ENTITY, EVENT_TIME, FEATURE, SCORE
from twoloops.contracts.watched import FIRST_CATEGORY, Layout

LIMIT: Final = 100_000
MARGIN: Final = 1.05  # of the rows drawn over those wanted: chance may give a few less
DRAW: Final = "draw"
TEXT: Final = pa.string()
Keys = tuple[pa.Array, pa.Array | None]  # entities and event times


def threshold(rows: int) -> float:
    """Return below which a row's draw must be for LIMIT of so many rows to be kept."""
    return min(1.0, MARGIN * LIMIT / max(rows, 1))


def draws(rows: int, seed: int, partition: str, batch: int) -> NDArray[np.float64]:
    """Return the draws of a batch's rows, shape [rows]: the same in every run and on every engine."""
    return np.random.default_rng([seed, int(partition, 16), batch]).uniform(size=rows)


class Sample:
    """The sample of one partition while it is scored: never more than twice LIMIT rows."""

    def __init__(self, layout: Layout, below: float, *, keeps_entities: bool) -> None:
        """Begin with no rows, of which all that draw less than `below` shall be kept.

        Args:
            layout: names what is watched, and the scores.
            below: the threshold.
            keeps_entities: whether it may be told whom rows are about.
        """
        self.layout = layout
        self.keeps_entities = keeps_entities
        self.below = below
        self._parts: list[pa.Table] = []

    def add(self, values: NDArray[Any], scores: Scores, keys: Keys, draw: NDArray[np.float64]) -> None:
        """Add those of the scored rows that drew low enough.

        Args:
            values: what is watched, shape [rows, watched].
            scores: shape [rows, outputs].
            keys: whom the rows are about, left out when that is personal, and their event times, if they have any.
            draw: shape [rows].
        """
        kept = np.flatnonzero(draw < self.below)
        known = (keys[0] if self.keeps_entities else None, keys[1])
        texts = [pa.nulls(len(kept), TEXT) if each is None else each.take(pa.array(kept)).cast(TEXT) for each in known]
        columns: dict[str, Any] = {DRAW: draw[kept], ENTITY: texts[0], EVENT_TIME: texts[1]}
        columns |= {FEATURE + each.name: values[kept, place] for place, each in enumerate(self.layout.watched)}
        columns |= {SCORE + name: scores[kept, place] for place, name in enumerate(self.layout.outputs)}
        self._parts.append(pa.table(columns))
        if sum(part.num_rows for part in self._parts) > 2 * LIMIT:
            whole = lowest(pa.concat_tables(self._parts))
            self.below = float(pc.max(whole[DRAW]).as_py())
            self._parts = [whole]

    def table(self) -> pa.Table:
        """Return the rows, or None when there is not one."""
        return pa.concat_tables(self._parts) if self._parts else None


def lowest(table: pa.Table) -> pa.Table:
    """Return the LIMIT rows with the lowest draws, in their order."""
    if table.num_rows <= LIMIT:
        return table
    places = np.argpartition(table[DRAW].to_numpy(), LIMIT)[:LIMIT]
    return table.take(pa.array(np.sort(places)))


def merge(samples: list[tuple[pa.Table, float]]) -> pa.Table:
    """Return a uniform sample of all partitions' rows from each one's sample and threshold."""
    below = min(threshold for _, threshold in samples)
    # Samples of releases before 0.3.0 have no event time.
    whole = pa.concat_tables([table for table, _ in samples], promote_options="default")
    return lowest(whole.filter(pc.less(whole[DRAW], below)))


def arrays(sample: pa.Table, layout: Layout) -> tuple[NDArray[Any], Scores]:
    """Return what is watched of the rows and their scores, shapes [rows, watched] and [rows, outputs]."""
    values = [sample[FEATURE + each.name].to_numpy() for each in layout.watched]
    scores = [sample[SCORE + name].to_numpy() for name in layout.outputs]
    return np.column_stack(values) if values else np.empty((sample.num_rows, 0)), np.column_stack(scores)


def as_capture(sample: pa.Table, layout: Layout, *, version: str, identity: str, when: Any) -> pa.Table:
    """Return a sample in the form in which the service captures traffic too, for the monitor."""
    rows = sample.num_rows
    columns: dict[str, Any] = {
        "captured_at": pa.repeat(pa.scalar(when, pa.timestamp("us", "UTC")), rows),
        "request_id": pa.nulls(rows, pa.string()),
        "model_version": pa.repeat(version, rows),
        "model": pa.repeat(identity, rows),
        ENTITY: sample[ENTITY],
        EVENT_TIME: sample[EVENT_TIME] if EVENT_TIME in sample.column_names else pa.nulls(rows, TEXT),
    }
    for watched in layout.watched:
        column = sample[FEATURE + watched.name]
        if watched.categories is not None:
            names = pa.array([*[None] * FIRST_CATEGORY, *map(str, watched.categories)], pa.string())
            column = names.take(column.cast(pa.int32()))
        columns[FEATURE + watched.name] = column
    return pa.table(columns | {SCORE + name: sample[SCORE + name] for name in layout.outputs})
