"""What others read: the manifest, the summary, a sample for the monitor, numbers for Prometheus."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow import parquet as pq

from twoloops import textfile
from twoloops.contracts.captures import QUALITY
from twoloops.drift import compare
from twoloops.errors import ProjectError
from twoloops.params import Params
from twoloops.paths import paths
from twoloops.scoring.engines import Model
from twoloops.scoring.locking import Lock
from twoloops.scoring.places import Place, translate_errors
from twoloops.scoring.sampling import arrays, as_capture, merge
from twoloops.scoring.scorer import FOLDERS, STATE
from twoloops.storage import replacing

FORMAT_VERSION: Final = 1
PUBLISHED, FAILED, UNCHANGED = "published", "failed", "unchanged"
MANIFEST, SUMMARY = "manifest.json", "summary.json"
KINDS = ("predictions", "quarantine", "sample")
# The names that scoring gives: nothing else is ever deleted.
OWN_NAME = re.compile(r"[0-9a-f]{16}-\d{8}T\d{6}-[0-9a-f]{8}\.parquet|[0-9a-f]{32}\.json")
UNFINISHED = re.compile(rf"\.({OWN_NAME.pattern}|{re.escape(MANIFEST)}|{re.escape(SUMMARY)})-.+")
LAST_SUCCESS = "score_last_success_timestamp_seconds"
HELPS = {
    LAST_SUCCESS: "When scoring last ended well, in seconds since 1970.",
    "score_last_run_timestamp_seconds": "When scoring last ended, well or not, in seconds since 1970.",
    "score_rows": "Rows of the last run's source, by outcome.",
    "score_failed": "1 if the last run failed, or quarantined too many rows.",
    "score_duration_seconds": "How long the last run took.",
}


@dataclass(frozen=True)
class Result:
    """What a run has made of a source.

    Attributes:
        run: its name.
        source: as the user named it.
        records: of all partitions, in the source's order.
        scored_now: the fingerprints of those that this run scored, and did not find done.
        new: the fingerprints of those that the last manifest does not list.
    """

    run: str
    source: str
    records: list[dict[str, Any]]
    scored_now: set[str]
    new: set[str]

    def total(self, count: str) -> int:
        """Return the sum of a count of all records."""
        return sum(record[count] for record in self.records)


def files(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the files that a record speaks of."""
    return (record[kind] for kind in KINDS if record[kind])


def fingerprints(target: Place) -> set[str]:
    """Return the partitions that the manifest lists; none without a manifest."""
    manifest = target.read_json(MANIFEST) or {}
    return {each["fingerprint"] for each in manifest.get("partitions", [])}


def clear_unfinished(target: Place) -> None:
    """Remove what a killed run was writing. An object store shows no unfinished file."""
    if target.is_local:
        root = Path(target.path)
        for folder in (root, *(root / name for name in FOLDERS)):
            for path in folder.glob(".*"):
                if UNFINISHED.fullmatch(path.name):
                    shutil.rmtree(path, ignore_errors=True)


def publish(target: Place, result: Result, model: Model, params: Params, lock: Lock, started: float) -> dict[str, Any]:
    """Publish a run's results, or say why not.

    Args:
        target: where they are.
        result: what there is.
        model: which scored.
        params: how many rows may be quarantined, and what counts as drift.
        lock: looked at again before anything is published.
        started: the time of the monotonic clock.

    Returns:
        The summary, which is written to the target too, unless nothing has changed.

    Raises:
        ProjectError: the source has no rows, or another run has taken over.
    """
    rows, quarantined = result.total("rows"), result.total("quarantined")
    if not rows:
        raise ProjectError(f"{result.source} holds no rows.", hint="Check what should have filled it.")
    failed = quarantined > params.score.maximum_quarantined_share * rows
    listed = {record["fingerprint"] for record in result.records}
    unchanged = not result.scored_now and listed == fingerprints(target)
    rules: Counter[str] = Counter()
    for record in result.records:
        rules.update(record["rules"])
    now = datetime.now(UTC)
    summary: dict[str, Any] = {
        "status": FAILED if failed else UNCHANGED if unchanged else PUBLISHED,
        "run": result.run,
        "finished_at": now.isoformat(timespec="seconds"),
        "source": result.source,
        "target": target.uri,
        "model": {"uri": model.uri, "version": model.version, "identity": model.predictor.identity},
        "rows": rows,
        "scored": result.total("scored"),
        "quarantined": quarantined,
        "quarantined_share": quarantined / rows,
        "rules": dict(rules.most_common()),
        "partitions": len(result.records),
        "partitions_scored_now": len(result.scored_now),
        "drift": None,
    }
    # What is new, or all of it when nothing is: a run with --force compares again.
    about = [record for record in result.records if record["fingerprint"] in (result.new or listed)]
    sample = _sample(target, about)
    if sample is not None:
        report = compare(
            *arrays(sample, model.predictor.layout),
            model.predictor.layout,
            model.predictor.reference,
            params.monitor,
        )
        summary["drift"] = {
            "rows": report.rows,
            "drifted": report.drifted,
            "lacking": report.lacking,
            "features": {each.name: each.psi for each in report.features},
            "scores": {each.name: each.psi for each in report.scores},
        }
    if result.new and not failed:
        _capture(sample, about, model, now)

    lock.confirm()
    if not failed and not unchanged:
        target.write_json(MANIFEST, _manifest(summary, result))
    if not failed:
        _remove_leftovers(target, result)
    seconds = time.monotonic() - started
    now_scored = sum(record["rows"] for record in result.records if record["fingerprint"] in result.scored_now)
    summary |= {
        "seconds": round(seconds, 3),
        "rows_scored_now": now_scored,
        "rows_per_second": round(now_scored / seconds),
    }
    if not unchanged:
        target.write_json(SUMMARY, summary)
    return summary


def _manifest(summary: Mapping[str, Any], result: Result) -> dict[str, Any]:
    about = {name: summary[name] for name in ("run", "finished_at", "source", "model", "rows", "scored", "quarantined")}
    left_out = {"sample", "sample_below"}
    parts = [{name: value for name, value in record.items() if name not in left_out} for record in result.records]
    return {"format_version": FORMAT_VERSION, **about, "partitions": parts}


def _remove_leftovers(target: Place, result: Result) -> None:
    """Remove the files of earlier runs that the manifest no longer lists."""
    valid = {file["file"] for record in result.records for file in files(record)}
    valid |= {f"{STATE}/{record['fingerprint']}.json" for record in result.records}
    for folder in FOLDERS:
        for name in target.list_files(folder):
            if name not in valid and OWN_NAME.fullmatch(name.rpartition("/")[2]):
                target.remove(name)


def _sample(target: Place, records: list[dict[str, Any]]) -> pa.Table | None:
    samples = []
    for record in records:
        if record["sample"]:
            path = f"{target.path}/{record['sample']['file']}"
            with translate_errors(target.uri), target.filesystem.open_input_file(path) as stream:
                samples.append((pq.read_table(stream), record["sample_below"]))
    return merge(samples) if samples else None


def _capture(sample: pa.Table | None, records: list[dict[str, Any]], model: Model, now: datetime) -> None:
    """Hand a sample to the monitor, once for the same rows, even when the run was interrupted right after."""
    unique = hashlib.sha256("".join(record["fingerprint"] for record in records).encode()).hexdigest()[:16]
    if sample is None or any(paths().batch_captures.glob(f"*-{unique}.parquet")):
        return
    identity = model.predictor.identity
    table = as_capture(
        sample, model.predictor.layout, version=model.version or identity[:12], identity=identity, when=now
    )
    # The monitor takes refused rows as a share of all: they are counted as the sample counts the others.
    scored, quarantined = (sum(record[name] for record in records) for name in ("scored", "quarantined"))
    quality = {"refused": round(quarantined * table.num_rows / scored), "dropped": 0}
    with replacing(paths().batch_captures / f"{now:%Y%m%dT%H%M%S%f}Z-{unique}.parquet") as new:
        pq.write_table(table.replace_schema_metadata({QUALITY: json.dumps(quality)}), new)


def write_metrics(summary: Mapping[str, Any] | None, seconds: float) -> None:
    """Tell Prometheus how the run ended.

    Args:
        summary: of the run; None: it did not come so far.
        seconds: how long it took.
    """
    now = time.time()
    succeeded = summary is not None and summary["status"] != FAILED
    samples = [
        textfile.Sample("score_last_run_timestamp_seconds", now),
        textfile.Sample("score_failed", float(not succeeded)),
        textfile.Sample("score_duration_seconds", seconds),
    ]
    last = now if succeeded else _last_success()
    if last is not None:
        samples.append(textfile.Sample(LAST_SUCCESS, last))
    if summary is not None:
        samples += [
            textfile.Sample("score_rows", float(summary[outcome]), {"outcome": outcome})
            for outcome in ("scored", "quarantined")
        ]
    textfile.write(paths().scoring_metrics, samples, HELPS)


def _last_success() -> float | None:
    if not paths().scoring_metrics.exists():
        return None
    lines = paths().scoring_metrics.read_text(encoding="utf-8").splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{LAST_SUCCESS} ")), None)
