"""What a metric of classes would be, without labels: an estimate from what the probabilities themselves say.

Of those who are given 0.3, three in ten have the event, if the probabilities mean what they say. So labels are drawn
from them, and the metric is computed on each drawing: its mean is the estimate (confidence-based performance
estimation, CBPE, as NannyML calls it; on estimates from confidences: Garg et al., Leveraging Unlabeled Data to Predict
Out-of-Distribution Performance, 2022). It follows a change in who is asked (covariate shift), as far as the
probabilities are right about them too.

It is wrong, and cannot notice it, where the same inputs mean something else than before (concept drift), or where the
probabilities are wrong about those who are new. So it is never a reason to train, nor a reason to trust. For amounts
there is no such estimate: an amount says nothing about its own error. `benchmarks/judgement.py estimate` shows both.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from twoloops.artifact import Scores
from twoloops.inner_loop.measure import Metric

DRAWINGS: Final = 100
MOST_ROWS: Final = 10_000


@dataclass(frozen=True)
class Estimate:
    """A metric as the probabilities tell it, and where 95 of 100 drawings of labels have it."""

    metric: str
    value: float
    low: float  # if the probabilities mean what they say: how wrong they are is not in it
    high: float
    rows: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


def estimate(metric: Metric, scores: Scores, seed: int) -> Estimate | None:
    """Return a metric's estimate; None where it is not defined on the drawings.

    Args:
        metric: of classes.
        scores: probabilities, shape [rows, classes]; rows with one that is not finite are left out.
        seed: for the drawing.
    """
    random = np.random.default_rng(seed)
    known = scores[np.isfinite(scores).all(axis=1)]
    if len(known) > MOST_ROWS:
        known = known[np.sort(random.choice(len(known), MOST_ROWS, replace=False))]
    if not len(known):
        return None
    limits = np.clip(known, 0, 1).cumsum(axis=1)
    drawn = []
    for _ in range(DRAWINGS):
        # The class in whose part of the unit interval a number falls.
        target = (random.random((len(known), 1)) * limits[:, -1:] >= limits[:, :-1]).sum(axis=1)
        try:
            drawn.append(float(metric.compute(target, known)))
        except ValueError:  # of one class alone
            continue
    values = np.asarray(drawn)[np.isfinite(drawn)]
    if len(values) < DRAWINGS / 2:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(metric.name, float(values.mean()), float(low), float(high), len(known))
