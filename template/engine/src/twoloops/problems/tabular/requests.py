"""Rows as the service is asked about them: drawn for trials, good and bad, and made of tables for `invoke`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from twoloops.problems.tabular import reading
from twoloops.problems.tabular.signature import Feature, Signature


def draw(reference: Mapping[str, Any], signature: Signature, rows: int, seed: int) -> list[dict[str, Any]]:
    """Draw rows from the training data's statistics, each feature by itself.

    Args:
        reference: the artifact's reference.json.
        signature: names the features and their limits.
        rows: how many.
        seed: the same one gives the same rows.
    """
    random = np.random.default_rng(seed)
    columns = [_draw(feature, reference["features"][feature.name], rows, random) for feature in signature.features]
    return [dict(zip(signature.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _draw(feature: Feature, statistics: dict[str, Any], rows: int, random: np.random.Generator) -> list[Any]:
    if feature.kind == "category":
        known = list(feature.categories)
        weights = np.asarray([statistics["counts"][str(value)] for value in known], dtype=float)
        drawn = [known[place] for place in random.choice(len(known), rows, p=weights / weights.sum())]
    else:
        # The quantiles are values that occurred: where only whole numbers do, only those are drawn.
        edges = np.clip(statistics["edges"] or [0.0], feature.minimum, feature.maximum)
        drawn = random.choice(edges, rows).tolist()
    if not feature.nullable or not statistics["missing"]:
        return drawn
    total = statistics["missing"] + sum(
        statistics["counts"].values() if feature.kind == "category" else statistics["counts"]
    )
    missing = random.random(rows) < statistics["missing"] / total
    return [None if gone else value for value, gone in zip(drawn, missing, strict=True)]


def in_other_words(signature: Signature, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield good rows in the words of other protocols: MLflow's and SageMaker's, and Open Inference v2."""
    yield "/invocations", {"dataframe_records": list(rows)}
    inputs = []
    for feature in signature.features:
        values = [row[feature.name] for row in rows]
        kind = "FP64" if feature.kind == "number" else "BYTES"
        if all(isinstance(value, bool) for value in values):
            kind = "BOOL"
        inputs.append({"name": feature.name, "shape": [len(rows), 1], "datatype": kind, "data": values})
    yield "/v2/models/{name}/infer", {"inputs": inputs}


def bad(signature: Signature, row: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield what must be refused: its kind in words, the row, and the name to be told.

    Args:
        signature: of the model.
        row: one that is good.
    """
    first = signature.features[0]
    unknown = "_".join([*signature.names[:1], "that_is_not_in_the_contract"])
    changed: dict[str, tuple[Any, str]] = {
        "a missing feature": ({name: value for name, value in row.items() if name != first.name}, first.name),
        "an unknown field": ({**row, unknown: 1}, unknown),
        "a value of another type": ({**row, first.name: {"value": 1}}, first.name),
    }
    for feature in signature.features:
        if feature.kind == "number":
            changed["text in place of a number"] = ({**row, feature.name: "many"}, feature.name)
            if feature.maximum is not None:
                above = feature.maximum + abs(feature.maximum) + 1
                changed["a number above the range"] = ({**row, feature.name: above}, feature.name)
            if feature.minimum is not None:
                below = feature.minimum - abs(feature.minimum) - 1
                changed["a number below the range"] = ({**row, feature.name: below}, feature.name)
        elif feature.other is None and all(isinstance(value, str) for value in feature.categories):
            changed["an unknown category"] = ({**row, feature.name: "no such category"}, feature.name)
        if not feature.nullable:
            changed["no value where one is demanded"] = ({**row, feature.name: None}, feature.name)
    for what, (content, name) in changed.items():
        yield what, content, name


def of_table(frame: Any, signature: Signature) -> list[dict[str, Any]]:
    """Return the rows as JSON has them: the features, the entity and the event time, missing values as None.

    Values are read as the contract says. One that cannot be read goes as it came, for the service to refuse.
    """
    from twoloops.problems.tabular.contract import read_series

    columns: dict[str, list[Any]] = {}
    for name, column in reading.of_signature(signature).items():
        if name in frame.columns:
            found = read_series(frame[name], column)
            columns[name] = list(map(_json, found.values.to_pylist()))
            for place in np.flatnonzero(found.unread):
                columns[name][place] = str(found.raw[int(place)].as_py())
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _json(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return None if value != value else str(value)  # noqa: PLR0124 - only NaN differs from itself
    return value.isoformat() if hasattr(value, "isoformat") else value
