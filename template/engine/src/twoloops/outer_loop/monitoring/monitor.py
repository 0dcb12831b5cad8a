"""One run of the monitor: the captures that came since the last one, judged as one window."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from twoloops import config, drift, lineage, registry
from twoloops.artifact import Predictor
from twoloops.errors import ProjectError
from twoloops.inner_loop import label_free
from twoloops.inner_loop.evaluate import primary
from twoloops.inner_loop.fetch import SIMULATED_FILE
from twoloops.inner_loop.measure import Interval
from twoloops.outer_loop.monitoring import (
    assessment,
    captures,
    checks,
    history,
    joint,
    metrics,
    page,
    performance,
    skew,
    training,
)
from twoloops.params import Params
from twoloops.paths import paths
from twoloops.storage import read_json, replacing, write_json

logger = logging.getLogger(__name__)

SHOWN_WINDOWS = 40  # on the page
NO_LABELS = "No labels were given (--labels), so the performance is not known."
GREEN, RED, WAITING = "green", "red", "waiting"


@dataclass(frozen=True)
class MonitoredModel:
    """The model that is watched."""

    predictor: Predictor
    version: str | None  # None: it came from a folder
    registered_at: datetime | None
    judged: Judged


@dataclass(frozen=True)
class Judged:
    """What the verdict and the lineage say of a model."""

    on_holdout: Interval | None  # the primary metric, when the model was judged
    weights: dict[str, float] | None  # what each feature brings, of the most important one's importance
    label_free: float | None  # what the probabilities alone said of the metric then
    until: datetime | None  # the time of the newest training row; None: rows have no time
    simulated: bool  # then its age says nothing: such rows are of the same days whenever they are made

    @property
    def learned_until(self) -> datetime | None:
        """The time from which the age counts; None: it counts from the registration."""
        return None if self.simulated else self.until


def _load_monitored(model: str | None, params: Params) -> MonitoredModel:
    if model and not model.startswith("models:/"):
        return MonitoredModel(Predictor.load(model), None, None, _judged(Path(model), params))
    with registry.download(model or registry.find_in_use().uri) as folder:
        predictor, judged = Predictor.load(folder), _judged(folder, params)
    version = registry.find_version("model_identity", predictor.identity)
    if version is None:
        return MonitoredModel(predictor, None, None, judged)
    return MonitoredModel(predictor, version.number, datetime.fromisoformat(version.registered_at), judged)


def _judged(folder: Path, params: Params) -> Judged:
    verdict = performance.read_verdict(folder)
    file = folder / lineage.FILE
    until = read_json(file, "train").get("until") if file.exists() else None
    return Judged(
        performance.on_holdout(verdict, primary(params).name),
        performance.weights(verdict),
        (verdict.get("label_free") or {}).get("value"),
        datetime.fromisoformat(until) if until else None,
        params.data.source.endswith(SIMULATED_FILE),
    )


def monitor(
    params: Params,
    *,
    root: Path | None = None,
    labels: str | None = None,
    model: str | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Judge the captures that came since the last run, and decide whether something has to be done.

    Writes report.json, index.html, monitor.prom and, last, history.json to reports/monitoring: a
    run that is killed before counts for nothing, and the next one sees the same window.

    Args:
        params: the checked params.yaml.
        root: the folder of the captures; None: data/captures.
        labels: a table with the entity and the target, a path or a URL; None: performance is not judged.
        model: a folder, or a `models:/` address; None: the champion.
        now: the time of this run; None: the clock's.

    Returns:
        What lies in report.json. `decision` is "green", "red", or "waiting" when there are too few
        rows: then nothing was consumed. `retrain` says whether to start a retraining now.

    Raises:
        ProjectError: no model, no reference, a damaged history, or labels that break the contract.
    """
    now = now or datetime.now(UTC)
    past = history.load()
    watched = _load_monitored(model, params)
    files = captures.find(root)
    consumed = set(past.consumed)
    logger.info("%s files of captures, %s of them judged before", len(files), len(consumed))
    window = captures.gather([path for path in files if captures.label(path) not in consumed], watched.predictor)
    measured: performance.Performance | str = NO_LABELS
    if labels:
        measured = performance.judge(files, labels, watched.predictor, params, watched.judged.on_holdout, now)
    stale = checks.staleness(watched.registered_at, watched.judged.learned_until, params, now)
    # Refused rows count: were all of them refused, there would never be a window to say so.
    enough = window.rows + window.refused >= params.monitor.minimum_rows

    seen = _look(window, files, watched, params) if enough else Seen()
    found = checks.of_window(window, seen.report, seen.together, seen.skew, measured, _estimated(watched, seen), params)
    updated = past
    if enough:
        updated = history.with_window(past, _entry(watched, window, seen.report, measured, found, now), window.files)
    windows = updated.of_model(watched.predictor.identity)
    cooling = past.cooling_until(params.monitor, now)
    decision = assessment.decide(windows, stale, cooling, params)
    result = _result(params, watched, window, seen, measured, [*found, stale], decision, enough, now)
    result["timeline"] = [each.model_dump(mode="json") for each in windows[-SHOWN_WINDOWS:]]
    result["retraining"] = past.retraining.model_dump(mode="json") if past.retraining else None
    if enough:
        write_json(paths().monitoring / "report.json", result)
        with replacing(paths().monitor_page) as new:
            new.write_text(page.render(result), encoding="utf-8")
        metrics.write(paths().monitoring / "monitor.prom", result, result)
        history.save(updated)
    else:
        _wait(result, stale)
        metrics.write(paths().monitoring / "monitor.prom", result, _last_report(watched.predictor.identity))
    return result


@dataclass(frozen=True)
class Seen:
    """What a window shows beside labels: a text says why there is nothing, None that nothing was looked at."""

    report: drift.Report | None = None
    together: joint.Joint | str | None = None
    skew: skew.Skew | str | None = None
    estimate: label_free.Estimate | None = None


def _look(window: captures.Window, files: list[Path], watched: MonitoredModel, params: Params) -> Seen:
    rows, predictor, judged = window.sample.rows, watched.predictor, watched.judged
    if window.tally is None or rows is None or window.rows < params.monitor.minimum_rows:
        return Seen()
    report = drift.judge(window.tally, predictor.layout, predictor.reference, params.monitor, judged.weights)
    estimate = None
    if predictor.signature.classes:
        estimate = label_free.estimate(primary(params), rows.scores, params.seed)
    if not predictor.layout.watched:
        return Seen(report, estimate=estimate)
    table = training.read(params, predictor)
    if isinstance(table, str):
        return Seen(report, table, table, estimate)
    together: joint.Joint | str | None = None
    if not report.weighed_drift:  # else single columns tell already, and better
        until = judged.until
        newest = np.datetime64(until.astimezone(UTC).replace(tzinfo=None), "us") if until else None
        together = joint.look(rows, table, predictor, params, judged.weights, newest)
    return Seen(report, together, skew.compare(files, table, predictor, params.monitor), estimate)


def _estimated(watched: MonitoredModel, seen: Seen) -> str:
    """Say what the metric would be, by the probabilities alone; empty where nothing was looked at."""
    if not watched.predictor.signature.classes:
        return checks.NO_ESTIMATE if seen.report else ""
    if seen.estimate is None:
        return ""
    return checks.describe_estimate(seen.estimate, watched.judged.on_holdout, watched.judged.label_free)


def _entry(
    watched: MonitoredModel,
    window: captures.Window,
    report: drift.Report | None,
    measured: performance.Performance | str,
    found: list[checks.Check],
    now: datetime,
) -> history.PastWindow:
    red = [check for check in found if check.state == "red"]
    state, faulty = assessment.assess(found), assessment.is_faulty(found)
    return history.PastWindow(
        at=now,
        model=watched.predictor.identity,
        rows=window.rows,
        red=assessment.is_red(state, faulty),
        reasons=tuple(f"{check.name}: {finding}" for check in red for finding in check.findings),
        state=state,
        faulty=faulty,
        feature_drift=max((each.psi for each in report.features), default=0.0) if report else None,
        score_drift=max((each.psi for each in report.scores), default=0.0) if report else None,
        performance=measured.value if isinstance(measured, performance.Performance) else None,
    )


def _result(
    params: Params,
    watched: MonitoredModel,
    window: captures.Window,
    seen: Seen,
    measured: performance.Performance | str,
    found: list[checks.Check],
    decision: assessment.Decision,
    enough: bool,
    now: datetime,
) -> dict[str, Any]:
    # Rows as young as labels need are as new as rows can be: the age counts from then.
    since = watched.registered_at
    if watched.judged.learned_until:
        since = watched.judged.learned_until + timedelta(days=params.data.label_days or 0)
    window_red = assessment.is_red(assessment.assess(found), assessment.is_faulty(found))
    return {
        "at": now.isoformat(timespec="seconds"),
        **assessment.as_dict(decision),
        "headline": assessment.headline(decision, window_red),
        "advice": assessment.advise(
            decision,
            window_red,
            isinstance(measured, performance.Performance),
            params,
            f"uv run {config.current().package}",
            f"{decision.cooling_until:%Y-%m-%d %H:%M} UTC" if decision.cooling_until else "",
        ),
        "window_red": window_red,
        "model": {
            "identity": watched.predictor.identity,
            "version": watched.version,
            "registered_at": watched.registered_at.isoformat() if watched.registered_at else None,
            "learned_until": watched.judged.learned_until.isoformat() if watched.judged.learned_until else None,
            "age_seconds": max((now - since).total_seconds(), 0.0) if since else None,
        },
        "window": {
            "rows": window.rows,
            "enough": enough,
            "first": window.first.isoformat() if window.first else None,
            "last": window.last.isoformat() if window.last else None,
            "files": len(window.files),
            "rows_of_other_models": dict(window.others),
            "refused": window.refused,
            "refused_share": checks.refused_share(window),
            "dropped": window.dropped,
            "dropped_share": checks.dropped_share(window),
            "skew": window.skew,
            "unreadable": window.unreadable,
        },
        "checks": [asdict(check) for check in found],
        "drift": seen.report.as_dict() if seen.report else None,
        "together": seen.together.as_dict() if isinstance(seen.together, joint.Joint) else None,
        "serving_skew": seen.skew.as_dict() if isinstance(seen.skew, skew.Skew) else None,
        "estimate": seen.estimate.as_dict() | {"on_holdout": watched.judged.label_free} if seen.estimate else None,
        "performance": measured.as_dict() if isinstance(measured, performance.Performance) else None,
        "params": params.monitor.model_dump(),
    }


def _wait(result: dict[str, Any], stale: checks.Check) -> None:
    """Turn a result into that of a run that has too few rows: only the model's age can make it red."""
    if stale.state != "red":
        result |= {"decision": WAITING, "retrain": False, "headline": "Waiting: there are too few new rows to judge"}


def _last_report(identity: str) -> dict[str, Any]:
    """Return the last window's report, for the numbers that stay true while the monitor waits."""
    try:
        report: dict[str, Any] = read_json(paths().monitoring / "report.json", "monitor")
    except ProjectError:  # none yet, or a damaged one, which the next window replaces
        return {}
    return report if report["model"]["identity"] == identity else {}
