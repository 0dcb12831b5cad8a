"""What is looked at in a window, and what is found; `assessment` says what that leads to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from twoloops.drift import Report
from twoloops.inner_loop.label_free import Estimate
from twoloops.inner_loop.measure import Interval
from twoloops.inner_loop.rule import describe_interval
from twoloops.outer_loop.monitoring.captures import Window
from twoloops.outer_loop.monitoring.joint import Joint
from twoloops.outer_loop.monitoring.performance import Performance
from twoloops.outer_loop.monitoring.skew import Skew
from twoloops.outer_loop.monitoring.training import NOT_HERE
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


def of_window(
    window: Window,
    report: Report | None,
    together: Joint | str | None,
    skew: Skew | str | None,
    performance: Performance | str,
    estimate: str,
    params: Params,
) -> list[Check]:
    """Look at everything that one window can show.

    Args:
        window: what the captures hold.
        report: the comparison with the training data; None when there are too few rows for it.
        together: of all columns together; a sentence says why it was not looked at, None that there was no need.
        skew: of captures and the training table; a sentence says why it was not looked at.
        performance: by labels, or a sentence that says why there is none.
        estimate: what the metric would be without labels, in words; empty where nothing is known.
        params: the thresholds.
    """
    return [
        _data_drift(report, together, params),
        _prediction_drift(report, params),
        _quality(window, report, skew, params),
        _performance(performance, estimate),
    ]


TOO_FEW = ("There are too few rows to compare with the training data.",)


def _data_drift(report: Report | None, together: Joint | str | None, params: Params) -> Check:
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
    if together is not None:
        findings.append(together if isinstance(together, str) else _describe(together))
    jointly = isinstance(together, Joint) and together.drifted
    return Check(DATA_DRIFT, "red" if weighed or jointly else "green", tuple(findings))


def _describe(together: Joint) -> str:
    area = f"area under the ROC curve {together.area:.2f}"
    if together.drifted:
        by = f", by {_join(list(together.columns))}" if together.columns else ""
        return (
            f"All columns together tell the window from training rows, though no single one does{by}: {area}; from "
            f"{together.least:.2f} on it is drift. How they go together has changed, or many have moved a little."
        )
    return (
        f"All columns together look like training rows too: {area} of {together.rows:,} entities, where 0.5 tells "
        f"nothing; from {together.shown:.2f} on it would be found."
    )


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


def _quality(window: Window, report: Report | None, skew: Skew | str | None, params: Params) -> Check:
    findings = tuple(_faults(window, report, skew, params))
    if findings:
        return Check(QUALITY, "red", findings)
    told = [f"{refused_share(window):.1%} of the rows broke the contract."]
    if isinstance(skew, str) and skew != NOT_HERE:  # that is said once, beside the drift
        told.append(skew)
    elif isinstance(skew, Skew):
        least = skew.columns[0]
        told.append(
            f"Of {skew.rows:,} answers {skew.origin} has the same entity and time; each column is equal in at least "
            f"{least.share:.1%} of them."
        )
    return Check(QUALITY, "green", tuple(told))


def _faults(window: Window, report: Report | None, skew: Skew | str | None, params: Params) -> Iterator[str]:
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
    if isinstance(skew, Skew) and skew.differing:
        named = [f"{each.name} (equal in {each.share:.1%})" for each in skew.differing]
        yield (
            f"The client computes otherwise than training does: {_join(named)} of {skew.rows:,} answers about whom "
            f"{skew.origin} has a row of the same time. Or the table was corrected since."
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


NO_ESTIMATE: Final = "Without labels nothing is known of it: an amount says nothing about its own error."


def describe_estimate(estimate: Estimate, on_holdout: Interval | None, then: float | None) -> str:
    """Say what the metric would be without labels, how far that was off on the holdout, and when it is wrong.

    Args:
        estimate: of the window.
        on_holdout: the metric, measured at registration; None: not known.
        then: the same estimate on the holdout; None: not known.
    """
    off = ""
    if on_holdout and then is not None:
        off = f" At registration this estimate was {then:.4g}, and measured {on_holdout.value:.4g}."
    return (
        f"Estimated without labels, from the probabilities alone (CBPE): {estimate.metric} {estimate.value:.4g} on "
        f"{estimate.rows:,} answers.{off} It does not see that the same inputs mean something else now, and decides "
        "nothing."
    )


def _performance(performance: Performance | str, estimate: str) -> Check:
    if isinstance(performance, str):
        return Check(PERFORMANCE, "unknown", (performance, *([estimate] if estimate else ())))
    interval = describe_interval(performance.as_dict())
    demand = "at least" if performance.direction == "higher" else "at most"
    sentence = (
        f"{performance.metric} is {interval} on the newest {performance.rows:,} labelled answers; "
        f"{demand} {performance.threshold:g} is demanded."
    )
    findings = [f"{sentence} {performance.left_out}".strip()]
    if performance.reference is not None:
        findings.append(_since_registration(performance))
    return Check(PERFORMANCE, performance.state, (*findings, *performance.miscalibrated))


def _since_registration(performance: Performance) -> str:
    limits = ""
    if performance.reference_low is not None:
        limits = f" ({performance.reference_low:.4g} to {performance.reference_high:.4g})"
    told = f"At registration it was {performance.reference:.4g}{limits}"
    lost = performance.lost
    if lost is None:
        return f"{told}; without both intervals nobody can say whether it is worse since."
    reach = f"lost since: {lost.value:.2g} ({lost.low:.2g} to {lost.high:.2g})"
    if lost.beyond_doubt:
        return f"{told}; {reach}, which is more than {lost.margin:.2g} (gate.champion_margin) beyond doubt."
    return f"{told}; {reach}. So many answers would show a loss from {lost.shown:.2g} on."


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
