"""What each column brings to a model of tables, and on which rows it is judged apart."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twoloops.artifact import Predictor
from twoloops.inner_loop.measure import Metric, Target
from twoloops.inner_loop.report import table
from twoloops.problems.tabular.encoding import Matrix, encode
from twoloops.problems.tabular.signature import Feature, Signature

if TYPE_CHECKING:
    import pandas as pd

# A feature whose shuffling costs less than this share of the best feature's cost is called useless.
USELESS_SHARE = 0.01


def slices(frame: pd.DataFrame, columns: Sequence[str], minimum_rows: int) -> dict[str, NDArray[np.int64]]:
    """Return the row numbers of each slice `column=value` that has at least `minimum_rows` rows."""
    found = {}
    for column in columns:
        values = frame[column].astype(object).where(frame[column].notna(), "(missing)")
        for value in sorted(values.unique(), key=str):
            rows = np.flatnonzero((values == value).to_numpy())
            if len(rows) >= minimum_rows:
                found[f"{column}={value}"] = rows
    return found


def importance(
    predictor: Predictor, holdout: pd.DataFrame, signature: Signature, target: Target, metric: Metric, seed: int
) -> list[dict[str, Any]]:
    """Return what each feature brings and what it costs, best first.

    Args:
        predictor: the model.
        holdout: checked rows.
        signature: names the columns.
        target: the encoded target, shape [rows].
        metric: what is lost is measured in this.
        seed: for the shuffling.
    """
    costs = {}
    for feature in signature.features:
        start = time.perf_counter()
        encode(holdout, (feature,))
        seconds = time.perf_counter() - start
        size = holdout[feature.name].memory_usage(index=False, deep=True)
        costs[feature.name] = (size / len(holdout), seconds / len(holdout) * 1e6)
    matrix = encode(holdout, signature.features)
    return [asdict(each) for each in _reports(predictor, matrix, target, metric, signature, costs, seed)]


@dataclass(frozen=True)
class FeatureReport:
    """What one feature brings and what it costs."""

    name: str
    importance: float  # how much worse the primary metric gets when the feature's values are shuffled
    bytes_per_row: float  # in memory, as the data frame holds it
    encoding_us_per_row: float  # time to encode it, in microseconds


def _reports(
    predictor: Predictor,
    matrix: Matrix,
    target: Target,
    metric: Metric,
    signature: Signature,
    costs: dict[str, tuple[float, float]],
    seed: int,
) -> list[FeatureReport]:
    """Return the permutation importance (Breiman, 2001) and the cost of each feature, best first.

    Args:
        predictor: scores an encoded matrix.
        matrix: the encoded holdout, shape [rows, features].
        target: the encoded target, shape [rows].
        metric: what is lost is measured in this.
        signature: names the columns.
        costs: bytes and microseconds per row, by feature.
        seed: for the shuffling.
    """
    random = np.random.default_rng(seed)
    whole = metric.compute(target, predictor.score_inputs(matrix))
    reports = []
    for place, name in enumerate(signature.names):
        shuffled = matrix.copy()
        shuffled[:, place] = random.permutation(shuffled[:, place])
        loss = metric.gain(whole, metric.compute(target, predictor.score_inputs(shuffled)))
        reports.append(FeatureReport(name, loss, *costs[name]))
    return sorted(reports, key=lambda report: -report.importance)


def card(verdict: Mapping[str, Any], signature: Signature) -> list[str]:
    """Return the lines of the model card that tell what goes in."""
    known = {feature.name: feature for feature in signature.features}
    best = max((each["importance"] for each in verdict["features"]), default=0.0)
    useless = [each["name"] for each in verdict["features"] if each["importance"] <= USELESS_SHARE * max(best, 0.0)]
    rows = [
        [
            each["name"],
            _allowed(known[each["name"]]),
            each["importance"],
            each["bytes_per_row"],
            each["encoding_us_per_row"],
        ]
        for each in verdict["features"]
    ]
    advice = f"Of no measurable use, worth removing: {', '.join(useless)}." if useless else "Every feature is of use."
    head = ["feature", "allowed", "importance", "bytes a row", "µs a row to encode"]
    return ["## What goes in", "", *table(head, rows), "", advice]


def _allowed(feature: Feature) -> str:
    if feature.kind == "category":
        return ", ".join(map(str, feature.categories))
    return f"{feature.minimum} to {feature.maximum} {feature.unit}".strip()
