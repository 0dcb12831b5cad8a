"""The training table beside the monitor: the artifact holds no rows, on purpose, and two looks need them.

`joint` compares rows with rows, and `skew` looks for the same row on both sides. The table is `monitor.rows`, or
`data.source` where that is a file on this machine: a table elsewhere is read for each window only where somebody asks
for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.artifact import Predictor
from twoloops.errors import ProjectError
from twoloops.inner_loop.fetch import pull
from twoloops.params import Params
from twoloops.problems import problem

NOT_HERE = "No training rows are at hand: `monitor.rows` names a table of them, as data.source has them."


@dataclass(frozen=True)
class Side:
    """Rows to be told from others.

    Attributes:
        values: shape [rows, columns].
        entities: whom they are about, shape [rows].
        times: when they were, UTC, shape [rows]; None where that is not known.
    """

    values: NDArray[Any]
    entities: NDArray[Any]
    times: NDArray[np.datetime64] | None = None

    def take(self, places: NDArray[Any]) -> Side:
        """Return the rows at these places."""
        return Side(self.values[places], self.entities[places], None if self.times is None else self.times[places])


@dataclass(frozen=True)
class TrainingRows:
    """Rows of the training table, as a model reads them.

    Attributes:
        origin: where they come from.
        rows: what is watched of them, and whom they are about, as text.
    """

    origin: str
    rows: Side


def read(params: Params, predictor: Predictor) -> TrainingRows | str:
    """Return the training table, or a sentence that says why there is none.

    Args:
        params: says where it is.
        predictor: encodes the rows as it would be asked about them.
    """
    source = params.monitor.rows or params.data.source
    if params.monitor.rows:
        pull([source])
    elif "://" in source or not Path(source).exists():
        return NOT_HERE
    try:
        # Rows that have no label yet are rows too.
        records = problem.check(problem.load(source), source, labelled=False)
        values = problem.watch(problem.encode(records, predictor.signature))
    except ProjectError as error:
        return f"The training rows cannot be used. {error}"
    entities = np.asarray([str(each) for each in problem.entities(records)], object)
    return TrainingRows(source, Side(values, entities, problem.times(records)))
