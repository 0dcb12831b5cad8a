"""What is looked at in a window, and the decision that windows lead to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from twoloops.drift import Report
from twoloops.inner_loop.rule import describe_interval
from twoloops.outer_loop.monitoring.captures import Window
from twoloops.outer_loop.monitoring.history import PastWindow
from twoloops.outer_loop.monitoring.performance import Performance
from twoloops.params import Params

MOST_NAMED = 5  # columns in a sentence
STALENESS = "staleness"
State = Literal["green", "red", "unknown"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what was found."""

    name: str
    state: State  # unknown: there was not enough to tell
    findings: tuple[str, ...]  # a red check's reasons; else what there is to say


def of_window(window: Window, report: Report | None, performance: Performance | str, params: Params) -> list[Check]:
    """Look at everything that one window can show.

    Args:
        window: what the captures hold.
        report: the comparison with the training data; None when there are too few rows for it.
        performance: by labels, or a sentence that says why there is none.
        params: the thresholds.
    """
    return [
        _data_drift(report, params),
        _prediction_drift(report, params),
        _quality(window, report, params),
        _performance(performance),
    ]


TOO_FEW = ("There are too few rows to compare with the training data.",)


def _data_drift(report: Report | None, params: Params) -> Check:
    if report is None:
        return Check("data drift", "unknown", TOO_FEW)
    return _drift("data drift", "features", report.drifted_features, len(report.features), params)


def _prediction_drift(report: Report | None, params: Params) -> Check:
    if report is None:
        return Check("prediction drift", "unknown", TOO_FEW)
    return _drift("prediction drift", "outputs", report.drifted_scores, len(report.scores), params)


def _drift(name: str, what: str, drifted: list[str], count: int, params: Params) -> Check:
    if not drifted:
        return Check(name, "green", (f"None of {count} {what} has drifted.",))
    return Check(
        name,
        "red",
        (
            f"{len(drifted)} of {count} {what} drifted (stability index from {params.monitor.drift_threshold:g} on): "
            f"{_join(drifted)}.",
        ),
    )


def _join(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def refused_share(window: Window) -> float:
    """Return the share of the rows that broke the contract, of all that arrived."""
    arrived = window.rows + window.others.total() + window.dropped + window.refused
    return window.refused / arrived if arrived else 0.0


def dropped_share(window: Window) -> float:
    """Return the share of the answered rows that were not kept."""
    answered = window.rows + window.others.total() + window.dropped
    return window.dropped / answered if answered else 0.0


def _quality(window: Window, report: Report | None, params: Params) -> Check:
    findings = tuple(_faults(window, report, params))
    if findings:
        return Check("data quality", "red", findings)
    return Check("data quality", "green", (f"{refused_share(window):.1%} of the rows broke the contract.",))


def _faults(window: Window, report: Report | None, params: Params) -> Iterator[str]:
    limit = params.monitor.maximum_refused_share
    if refused_share(window) > limit:
        yield f"{refused_share(window):.1%} of the rows broke the contract and were refused; {limit:.1%} are allowed."
    if dropped_share(window) > limit:
        yield f"{dropped_share(window):.1%} of the answered rows could not be captured; {limit:.1%} are allowed."
    if window.skew > params.gate.parity_tolerance:
        yield (
            f"Captured scores differ by up to {window.skew:.3g} from those that the model gives for the captured "
            f"values; {params.gate.parity_tolerance:.3g} is allowed. The service computes something else."
        )
    if report is None:
        return
    if report.not_finite:
        yield f"{report.not_finite:.2%} of the scores are not finite numbers."
    if report.lacking:
        yield f"Far more values than in training are missing in: {_join(report.lacking)}."
    strange = [f"{each.name} ({each.unknown:.1%})" for each in report.features if each.unknown > limit]
    if strange:
        yield f"Categories that training did not know: {_join(strange)}."


def _performance(performance: Performance | str) -> Check:
    if isinstance(performance, str):
        return Check("performance", "unknown", (performance,))
    interval = describe_interval(performance.as_dict())
    demand = "at least" if performance.direction == "higher" else "at most"
    sentence = (
        f"{performance.metric} is {interval} on {performance.rows:,} labelled answers; "
        f"{demand} {performance.threshold:g} is demanded."
    )
    return Check("performance", performance.state, (sentence, *performance.miscalibrated))


def staleness(registered_at: datetime | None, params: Params, now: datetime) -> Check:
    """Look at the champion's age.

    Args:
        registered_at: when the model was registered; None: it was not.
        params: the thresholds.
        now: the time of this run.
    """
    if registered_at is None:
        return Check(STALENESS, "unknown", ("The model is not in the registry, so its age is not known.",))
    days = max(now - registered_at, timedelta(0)) / timedelta(days=1)
    limit = params.monitor.maximum_age_days
    return Check(
        STALENESS,
        "red" if days > limit else "green",
        (f"The model was registered {days:,.0f} days ago; {limit:,} are allowed.",),
    )


@dataclass(frozen=True)
class Decision:
    """Whether the model is still trusted, and whether to train another one."""

    red: bool
    retrain: bool  # red, and no retraining was started a short while ago
    reasons: tuple[str, ...]
    red_windows: int
    cooling_until: datetime | None


def decide(windows: tuple[PastWindow, ...], stale: Check, cooling_until: datetime | None, params: Params) -> Decision:
    """Decide from the last windows of a model.

    Red are `monitor.red_windows` red windows of the last `monitor.windows`: one alone can be an odd
    day. A model that is too old is red at once, because age is certain.

    Args:
        windows: the last windows of this model, oldest first.
        stale: the check of the age.
        cooling_until: until when no other retraining is to be started.
        params: the thresholds.
    """
    of_last = [window for window in windows[-params.monitor.windows :] if window.red]
    reasons: list[str] = []
    if len(of_last) >= params.monitor.red_windows:
        reasons.append(
            f"{len(of_last)} of the last {min(len(windows), params.monitor.windows)} windows are red "
            f"({params.monitor.red_windows} of {params.monitor.windows} are too many)."
        )
        reasons += of_last[-1].reasons
    if stale.state == "red":
        reasons += stale.findings
    red = bool(reasons)
    return Decision(red, red and cooling_until is None, tuple(reasons), len(of_last), cooling_until)
