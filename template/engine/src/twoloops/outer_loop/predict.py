"""Predictions for a table of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twoloops import registry
from twoloops.artifact import Predictor
from twoloops.problem import data as problem
from twoloops.problems.tabular import contract
from twoloops.storage import write_table


def predict(source: str, target: Path, model: str | None = None) -> dict[str, Any]:
    """Check a table against the contract, predict every row, and write the result.

    Args:
        source: a Parquet or CSV table with the contract's columns; the target may be absent.
        target: the file to write, .parquet or .csv: entity, event time, prediction columns.
        model: a folder or a `models:/` address; without it the champion, else the challenger.

    Returns:
        The number of rows and the model that predicted.

    Raises:
        ProjectError: no model is registered, or the table breaks the contract.
    """
    uri = model or registry.in_use().uri
    predictor = Predictor.load(uri)
    frame = contract.check(problem.load(source), contract.without_target(problem.CONTRACT, problem), source)
    keys = [name for name in (problem.ENTITY, problem.EVENT_TIME) if name is not None]
    result = frame[keys].assign(**predictor.predict(frame), model=predictor.identity[:12])
    write_table(target, result)
    return {"rows": len(result), "model": uri, "identity": predictor.identity, "output": str(target)}
