"""One record, followed step by step through the model."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twoloops import registry
from twoloops.artifact import FIRST_CATEGORY, MISSING, Feature, Matrix, Predictor, encode
from twoloops.errors import ProjectError
from twoloops.problem import data as problem
from twoloops.problems.tabular import contract

if TYPE_CHECKING:
    import pandas as pd


def explain(source: str, *, row: int = 0, entity: str | None = None, model: str | None = None) -> dict[str, Any]:
    """Trace one record: its values, the contract, the encoding, the scores, the prediction, and why.

    Args:
        source: a Parquet or CSV table with the contract's columns; the target may be absent.
        row: which row of it, from 0.
        entity: or which entity: its newest row.
        model: a folder or a `models:/` address; without it the champion, else the challenger.

    Returns:
        `entity`, `features` (each with value, unit, encoded value and contribution, strongest
        first), `scores`, `explained` (the output that the contributions speak of) and `prediction`.

    Raises:
        ProjectError: there is no such record, it breaks the contract, or there is no model.
    """
    predictor = Predictor.load(model or registry.in_use().uri)
    raw = _find(problem.load(source), row, entity, source)
    record = contract.check(raw, contract.without_target(problem.CONTRACT, problem), source)
    matrix = encode(record, predictor.signature.features)
    scores = predictor.score_matrix(matrix)
    names = predictor.signature.outputs
    place = 1 if len(names) == 2 else int(scores[0].argmax())  # of two classes the second is the event
    contributions = _contributions(predictor, matrix, place)
    features = [
        {
            "feature": feature.name,
            "value": _plain(record[feature.name].iloc[0]),
            "unit": feature.unit,
            "encoded": _plain(float(matrix[0, column])),
            "contribution": contributions[column],
        }
        for column, feature in enumerate(predictor.signature.features)
    ]
    return {
        "entity": _plain(record[problem.ENTITY].iloc[0]),
        "features": sorted(features, key=lambda each: -abs(each["contribution"])),
        "scores": dict(zip(names, scores[0].tolist(), strict=True)),
        "explained": names[place],
        "prediction": {name: _plain(column[0]) for name, column in predictor.predict(record).items()},
        "model": predictor.identity[:12],
    }


def _find(frame: pd.DataFrame, row: int, entity: str | None, source: str) -> pd.DataFrame:
    if entity is None:
        if not 0 <= row < len(frame):
            raise ProjectError(
                f"{source} has no row {row}: it has {len(frame):,} rows.", hint="Rows are counted from 0."
            )
        return frame.iloc[[row]]
    found = frame[frame[problem.ENTITY].astype(str) == entity] if problem.ENTITY in frame else frame.head(0)
    if found.empty:
        raise ProjectError(
            f"{source} has no row whose {problem.ENTITY} is {entity!r}.", hint="Choose a row by its number: --row."
        )
    time = problem.EVENT_TIME
    if time is not None and time in found:
        found = found.sort_values(time)
    return found.tail(1)


def _contributions(predictor: Predictor, matrix: Matrix, place: int) -> list[float]:
    """Return by how much each feature's value moves one score away from its mean without that value.

    The value is replaced by those that training rows had, weighted by how often they had them:
    Robnik-Sikonja and Kononenko, Explaining Classifications for Individual Instances (2008), as a
    difference of scores. Features that act together share an effect, so the numbers do not add up.

    Args:
        predictor: its reference statistics say which values training rows had.
        matrix: the encoded record, shape [1, features].
        place: which of the model's outputs.
    """
    if not predictor.reference:
        raise ProjectError("The model has no reference statistics.", hint="Train it anew with the verb 'train'.")
    whole = predictor.score_matrix(matrix)[0, place]
    contributions = []
    for column, feature in enumerate(predictor.signature.features):
        values, weights = _alternatives(feature, predictor.reference["features"][feature.name])
        others = np.repeat(matrix, len(values), axis=0)
        others[:, column] = values
        mean = np.average(predictor.score_matrix(others)[:, place], weights=weights)
        contributions.append(float(whole - mean))
    return contributions


def _alternatives(feature: Feature, statistics: dict[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return a feature's encoded values in training and how many rows had each."""
    counts = statistics["counts"]
    if feature.kind == "category":
        values = [float(code) for code, _ in enumerate(feature.categories, FIRST_CATEGORY)]
        weights = [counts[str(value)] for value in feature.categories]
        missing = MISSING
    else:
        edges = statistics["edges"]
        values = [(low + high) / 2 for low, high in pairwise(edges)] or edges
        weights = counts[: len(values)]
        missing = float("nan")
    if statistics["missing"]:
        values, weights = [*values, missing], [*weights, statistics["missing"]]
    return np.asarray(values, dtype=np.float32), np.asarray(weights, dtype=np.float64)


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it; a missing one is None."""
    if value is None or value != value:  # noqa: PLR0124 - only NaN and its kin differ from themselves
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value
