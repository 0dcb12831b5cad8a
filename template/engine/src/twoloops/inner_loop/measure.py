"""Metrics with confidence intervals, overall and by slice, and the speed of an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.artifact import Predictor
from twoloops.params import GateParams

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

    def __init__(self, entities: NDArray[Any], gate: GateParams, seed: int) -> None:
        """Draw the resamples.

        Args:
            entities: the entity of each row, shape [rows].
            gate: how many resamples, and which confidence.
            seed: for the drawing.
        """
        random = np.random.default_rng(seed)
        self._all = np.arange(len(entities))
        codes, names = _codes(entities)
        order = np.argsort(codes, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
        drawn = random.integers(0, names, size=(gate.bootstrap_samples, names))
        alone = names == len(entities)
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


def _codes(entities: NDArray[Any]) -> tuple[NDArray[np.int64], int]:
    """Return a number for each entity, by first appearance, shape [rows], and how many there are."""
    numbers: dict[Any, int] = {}
    codes = [numbers.setdefault(entity, len(numbers)) for entity in entities.tolist()]
    return np.asarray(codes, dtype=np.int64), len(numbers)


def _or_nan(statistic: Statistic, sample: NDArray[np.int64]) -> float:
    try:
        return statistic(sample)
    except ValueError:
        return float(
            "nan"
        )  # a resample of a small slice can hold a single class or value: the metric is not defined there


def latency_ms(predictor: Predictor, records: Sequence[Any]) -> dict[str, float]:
    """Return the median and the 99th percentile of single answers, in milliseconds, by this machine's clock.

    Args:
        predictor: the model.
        records: what is asked, one record in each.
    """
    seconds = []
    for record in records:
        start = time.perf_counter()
        predictor.predict(record)
        seconds.append(time.perf_counter() - start)
    median, late = np.quantile(seconds, [0.5, 0.99]) * 1000
    return {"median": float(median), "p99": float(late)}
