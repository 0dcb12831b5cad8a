"""The monitor's numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from twoloops import textfile
from twoloops.textfile import Sample

HELPS = {
    "monitor_last_run_timestamp_seconds": "When the monitor last ran.",
    "monitor_window_rows": "Rows of the last window.",
    "monitor_feature_drift": "Population stability index of a feature in the last window.",
    "monitor_score_drift": "Population stability index of an output in the last window.",
    "monitor_joint_drift_area": "Area under the ROC curve of telling the last window from training rows; 0.5 is none.",
    "monitor_equal_share": "Share of answers in which a feature equals the training table's, same entity and time.",
    "monitor_performance_estimated": "The metric by the probabilities alone, without labels: blind to concept drift.",
    "monitor_missing_share": "Share of a feature's values that are missing in the last window.",
    "monitor_refused_share": "Share of the rows that broke the contract in the last window.",
    "monitor_performance": "Metric on labelled answers.",
    "monitor_performance_reference": "The same metric on the holdout, when the model was judged.",
    "monitor_performance_missed": "1 when even the better end of the metric's interval misses what the gate demands.",
    "monitor_champion_age_seconds": "Age of the newest training row less data.label_days, or of the registration.",
    "monitor_window_red": "1 when the last window is red.",
    "monitor_red": "1 when something has to be done about the model: too many red windows, or too old.",
    "monitor_retraining_started_timestamp_seconds": "When the last retraining was started.",
}


def write(target: Path, result: dict[str, Any], window: dict[str, Any]) -> None:
    """Write the textfile.

    Args:
        target: the file.
        result: what this run found.
        window: the report of the last window, which is `result` itself when this run formed one;
            empty when this model has had none.
    """
    textfile.write(target, [*_of_run(result), *(_of_window(window) if window else ())], HELPS)


def _of_run(result: dict[str, Any]) -> Iterator[Sample]:
    yield Sample("monitor_last_run_timestamp_seconds", _seconds(result["at"]))
    yield Sample("monitor_red", bool(result["reasons"]))
    if result["model"]["age_seconds"] is not None:
        yield Sample("monitor_champion_age_seconds", result["model"]["age_seconds"])
    if result["retraining"]:
        yield Sample("monitor_retraining_started_timestamp_seconds", _seconds(result["retraining"]["started_at"]))
    if result["performance"]:
        about = {"metric": result["performance"]["metric"]}
        yield Sample("monitor_performance", result["performance"]["value"], about)
        yield Sample("monitor_performance_missed", result["performance"]["missed"], about)
        if result["performance"]["reference"] is not None:
            yield Sample("monitor_performance_reference", result["performance"]["reference"], about)


def _of_window(report: dict[str, Any]) -> Iterator[Sample]:
    yield Sample("monitor_window_red", report["window_red"])
    yield Sample("monitor_window_rows", report["window"]["rows"])
    yield Sample("monitor_refused_share", report["window"]["refused_share"])
    if report["drift"]:
        for each in report["drift"]["features"]:
            yield Sample("monitor_feature_drift", each["psi"], {"feature": each["name"]})
            yield Sample("monitor_missing_share", each["missing"], {"feature": each["name"]})
        for each in report["drift"]["scores"]:
            yield Sample("monitor_score_drift", each["psi"], {"output": each["name"]})

    if report.get("together"):
        yield Sample("monitor_joint_drift_area", report["together"]["area"])
    if report.get("serving_skew"):
        for each in report["serving_skew"]["columns"]:
            yield Sample("monitor_equal_share", each["share"], {"feature": each["name"]})
    if report.get("estimate"):
        about = {"metric": report["estimate"]["metric"]}
        yield Sample("monitor_performance_estimated", report["estimate"]["value"], about)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
