"""A run of batch scoring, from the plan to the manifest."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

from twoloops import artifact, registry
from twoloops.artifact import Predictor
from twoloops.errors import ProjectError
from twoloops.params import Params
from twoloops.scoring import engines, partitions, publishing
from twoloops.scoring.engines import Engine, Model, Tell
from twoloops.scoring.locking import acquire
from twoloops.scoring.partitions import CONNECTIONS, Partition
from twoloops.scoring.places import Place
from twoloops.scoring.sampling import threshold
from twoloops.scoring.scorer import FOLDERS, STATE, Job

REGISTRY_SCHEME: Final = "models:/"


class Watch(Protocol):
    """What shows the progress of a run."""

    def __call__(self, rows: int | None, /) -> AbstractContextManager[Tell]:
        """Begin to show that `rows` will be done; None: nobody knows how many."""


def show_nothing(rows: int | None) -> AbstractContextManager[Tell]:
    """Show nothing."""
    return nullcontext(lambda _: None)


@dataclass(frozen=True)
class Options:
    """How to score.

    Attributes:
        force: score all partitions again.
        keep_columns: write all columns of the source beside the predictions, and not the keys alone.
            Personal columns are never written, but for the entity.
        engine: what runs the partitions.
        workers: threads on this machine, or cores of a Ray that is started here. Default: all cores.
    """

    force: bool = False
    keep_columns: bool = False
    engine: Engine = "local"
    workers: int | None = None


def score(
    source: str,
    target: str,
    params: Params,
    *,
    model: str | None = None,
    options: Options = Options(),
    watch: Watch = show_nothing,
) -> dict[str, Any]:
    """Score a table of any size; what is done already, and has not changed, is not done again.

    Args:
        source: a Parquet or CSV file, or a folder of Parquet files: a path or a URL (s3, gs, abfss).
        target: the folder for the results, likewise. The package's docstring tells what is in it.
        params: the sections `score` and `monitor`, and the seed of the sample, are used.
        model: a folder or a `models:/` address; without it the champion, else the challenger.
        options: how.
        watch: shows the progress.

    Returns:
        The summary. Its status is "published", "unchanged", or "failed" when too many rows were
        quarantined: nothing is published then, and an earlier manifest stays valid.

    Raises:
        ProjectError: there is no model, or nothing to score, or a file cannot be used, or another run
            is at work.
    """
    started = time.monotonic()
    try:
        loaded = _load(model)
        origin, goal = Place.of(source), Place.of(target)
        if origin.overlaps(goal):
            raise ProjectError(
                f"{target} and {source} lie in one another: the results would be scored next time.",
                hint="Name a folder for the results beside the source.",
            )
        summary = _score(origin, goal, params, loaded, options, watch, started)
    except BaseException:
        publishing.write_metrics(None, time.monotonic() - started)
        raise
    publishing.write_metrics(summary, summary["seconds"])
    return summary


def _load(uri: str | None) -> Model:
    number = None
    if uri is None:
        version = registry.find_in_use()
        uri, number = version.uri, version.number
    is_registered = uri.startswith(REGISTRY_SCHEME)
    with registry.download(uri) if is_registered else nullcontext(Path(uri)) as folder:
        found = artifact.read(folder)
        predictor = Predictor.of(found)
    if is_registered and number is None:
        name, _, alias = uri.partition("@")
        named = registry.find(alias) if alias else None
        number = named.number if named else name.rpartition("/")[2]
    elif number is None:
        # A platform that hands over a folder says which version it is, and which artifact.
        artifact.check_identity(predictor.identity, folder)
        number = os.environ.get("MODEL_VERSION")
    return Model(uri, number, predictor, found.files)


def _score(
    source: Place, target: Place, params: Params, model: Model, options: Options, watch: Watch, started: float
) -> dict[str, Any]:
    run = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"
    with acquire(target, run) as lock:
        publishing.clear_unfinished(target)
        plan = partitions.plan(source, model.predictor.batches, params.score.partition_rows)
        job = Job(
            source=source.address,
            target=target.address,
            run=run,
            identity=model.predictor.identity,
            rules=model.predictor.batches.version,
            seed=params.seed,
            batch_rows=params.score.batch_rows,
            sample_below=1.0,
            keep_columns=options.keep_columns,
        )
        published = publishing.fingerprints(target)
        # The sample is of what is new since the last manifest, however often the run is interrupted.
        new = [part for part in plan if job.fingerprint(part) not in published]
        job = replace(job, sample_below=threshold(sum(part.rows or 0 for part in new or plan)))
        records = {} if options.force else _done(target, plan, job)
        todo = [part for part in plan if job.fingerprint(part) not in records]
        total = None if any(part.rows is None for part in todo) else sum(part.rows or 0 for part in todo)
        with watch(total) as show:

            def tell(rows: int) -> None:
                lock.renew()
                show(rows)

            for record in engines.run(options.engine, todo, job, model, options.workers, tell):
                records[record["fingerprint"]] = record
        result = publishing.Result(
            run=run,
            source=source.uri,
            records=[records[job.fingerprint(part)] for part in plan],
            scored_now={job.fingerprint(part) for part in todo},
            new={job.fingerprint(part) for part in new},
        )
        return publishing.publish(target, result, model, params, lock, started)


def _done(target: Place, plan: list[Partition], job: Job) -> dict[str, dict[str, Any]]:
    """Return the records of partitions that are scored, and whose files are there as they were written."""
    there = {name: size for folder in FOLDERS for name, size in target.list_files(folder).items()}
    names = [f"{STATE}/{job.fingerprint(part)}.json" for part in plan]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        found = list(pool.map(target.read_json, [name for name in names if name in there]))
    return {
        record["fingerprint"]: record
        for record in found
        if record and all(there.get(file["file"]) == file["bytes"] for file in publishing.files(record))
    }
