"""Metrics with confidence intervals, and the speed of an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.artifact import Predictor
from twoloops.params import GateParams

Target = NDArray[Any]
Statistic = Callable[[NDArray[np.int64]], float]  # of the rows with these numbers
LATENCY_CALLS = 300
FEWEST = 10  # events, or groups of rows that carry an error: with fewer an interval does not cover what it says
ROUNDING = 1e-12
NORMAL = 3.0  # the kurtosis of a normal distribution


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
    """An estimate with the limits of its confidence interval, or with the reason why it has none."""

    value: float
    low: float  # NaN where none can be given, as high
    high: float
    error: float = float("nan")  # the standard error
    carriers: float = 0.0  # how many groups of entities carry the error: their effective number
    reason: str = ""  # why no interval can be given

    @property
    def known(self) -> bool:
        """Whether an interval can be given."""
        return not self.reason

    def limit(self, direction: int, level: float) -> float:
        """Return the one-sided confidence limit at which the true value is passed with probability `level`.

        Args:
            direction: 1 for an upper limit, -1 for a lower one.
            level: such as 0.05.
        """
        return self.value + direction * quantile(1 - level, self.carriers) * self.error if self.known else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: None in place of limits that are not known."""
        limits = {
            name: float(value) if np.isfinite(value) else None
            for name, value in asdict(self).items()
            if name in ("low", "high", "error")
        }
        return asdict(self) | limits


def quantile(share: float, carriers: float) -> float:
    """Return the quantile of Student's t that fits an error which so many groups carry: carriers - 1 degrees."""
    from scipy.stats import t

    return float(t.ppf(share, max(carriers - 1, 1)))


def too_few_events(events: int | None) -> str:
    """Say why nothing is concluded from so few rows of the rarest class, or return an empty text."""
    if events is None or events >= FEWEST:
        return ""
    return f"only {events} {'row' if events == 1 else 'rows'} of the rarest class, and {FEWEST} are needed"


class Jackknife:
    """Intervals by leaving out groups of entities in turn: the same groups for every statistic, so gains are paired.

    With g groups and the statistic `whole` of all rows and `left` without a group, the pseudo-values
    g whole - (g - 1) left are treated as g independent observations of the statistic (Tukey, Bias and
    Confidence in Not-Quite Large Samples, 1958; Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 11). Their mean square gives the standard error. How far the interval reaches is Student's
    t with as many degrees of freedom as groups carry that error, less one: with deviations d,
    (sum d^2)^2 / sum d^4, which is g / kurtosis: about the number of events where these are rare, and a
    handful where a few rows decide. Below 10 no interval is given: its coverage would not be what it says.
    `benchmarks/judgement.py intervals` shows the coverage.

    Whole entities are left out, with all their rows: rows of one entity are alike, and leaving them out one by one
    would make intervals too narrow. It holds for metrics that change smoothly with the rows (means, ratios, ranks), not
    for a median or another quantile.
    """

    def __init__(
        self, entities: NDArray[Any], gate: GateParams, seed: int, *, events: int | None = None, order: Any = None
    ) -> None:
        """Put the entities into groups.

        Args:
            entities: the entity of each row, shape [rows].
            gate: how many groups, and which confidence.
            seed: for the drawing.
            events: the number of rows of the rarest class, where there are classes.
            order: places of the rows in the order in which the statistic gets them, shape [rows]: a metric of ranks
                sorts once, here, instead of anew for every group; None: as they are.
        """
        codes, names = _codes(entities)
        self._number, self._entities = min(gate.jackknife_groups, names), names
        self._alone = names <= gate.jackknife_groups
        of_entity = np.random.default_rng(seed).permutation(np.arange(names) % self._number)
        self._order = np.arange(len(entities)) if order is None else np.asarray(order)
        self._group = of_entity[codes][self._order]
        self._confidence = gate.confidence
        self._reason = too_few_events(events)

    def interval(self, statistic: Statistic) -> Interval:
        """Return the statistic of all rows, with its interval or the reason why there is none.

        Args:
            statistic: computes a number from an array of row numbers.

        Raises:
            ValueError: the statistic is not defined on all rows.
        """
        value = float(statistic(np.arange(len(self._order))))
        nothing = Interval(value, float("nan"), float("nan"))
        if not np.isfinite(value):
            return replace(nothing, reason="the value is not a number")
        if self._number < FEWEST:
            return replace(nothing, reason=f"only {self._number} entities, and {FEWEST} are needed")
        left = np.asarray([_or_nan(statistic, self._order[self._group != group]) for group in range(self._number)])
        if not np.isfinite(left).all():
            return replace(nothing, reason=self._reason or "a few rows decide whether it is defined at all")
        deviation = (self._number - 1) * (left.mean() - left)
        square = float(deviation @ deviation)
        error = float(np.sqrt(square / self._number / (self._number - 1)))
        if error <= ROUNDING * max(abs(value), 1.0):
            return replace(nothing, error=0.0, reason=self._reason or "no row changes it")
        carriers = square**2 / float((deviation**4).sum())
        reason = self._reason
        alone = self._carried_by(carriers)
        if not reason and alone < FEWEST:
            carry = "1 row carries" if round(alone) == 1 else f"{alone:.0f} rows carry"
            reason = f"about {carry} it, and {FEWEST} are needed"
        if reason:
            return replace(nothing, error=error, carriers=carriers, reason=reason)
        reach = quantile((1 + self._confidence) / 2, carriers) * error
        return Interval(value, value - reach, value + reach, error, carriers)

    def _carried_by(self, carriers: float) -> float:
        """Return how many entities carry the error, where so many groups do.

        The kurtosis of a sum of m independent deviations is 3 + (kurtosis - 3) / m. With it, `carriers` of g groups are
        1 / (1 / carriers - 3 / g + 3 / n) of n single entities.
        """
        if self._alone:
            return carriers
        inverse = 1 / carriers - NORMAL / self._number + NORMAL / self._entities
        return 1 / max(inverse, 1 / self._entities)


def _codes(entities: NDArray[Any]) -> tuple[NDArray[np.int64], int]:
    """Return a number for each entity, by first appearance, shape [rows], and how many there are."""
    numbers: dict[Any, int] = {}
    codes = [numbers.setdefault(entity, len(numbers)) for entity in entities.tolist()]
    return np.asarray(codes, dtype=np.int64), len(numbers)


def _or_nan(statistic: Statistic, sample: NDArray[Any]) -> float:
    try:
        return statistic(sample)
    except ValueError:
        return float("nan")  # without a group a small slice can hold a single class or value


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
