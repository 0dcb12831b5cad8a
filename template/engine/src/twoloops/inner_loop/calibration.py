"""Whether probabilities mean what they say: of those who are given 0.3, three in ten have the event.

Two numbers tell it (Cox, Two Further Applications of a Model for Binary Regression, 1958; Van Calster et al.,
Calibration: the Achilles Heel of Predictive Analytics, 2019). The slope of a logistic regression of the event on the
logit of its probability: 1 is right, below 1 the probabilities are too extreme, as of a model that fitted too closely.
The intercept with the slope held at 1: 0 is right, above 0 events are more frequent than the probabilities say.
What is not seen: a bend that leaves both as they are. The calibration plot shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops.inner_loop.measure import Interval, Jackknife
from twoloops.inner_loop.parts import estimate
from twoloops.inner_loop.rule import FAILS, HOLDS, UNDECIDED, Rule

SMALLEST = 1e-6  # a probability nearer to 0 or 1 counts as this: its logit would be infinite
MOST_STEPS = 50
CLOSE = 1e-8


@dataclass(frozen=True)
class Calibration:
    """How far the probabilities of one class mean what they say."""

    slope: Interval  # 1: as they say
    intercept: Interval  # 0: as they say, in units of the logit

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"slope": self.slope.as_dict(), "intercept": self.intercept.as_dict()}


def measure_calibration(
    jackknife: Jackknife, inside: NDArray[np.bool_], probability: NDArray[np.float64]
) -> Calibration:
    """Return slope and intercept with their intervals.

    Args:
        jackknife: of the same rows.
        inside: whether a row has the event, shape [rows].
        probability: of the event, shape [rows].
    """
    clipped = np.clip(probability, SMALLEST, 1 - SMALLEST)
    logit = np.log(clipped / (1 - clipped))
    event = inside.astype(np.float64)
    return Calibration(
        estimate(lambda: jackknife.interval(lambda rows: fit_slope(event[rows], logit[rows]))),
        estimate(lambda: jackknife.interval(lambda rows: fit_intercept(event[rows], logit[rows]))),
    )


def fit_slope(event: NDArray[np.float64], logit: NDArray[np.float64]) -> float:
    """Return the slope of the logistic regression of the event on the logit, both of shape [rows].

    Raises:
        ValueError: there is none, as when all events have the highest logits.
    """
    return float(_fit(event, np.zeros_like(logit), np.column_stack([np.ones_like(logit), logit]))[1])


def fit_intercept(event: NDArray[np.float64], logit: NDArray[np.float64]) -> float:
    """Return the intercept of the same regression with the slope held at 1; arguments and errors as in fit_slope."""
    return float(_fit(event, logit, np.ones((len(logit), 1)))[0])


def _fit(event: NDArray[np.float64], offset: NDArray[np.float64], design: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit a logistic regression by Newton's method, with a fixed offset: scikit-learn's has none."""
    from scipy.special import expit

    weights = np.zeros(design.shape[1])
    for _ in range(MOST_STEPS):
        expected = expit(offset + design @ weights)
        information = design.T @ (design * (expected * (1 - expected))[:, np.newaxis])
        try:
            step = np.linalg.solve(information, design.T @ (event - expected))
        except np.linalg.LinAlgError:
            break
        weights = weights + step
        if not np.isfinite(weights).all():
            break
        if np.abs(step).max() < CLOSE:
            return weights
    raise ValueError("A logistic regression on the probabilities has no solution.")


def rules(calibrations: dict[str, Calibration], tolerance: float | None, level: float) -> list[Rule]:
    """Return the demands on each class's slope and intercept, decided by confidence limits; None demands nothing."""
    if tolerance is None:
        return []
    found = []
    for name, each in calibrations.items():
        for what, interval, right in (("slope", each.slope, 1.0), ("intercept", each.intercept, 0.0)):
            reason = f"({interval.reason}.)" if not interval.known else f"({right:g} is right.)"
            found.append(
                Rule(
                    "calibration",
                    f"distance of the calibration {what} of {name} from {right:g}",
                    abs(interval.value - right),
                    tolerance,
                    "lower",
                    reason,
                    _decide(interval, right, tolerance, level),
                )
            )
    return found


def _decide(interval: Interval, right: float, tolerance: float, level: float) -> str:
    if not interval.known:
        return UNDECIDED
    low, high = interval.limit(-1, level), interval.limit(1, level)
    if low > right + tolerance or high < right - tolerance:
        return FAILS
    return HOLDS if right - tolerance <= low and high <= right + tolerance else UNDECIDED
