"""What is looked at in a window, and what is found; `assessment` says what that leads to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from twoloops.drift import Report
from twoloops.inner_loop.rule import describe_interval
from twoloops.outer_loop.monitoring.captures import Window
from twoloops.outer_loop.monitoring.performance import Performance
from twoloops.params import Params

MOST_NAMED = 5  # columns in a sentence
DATA_DRIFT, PREDICTION_DRIFT, QUALITY = "data drift", "prediction drift", "data quality"
PERFORMANCE, STALENESS = "performance", "staleness"
State = Literal["green", "red", "unknown"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what was found."""

    name: str
    state: State  # unknown: there was not enough to tell
    findings: tuple[str, ...]  # a red check's reasons; else what there is to say
    training_helps: bool = True  # where it is red: whether a new model may mend it


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
    """Look at the inputs. What the model hardly weighs is told, and is a reason for nothing: it may be the season."""
    if report is None:
        return Check(DATA_DRIFT, "unknown", TOO_FEW)
    drifted, weighed = report.drifted_features, report.weighed_drift
    beside = [name for name in drifted if name not in weighed]
    findings = []
    if weighed:
        findings.append(_drifted(weighed, len(report.features), "features", params))
    if beside:
        findings.append(f"Changed too, but the model hardly weighs it: {_join(beside)}.")
    if not drifted:
        findings.append(f"None of {len(report.features)} features has drifted.")
    return Check(DATA_DRIFT, "red" if weighed else "green", tuple(findings))


def _prediction_drift(report: Report | None, params: Params) -> Check:
    if report is None:
        return Check(PREDICTION_DRIFT, "unknown", TOO_FEW)
    if not report.drifted_scores:
        return Check(PREDICTION_DRIFT, "green", (f"None of {len(report.scores)} outputs has drifted.",))
    found = _drifted(report.drifted_scores, len(report.scores), "outputs", params)
    return Check(PREDICTION_DRIFT, "red", (found,))


def _drifted(names: list[str], count: int, what: str, params: Params) -> str:
    limit = f"stability index from {params.monitor.drift_threshold:g} on"
    return f"{len(names)} of {count} {what} drifted ({limit}): {_join(names)}."


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
        return Check(QUALITY, "red", findings)
    return Check(QUALITY, "green", (f"{refused_share(window):.1%} of the rows broke the contract.",))


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
        return Check(PERFORMANCE, "unknown", (performance,))
    interval = describe_interval(performance.as_dict())
    demand = "at least" if performance.direction == "higher" else "at most"
    sentence = (
        f"{performance.metric} is {interval} on {performance.rows:,} labelled answers; "
        f"{demand} {performance.threshold:g} is demanded."
    )
    sentence = f"{sentence} {performance.left_out}".strip()
    return Check(PERFORMANCE, performance.state, (sentence, *performance.miscalibrated))


def staleness(registered_at: datetime | None, learned_until: datetime | None, params: Params, now: datetime) -> Check:
    """Look at how old the newest row is that the model has learned from.

    Rows younger than data.label_days have no label, so that much more is allowed. Of a model that was too old when it
    was registered nobody knows newer rows, and no training helps until they are brought.

    Args:
        registered_at: when the model was registered; None: it was not.
        learned_until: the time of the newest row; None: rows have no time, or are simulated, and the age counts from
            the registration.
        params: the thresholds.
        now: the time of this run.
    """
    since = learned_until or registered_at
    if since is None:
        return Check(STALENESS, "unknown", ("The model is not in the registry, so its age is not known.",))
    days = max(now - since, timedelta(0)) / timedelta(days=1)
    waiting = (params.data.label_days or 0) if learned_until else 0
    limit = params.monitor.maximum_age_days + waiting
    told = "newest row that the model has learned is" if learned_until else "model was registered"
    extra = f", with data.label_days of {waiting:,}" if waiting else ""
    old_at_birth = bool(registered_at and (registered_at - since) / timedelta(days=1) > limit)
    return Check(
        STALENESS,
        "red" if days > limit else "green",
        (f"The {told} {days:,.0f} days {'old' if learned_until else 'ago'}; {limit:,} are allowed{extra}.",),
        training_helps=not old_at_birth,
    )
