"""One record, followed step by step through the model."""

from __future__ import annotations

from typing import Any

from twoloops import registry
from twoloops.artifact import Predictor


def explain(source: str, *, row: int = 0, entity: str | None = None, model: str | None = None) -> dict[str, Any]:
    """Trace one record: its values, the contract, the encoding, the scores, the prediction, and why.

    Args:
        source: where the records are; the target may be absent.
        row: which of them, from 0.
        entity: or which entity: its newest record.
        model: a folder or a `models:/` address; without it the champion, else the challenger.

    Returns:
        `entity`, `features` (each with value, unit, encoded value and contribution, strongest
        first), `scores`, `explained` (the output that the contributions speak of) and `prediction`.

    Raises:
        ProjectError: there is no such record, it breaks the contract, or there is no model.
    """
    predictor = Predictor.load(model or registry.find_in_use().uri)
    return predictor.problem.explain(predictor, source, row, entity)
