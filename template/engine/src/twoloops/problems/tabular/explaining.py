"""One record, followed step by step through a model of tables."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from twoloops.artifact import Predictor
from twoloops.contracts.watched import FIRST_CATEGORY, MISSING
from twoloops.errors import ProjectError
from twoloops.problem import data
from twoloops.problems.tabular import contract
from twoloops.problems.tabular.encoding import Matrix, encode
from twoloops.problems.tabular.signature import Feature, Signature

if TYPE_CHECKING:
    import pandas as pd


def explain(predictor: Predictor, source: str, row: int, entity: str | None) -> dict[str, Any]:
    """Trace one record: its values, the contract, the encoding, the scores, the prediction, and why.

    Args:
        predictor: the model.
        source: a Parquet or CSV table with the contract's columns; the target may be absent.
        row: which row of it, from 0.
        entity: or which entity: its newest row.

    Returns:
        `entity`, `features` (each with value, unit, encoded value and contribution, strongest
        first), `scores`, `explained` (the output that the contributions speak of) and `prediction`.

    Raises:
        ProjectError: there is no such record, or it breaks the contract.
    """
    signature = cast(Signature, predictor.signature)
    raw = _find(data.load(source), row, entity, source)
    record = contract.check(raw, contract.without_target(data.CONTRACT, data), source)
    matrix = encode(record, signature.features)
    scores = predictor.score_inputs(matrix)
    names = predictor.signature.outputs
    place = 1 if len(names) == 2 else int(scores[0].argmax())  # of two classes the second is the event
    contributions = _contributions(predictor, signature, matrix, place)
    features = [
        {
            "feature": feature.name,
            "value": _plain(record[feature.name].iloc[0]),
            "unit": feature.unit,
            "encoded": _plain(float(matrix[0, column])),
            "contribution": contributions[column],
        }
        for column, feature in enumerate(signature.features)
    ]
    return {
        "entity": _plain(record[data.ENTITY].iloc[0]),
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
    found = frame[frame[data.ENTITY].astype(str) == entity] if data.ENTITY in frame else frame.head(0)
    if found.empty:
        raise ProjectError(
            f"{source} has no row whose {data.ENTITY} is {entity!r}.", hint="Choose a row by its number: --row."
        )
    time = data.EVENT_TIME
    if time is not None and time in found:
        found = found.sort_values(time)
    return found.tail(1)


def _contributions(predictor: Predictor, signature: Signature, matrix: Matrix, place: int) -> list[float]:
    """Return by how much each feature's value moves one score away from its mean without that value.

    The value is replaced by those that training rows had, weighted by how often they had them:
    Robnik-Sikonja and Kononenko, Explaining Classifications for Individual Instances (2008), as a
    difference of scores. Features that act together share an effect, so the numbers do not add up.

    Args:
        predictor: its reference statistics say which values training rows had.
        signature: names the columns.
        matrix: the encoded record, shape [1, features].
        place: which of the model's outputs.
    """
    if not predictor.reference:
        raise ProjectError("The model has no reference statistics.", hint="Train it anew with the verb 'train'.")
    whole = predictor.score_inputs(matrix)[0, place]
    contributions = []
    for column, feature in enumerate(signature.features):
        values, weights = _alternatives(feature, predictor.reference["features"][feature.name])
        others = np.repeat(matrix, len(values), axis=0)
        others[:, column] = values
        mean = np.average(predictor.score_inputs(others)[:, place], weights=weights)
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
