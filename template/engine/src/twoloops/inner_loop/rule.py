"""A demand of the gate, and how far the holdout answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# Three outcomes of what is decided by evidence. The second closes the gate; the third is told and closes nothing.
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "too few to tell"
MOST_NAMES = 5
POWER = 0.8  # of what is called found: 8 of 10 holdouts like this one would show it


@dataclass(frozen=True)
class Rule:
    """One demand of the gate, and whether the model meets it."""

    rule: str
    subject: str
    value: float
    limit: float
    direction: str  # "higher": the value must reach the limit; "lower": it must not exceed it
    detail: str = ""
    outcome: str = ""  # as confidence limits decide it; empty: the value itself decides

    @property
    def margin(self) -> float:
        """By how much the demand is met; negative: by how much it is missed."""
        return self.value - self.limit if self.direction == "higher" else self.limit - self.value

    @property
    def passed(self) -> bool:
        """Whether the demand is met, or not known to be missed; a value that is not a number never meets one."""
        return self.outcome != FAILS if self.outcome else bool(self.margin >= 0)

    def sentence(self) -> str:
        """Say it in one line."""
        demand = "at least" if self.direction == "higher" else "at most"
        missed = "" if self.passed else f" It is missed by {-self.margin:.4g}."
        extra = f" {self.detail}" if self.detail else ""
        if np.isnan(self.value):
            return f"{self.subject} cannot be given; {demand} {self.limit:.4g} is demanded.{extra}"
        return f"{self.subject} is {self.value:.4g}; {demand} {self.limit:.4g} is demanded.{missed}{extra}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as the verdict keeps it; None in place of what is not a number."""
        numbers = {name: _number(getattr(self, name)) for name in ("value", "limit", "margin")}
        outcome = self.outcome or (HOLDS if self.passed else FAILS)
        return asdict(self) | numbers | {"outcome": outcome, "passed": self.passed}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def failed_rules(verdict: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each rule that the model misses."""
    return [f"{rule['rule']}: {_read(rule).sentence()}" for rule in verdict["rules"] if not rule["passed"]]


def _read(rule: Mapping[str, Any]) -> Rule:
    value, limit = (float("nan") if rule[name] is None else rule[name] for name in ("value", "limit"))
    words = (rule["direction"], rule["detail"], rule.get("outcome", ""))
    return Rule(rule["rule"], rule["subject"], value, limit, *words)


def describe_verdict(verdict: Mapping[str, Any]) -> list[str]:
    """Return the lines that people read: each metric with its interval, the gains, and what cannot be told."""
    lines = [f"{name}: {describe_interval(each)}" for name, each in verdict["metrics"].items()]
    for name, gain in verdict["gains"].items():
        noise = ", which is within its noise" if gain["within_noise"] else ""
        lines.append(f"gain over {name}: {describe_interval(gain)}{noise}")
    if before := verdict["holdout"]["judged_before"]:
        lines.append(
            f"These held-out rows have judged {before:,} other model{'s' if before > 1 else ''}: the noise of a gain "
            "counts them."
        )
    unknown = [rule for rule in verdict["rules"] if rule["outcome"] == UNDECIDED]
    if unknown:
        names = ", ".join(rule["subject"] for rule in unknown[:MOST_NAMES])
        more = f" and {len(unknown) - MOST_NAMES} more" if len(unknown) > MOST_NAMES else ""
        lines.append(f"{UNDECIDED.capitalize()}: {names}{more}. The model card says what would be found.")
    return lines


def describe_interval(each: Mapping[str, Any]) -> str:
    """Return an estimate of a verdict with its unit and its interval, or with the reason why it has none."""
    value = f"{each['value']:.4g} {each.get('unit', '')}".rstrip()
    if each["low"] is None:
        return f"{value} (no interval: {each['reason']})"
    return f"{value} ({each['low']:.4g} to {each['high']:.4g})"
