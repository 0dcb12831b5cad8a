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
class TrainingRows:
    """Rows of the training table, as a model reads them.

    Attributes:
        origin: where they come from.
        values: what is watched of them, shape [rows, watched].
        entities: whom each is about, as text, shape [rows].
        times: when each was, UTC, shape [rows]; None where rows have no time.
    """

    origin: str
    values: NDArray[Any]
    entities: NDArray[Any]
    times: NDArray[np.datetime64] | None

    def take(self, places: NDArray[Any]) -> TrainingRows:
        """Return the rows at these places."""
        times = None if self.times is None else self.times[places]
        return TrainingRows(self.origin, self.values[places], self.entities[places], times)


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
    return TrainingRows(
        source, values, np.asarray([str(each) for each in problem.entities(records)], object), problem.times(records)
    )
