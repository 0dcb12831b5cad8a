"""Predictions for a table of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twoloops import registry
from twoloops.artifact import Predictor


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
    uri = model or registry.find_in_use().uri
    predictor = Predictor.load(uri)
    records = predictor.problem.check(predictor.problem.load(source), source, labelled=False)
    columns = predictor.predict(records)
    predictor.problem.write_predictions(records, columns | {"model": predictor.identity[:12]}, target)
    return {"rows": len(records), "model": uri, "identity": predictor.identity, "output": str(target)}
