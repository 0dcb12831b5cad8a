"""One partition: read, checked, scored and written as a whole. Every engine runs this function."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet as pq

from twoloops.artifact import Predictor, Scores
from twoloops.contracts.scoring import Broken, Checked
from twoloops.scoring import partitions
from twoloops.scoring.partitions import Partition
from twoloops.scoring.places import Place
from twoloops.scoring.sampling import Keys, Sample, draws

FOLDERS = PREDICTIONS, QUARANTINE, STATE = "predictions", "quarantine", "state"
IDENTITY_LENGTH: Final = 12  # of the model's identity beside each prediction, as elsewhere
MODEL = "model"
REASON, SOURCE_FILE, SOURCE_ROW = "reason", "source_file", "source_row"


@dataclass(frozen=True)
class Job:
    """What all partitions of a run have in common.

    Attributes:
        source: where the rows are.
        target: where the results go.
        run: the run's own name, so that no run overwrites a file of another.
        identity: of the model.
        rules: the version of the rules by which rows are checked.
        seed: of the sample.
        batch_rows: rows in memory at once, per thread.
        sample_below: the sample's threshold: see sampling.py.
        keep_columns: whether predictions carry all columns of the source along.
    """

    source: str
    target: str
    run: str
    identity: str
    rules: int
    seed: int
    batch_rows: int
    sample_below: float
    keep_columns: bool

    def fingerprint(self, partition: Partition) -> str:
        """Return what changes when the result for a partition may be another."""
        return partition.fingerprint(self.identity, self.rules, self.keep_columns)


@dataclass
class Written:
    """A file that is filled batch by batch; without a row there is none."""

    place: Place
    name: str
    rows: int = 0
    size: int = 0  # bytes, once it is complete
    _stack: ExitStack = field(default_factory=ExitStack)
    _writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        """Append rows as a row group."""
        if not table.num_rows:
            return
        if self._writer is None:
            sink = self._stack.enter_context(self.place.writing(self.name))
            self._stack.callback(self._measure, sink)
            # Numbers hardly ever repeat enough for a dictionary to pay, text does.
            text = [each.name for each in table.schema if pa.types.is_string(each.type)]
            self._writer = self._stack.enter_context(
                pq.ParquetWriter(sink, table.schema, compression="zstd", use_dictionary=text)
            )
        self._writer.write_table(table.cast(self._writer.schema), row_group_size=max(table.num_rows, 1))
        self.rows += table.num_rows

    def _measure(self, sink: pa.NativeFile) -> None:
        self.size = sink.tell()

    def __enter__(self) -> Written:
        """Begin; the file is opened with the first row."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Complete the file; on an error the record, without which no file counts, is not written."""
        self._stack.__exit__(*error)


@dataclass
class Scored:
    """A batch after its work: rows to write, what to count, and what to draw the sample from."""

    rows: int
    good: pa.Table
    bad: pa.Table
    rules: Counter[str]
    sampled: tuple[NDArray[Any], Scores, Keys, NDArray[np.float64]]


def score_partition(
    partition: Partition, job: Job, predictor: Predictor, *, threads: int, tell: Callable[[int], None]
) -> dict[str, Any]:
    """Score one partition and record it: each file whole or not at all, the record last.

    Args:
        partition: which rows.
        job: what all partitions have in common.
        predictor: the model, loaded.
        threads: batches that are scored at the same time; the calling thread reads and writes.
        tell: called with the number of rows after each batch.

    Returns:
        The record: counts, files and sizes. It is in the target's state folder too.

    Raises:
        ProjectError: the rows cannot be read, or the results cannot be written.
    """
    source, target = Place.of(job.source), Place.of(job.target)
    fingerprint = job.fingerprint(partition)
    name = f"{fingerprint[:16]}-{job.run}.parquet"
    signature = predictor.signature
    sample = Sample(predictor.layout, job.sample_below, keeps_entities=signature.entity not in signature.personal)
    rules: Counter[str] = Counter()
    rows = 0
    with (
        Written(target, f"{PREDICTIONS}/{name}") as predictions,
        Written(target, f"{QUARANTINE}/{name}") as quarantine,
    ):
        for scored in _score_batches(partition, job, predictor, source, threads):
            predictions.add(scored.good)
            quarantine.add(scored.bad)
            sample.add(*scored.sampled)
            rules.update(scored.rules)
            rows += scored.rows
            tell(scored.rows)
    with Written(target, f"{STATE}/{name}") as sampled:
        table = sample.table()
        if table is not None:
            sampled.add(table)
    record = {
        "fingerprint": fingerprint,
        "source": partition.file,
        "first_row": partition.first_row,
        "row_groups": list(partition.row_groups),
        "rows": rows,
        "scored": predictions.rows,
        "quarantined": quarantine.rows,
        "rules": dict(rules),
        "sample_below": sample.below,
    } | {
        kind: {"file": each.name, "rows": each.rows, "bytes": each.size} if each.rows else None
        for kind, each in (("predictions", predictions), ("quarantine", quarantine), ("sample", sampled))
    }
    target.write_json(f"{STATE}/{fingerprint}.json", record)
    return record


def _score_batches(
    partition: Partition, job: Job, predictor: Predictor, source: Place, threads: int
) -> Iterator[Scored]:
    """Score batches in threads, in their order: reading, the model and writing overlap.

    The libraries release Python's lock while they work. At most `threads` + 1 batches are in memory
    beside the one that is written.
    """
    first = partition.first_row
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Scored]] = deque()
        for batch in partitions.read(source, partition, predictor.batches, job.batch_rows):
            waiting.append(pool.submit(_score, batch, first, partition, job, predictor))
            first += batch.num_rows
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _score(batch: pa.RecordBatch, first: int, partition: Partition, job: Job, predictor: Predictor) -> Scored:
    signature = predictor.signature
    checked = predictor.batches.check(batch)
    good = ~checked.bad
    inputs = checked.inputs if good.all() else checked.inputs[good]
    scores = predictor.score_inputs(inputs) if len(inputs) else np.empty((0, len(signature.outputs)))
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        # The model's fault, not the row's: but such an answer must not be used either.
        unanswered = np.zeros(len(good), dtype=np.bool_)
        unanswered[np.flatnonzero(good)[~finite]] = True
        checked.broken.append(Broken("the model's answer is not finite", unanswered))
        good, inputs, scores = good & ~unanswered, inputs[finite], scores[finite]

    table = _as_it_came(batch)
    keys = [name for name in (signature.entity, signature.event_time) if name is not None]
    names = table.column_names if job.keep_columns else keys
    kept = pa.table([checked.read.get(name, table.column(name)) for name in names], names=names)
    kept = kept if good.all() else kept.filter(pa.array(good))
    predictions = {name: pa.array(column) for name, column in predictor.problem.predictions(scores, signature).items()}
    model = pa.repeat(job.identity[:IDENTITY_LENGTH], len(scores))
    draw = draws(len(scores), job.seed, job.fingerprint(partition), first)
    has_time = signature.event_time is not None and signature.event_time not in signature.personal
    times = kept.column(signature.event_time) if has_time else None
    return Scored(
        rows=len(good),
        good=_with(kept, predictions | {MODEL: model}),
        bad=_quarantine(table, checked, partition, first),
        rules=Counter({each.rule: int(each.rows.sum()) for each in checked.broken}),
        sampled=(predictor.problem.watch(inputs), scores, (kept.column(signature.entity), times), draw),
    )


def _quarantine(table: pa.Table, checked: Checked, partition: Partition, first: int) -> pa.Table:
    """Return the bad rows as they came, with all reasons, and where they came from."""
    bad = np.flatnonzero(checked.bad)
    origin = {
        REASON: pa.array(checked.reasons(), pa.string()),
        SOURCE_FILE: pa.repeat(partition.file, len(bad)),
        SOURCE_ROW: pa.array(first + bad),
    }
    return _with(table.take(pa.array(bad)), origin)


def _with(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Append columns; those of the same name, from an earlier run, give way."""
    kept = [name for name in table.column_names if name not in columns]
    arrays = [table.column(name) for name in kept]
    return pa.table([*arrays, *columns.values()], names=[*kept, *columns])


def _as_it_came(batch: pa.RecordBatch) -> pa.Table:
    """Return a batch in types that every library can take rows of and write."""
    return pa.table([_simple(column) for column in batch.columns], names=batch.schema.names)


def _simple(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _simple(column.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return _simple(pc.run_end_decode(column))
    if pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.string())
    if pa.types.is_binary_view(kind) or pa.types.is_large_binary(kind):
        return column.cast(pa.binary())
    return column
