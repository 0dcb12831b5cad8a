"""Quality on slices and likeness of groups of people: what the holdout shows of each, and what it cannot.

Each demand has three outcomes: it holds, it does not hold, or there are too few rows to tell. One-sided confidence
limits decide, at a level that is shared out over all such demands of a verdict (Bonferroni): a model that meets all
of them is called red by chance in at most 1 - gate.confidence of verdicts. `benchmarks/judgement.py slices` and
`groups` show it. What is not decided: whether a small slice is good. It is said, with the value that would be found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from twoloops.inner_loop.measure import FEWEST, Interval, Metric, quantile
from twoloops.inner_loop.rule import FAILS, HOLDS, POWER, UNDECIDED, Rule

NOTHING = Interval(math.nan, math.nan, math.nan, reason="it is not defined on these rows")


def decide(interval: Interval, limit: float, direction: str, level: float) -> str:
    """Say whether a demand holds, by one-sided confidence limits on both sides.

    Args:
        interval: the estimate.
        limit: what is demanded of the true value.
        direction: "higher": it must reach the limit; "lower": it must not exceed it.
        level: how likely a limit may be wrong, such as 0.05 divided by the number of demands.
    """
    if not interval.known:
        return UNDECIDED
    sign = 1 if direction == "higher" else -1
    best, worst = (sign * interval.limit(side, level) for side in (sign, -sign))
    return HOLDS if worst >= sign * limit else FAILS if best < sign * limit else UNDECIDED


def found_from(interval: Interval, limit: float, direction: str, level: float) -> float | None:
    """Return the true value from which a miss would be found in 8 of 10 such holdouts; None where nobody can say."""
    if not interval.known:
        return None
    reach = (quantile(1 - level, interval.carriers) + quantile(POWER, interval.carriers)) * interval.error
    return limit - reach if direction == "higher" else limit + reach


@dataclass(frozen=True)
class Slice:
    """The primary metric on the rows of one slice."""

    name: str
    rows: int
    interval: Interval

    def rule(self, metric: Metric, limit: float, level: float) -> Rule:
        """Return the demand on this slice, decided."""
        outcome = decide(self.interval, limit, metric.direction, level)
        found = found_from(self.interval, limit, metric.direction, level)
        detail = (
            f"({self.rows:,} rows: {self.interval.reason}.)"
            if found is None
            else (f"({self.rows:,} rows: a true value of {found:.4g} would be found in 8 of 10 cases.)")
        )
        return Rule(
            "slice", f"{metric.name} where {self.name}", self.interval.value, limit, metric.direction, detail, outcome
        )

    def as_dict(self, metric: Metric, limit: float, level: float) -> dict[str, Any]:
        """Return it as the verdict keeps it."""
        value = self.interval.value
        return self.interval.as_dict() | {
            "value": value if math.isfinite(value) else None,
            "rows": self.rows,
            "outcome": decide(self.interval, limit, metric.direction, level),
            "found_from": found_from(self.interval, limit, metric.direction, level),
        }


@dataclass(frozen=True)
class Groups:
    """A measure of fairness on each group of people of one column."""

    name: str
    groups: Mapping[str, Interval]  # those in which it is defined
    rows: Mapping[str, int]
    everybody: Interval  # the same measure on the rows of all these groups

    @property
    def ratio(self) -> float:
        """The smallest value as a share of the largest; NaN where all are 0: then nothing is shared out."""
        values = [interval.value for interval in self.groups.values()]
        return min(values) / max(values) if max(values) > 0 else math.nan

    @property
    def comparisons(self) -> int:
        """How many pairs are compared, in both directions."""
        return len(self.groups) * (len(self.groups) - 1)

    def decide(self, limit: float, level: float) -> tuple[str, str]:
        """Say whether no group gets less than `limit` times what another gets, and what tells it.

        For each pair the contrast `one - limit x other` is judged, not the ratio, so that a group with nothing is
        no exception (Fieller, Some Problems in Interval Estimation, 1954). Its degrees of freedom are Welch's
        (1947). Where the rows of a group do not vary, as when nobody of it is selected, its error is that of
        everybody, for its number of rows.
        """
        outcomes = {}
        for one, other in permutations(self.groups, 2):
            (first, few_first), (second, few_second) = self._spread(one), self._spread(other)
            error = math.hypot(first, limit * second)
            if not error > 0:  # NaN of one, or no spread in both
                outcomes[one, other] = UNDECIDED
                continue
            # Student's t takes carriers - 1 degrees of freedom.
            welch = error**4 / (first**4 / (few_first - 1) + (limit * second) ** 4 / (few_second - 1)) + 1
            contrast = self.groups[one].value - limit * self.groups[other].value
            outcomes[one, other] = decide(Interval(contrast, 0, 0, error, welch), 0.0, "higher", level)
        worst = [pair for pair, outcome in outcomes.items() if outcome == FAILS]
        if worst:
            return FAILS, f"({worst[0][0]} against {worst[0][1]}.)"
        unknown = [pair for pair, outcome in outcomes.items() if outcome == UNDECIDED]
        if unknown:
            names = sorted({name for pair in unknown for name in pair})
            return UNDECIDED, f"(Too few rows, or too little in them: {', '.join(names)}.)"
        return HOLDS, ""

    def _spread(self, name: str) -> tuple[float, float]:
        """Return the standard error of a group, and how many groups of its rows carry it."""
        own, share = self.groups[name], self.rows[name] / sum(self.rows.values())
        if own.known:
            return own.error, own.carriers
        if not self.everybody.known or self.everybody.carriers * share < FEWEST:
            return math.nan, 0.0
        return self.everybody.error / math.sqrt(share), self.everybody.carriers * share

    def rule(self, limit: float, level: float) -> Rule:
        """Return the demand on these groups, decided."""
        outcome, detail = self.decide(limit, level)
        return Rule("group", f"smallest ratio of {self.name}", self.ratio, limit, "higher", detail, outcome)

    def as_dict(self, limit: float, level: float) -> dict[str, Any]:
        """Return it as the verdict keeps it."""
        values = {name: interval.value for name, interval in self.groups.items()}
        ratio = self.ratio if math.isfinite(self.ratio) else None
        return {"groups": values, "rows": dict(self.rows), "ratio": ratio, "outcome": self.decide(limit, level)[0]}


def estimate(compute: Callable[[], Interval]) -> Interval:
    """Return an estimate, or none with its reason where the measure is not defined, as with a single class."""
    try:
        interval = compute()
    except ValueError as error:
        return Interval(math.nan, math.nan, math.nan, reason=str(error).rstrip(".") or NOTHING.reason)
    return interval if np.isfinite(interval.value) else NOTHING
