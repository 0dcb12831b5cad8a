"""Metrics with confidence intervals, overall and by slice, and the speed of an answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twoloops.artifact import Matrix, Predictor, Scores, Signature
from twoloops.params import GateParams

if TYPE_CHECKING:
    import pandas as pd

Target = NDArray[Any]
Statistic = Callable[[NDArray[np.int64]], float]  # of the rows with these numbers
LATENCY_CALLS = 300


@dataclass(frozen=True)
class Metric:
    """A number that says how good scores are.

    `compute` takes the encoded target, shape [rows], and the scores, shape [rows, outputs].
    """

    name: str
    compute: Callable[[Any, Any], float]
    direction: str  # "higher" or "lower" is better
    unit: str = ""

    def gain(self, value: float, other: float) -> float:
        """Return by how much `value` is better than `other`: positive is better."""
        return value - other if self.direction == "higher" else other - value


@dataclass(frozen=True)
class Interval:
    """An estimate with the limits of its confidence interval."""

    value: float
    low: float
    high: float


class Bootstrap:
    """Percentile bootstrap: the same seeded resamples for every statistic, so that differences are paired.

    Whole entities are drawn, with all their rows: rows of one entity are alike, and drawing them
    one by one would make intervals too narrow. Efron and Tibshirani, An Introduction to the
    Bootstrap (1993), chapters 8 and 13.
    """

    def __init__(self, entities: pd.Series, gate: GateParams, seed: int) -> None:
        """Draw the resamples.

        Args:
            entities: the entity of each row, shape [rows].
            gate: how many resamples, and which confidence.
            seed: for the drawing.
        """
        random = np.random.default_rng(seed)
        self._all = np.arange(len(entities))
        codes, names = entities.factorize()
        order = np.argsort(codes, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
        drawn = random.integers(0, len(names), size=(gate.bootstrap_samples, len(names)))
        alone = len(names) == len(entities)
        self._samples = [order[draw] if alone else np.concatenate([parts[each] for each in draw]) for draw in drawn]
        self._quantiles = [(1 - gate.confidence) / 2, (1 + gate.confidence) / 2]

    def interval(self, statistic: Statistic) -> Interval:
        """Return the statistic of all rows, with its interval.

        Args:
            statistic: computes a number from an array of row numbers.
        """
        value = statistic(self._all)
        drawn = np.asarray([_or_nan(statistic, sample) for sample in self._samples])
        drawn = drawn[~np.isnan(drawn)]
        if not len(drawn):
            return Interval(value, float("nan"), float("nan"))
        low, high = np.quantile(drawn, self._quantiles)
        return Interval(value, float(low), float(high))


def _or_nan(statistic: Statistic, sample: NDArray[np.int64]) -> float:
    try:
        return statistic(sample)
    except ValueError:
        return float(
            "nan"
        )  # a resample of a small slice can hold a single class or value: the metric is not defined there


def slices(frame: pd.DataFrame, columns: list[str], minimum_rows: int) -> dict[str, NDArray[np.int64]]:
    """Return the row numbers of each slice `column=value` that has at least `minimum_rows` rows."""
    found = {}
    for column in columns:
        values = frame[column].astype(object).where(frame[column].notna(), "(missing)")
        for value in sorted(values.unique(), key=str):
            rows = np.flatnonzero((values == value).to_numpy())
            if len(rows) >= minimum_rows:
                found[f"{column}={value}"] = rows
    return found


def latency_ms(predictor: Predictor, frame: pd.DataFrame) -> dict[str, float]:
    """Return the median and the 99th percentile of single-row answers, in milliseconds, by this machine's clock."""
    rows = [
        dict(zip(predictor.signature.names, ([value] for value in values), strict=True))
        for values in frame[predictor.signature.names].head(LATENCY_CALLS).itertuples(index=False)
    ]
    seconds = []
    for row in rows:
        start = time.perf_counter()
        predictor.predict(row)
        seconds.append(time.perf_counter() - start)
    median, late = np.quantile(seconds, [0.5, 0.99]) * 1000
    return {"median": float(median), "p99": float(late)}


@dataclass(frozen=True)
class FeatureReport:
    """What one feature brings and what it costs."""

    name: str
    importance: float  # how much worse the primary metric gets when the feature's values are shuffled
    bytes_per_row: float  # in memory, as the data frame holds it
    encoding_us_per_row: float  # time to encode it, in microseconds


def features(
    run: Callable[[Matrix], Scores],
    matrix: Matrix,
    target: Target,
    metric: Metric,
    signature: Signature,
    costs: dict[str, tuple[float, float]],
    seed: int,
) -> list[FeatureReport]:
    """Return the permutation importance (Breiman, 2001) and the cost of each feature, best first.

    Args:
        run: scores an encoded matrix.
        matrix: the encoded holdout, shape [rows, features].
        target: the encoded target, shape [rows].
        metric: what is lost is measured in this.
        signature: names the columns.
        costs: bytes and microseconds per row, by feature.
        seed: for the shuffling.
    """
    random = np.random.default_rng(seed)
    whole = metric.compute(target, run(matrix))
    reports = []
    for place, name in enumerate(signature.names):
        shuffled = matrix.copy()
        shuffled[:, place] = random.permutation(shuffled[:, place])
        loss = metric.gain(whole, metric.compute(target, run(shuffled)))
        reports.append(FeatureReport(name, loss, *costs[name]))
    return sorted(reports, key=lambda report: -report.importance)
