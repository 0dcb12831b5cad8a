"""What was asked and answered, kept for the monitor: Parquet files, written in the background.

A request only appends to a buffer. A thread turns the buffer into a file when it is large or old
enough. What cannot be kept is counted, also across a kill: the counts lie in a small file that is
mapped into memory, which the system keeps when the process is gone.

    captured_at      timestamp[us, UTC]
    request_id       string
    model_version    string
    model            string, the identity of the artifact
    entity           string; null where none came, and always where the entity is personal
    event_time       string, as it came; null where none came, where it is no time, and where it is personal
    feature.<name>   what is watched of the inputs: a category is a string, a number a float32; missing: null or NaN
    score.<output>   float64: the probability of a class, or the predicted amount

The file's own metadata has, under `quality`, how many rows were refused and dropped since the file before.
Personal columns are never kept.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import mmap
import re
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from arro3.core import Array, DataType, Table
from arro3.io import write_parquet
from numpy.typing import NDArray

from twoloops.artifact import Scores
from twoloops.contracts.captures import ENTITY, EVENT_TIME, FEATURE, QUALITY, SCORE
from twoloops.contracts.watched import FIRST_CATEGORY, Watched
from twoloops.service.log import log
from twoloops.service.metrics import Metrics
from twoloops.service.models import Model
from twoloops.storage import sync

try:
    import fcntl
except ImportError:  # on Windows a file that is in use cannot be deleted, which tells the same
    fcntl = None  # type: ignore[assignment]

COMPRESSION: Final = "zstd(1)"
BUFFERED_FILES: Final = 4  # so many files' rows may wait for a slow disk
CLEANING_SECONDS: Final = 3600
LONGEST_PAUSE: Final = 86_400.0  # seconds between two files: beyond, the clock may have jumped
QUIET_SECONDS: Final = 1.0  # without a new row: a burst is over
BURST_PARTS: Final = 20  # a burst is this part of a file's rows, or more
STAMP: Final = "%Y%m%dT%H%M%S.%fZ"
STAMPED: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z")

# The counters. Each has one writer, the event loop or the thread, so that none is lost between them.
COUNTERS: Final = ".counters-"
TAKEN, OVERFLOWED, REFUSED, WRITTEN, FAILED, DROPPED_TOLD, REFUSED_TOLD = range(7)
LAYOUT: Final = struct.Struct("7q")

Keys = tuple[Sequence[str | None], Sequence[str | None]]  # entities, and event times as they came


class Rows:
    """Rows for one file. They lie in two arrays and a few lists, so that a row costs no object of its own."""

    def __init__(self, model: Model, capacity: int) -> None:
        """Make room for so many rows with the columns of `model`."""
        self.model = model
        self.capacity = capacity
        self.number = 0
        self.values = np.empty((capacity, len(model.predictor.layout.watched)), np.float32)
        self.scores = np.empty((capacity, len(model.outputs)), np.float64)
        self.entities: list[str | None] = []
        self.event_times: list[str | None] = []
        # Of each request:
        self.sizes: list[int] = []
        self.times: list[float] = []  # seconds since 1970, UTC
        self.request_ids: list[str] = []
        self.models: list[Model] = []

    def add(
        self,
        time: float,
        request_id: str,
        model: Model,
        keys: Keys,
        values: NDArray[Any],
        scores: Scores,
    ) -> None:
        """Add the rows of one request."""
        end = self.number + len(scores)
        self.values[self.number : end] = values
        self.scores[self.number : end] = scores
        self.entities += keys[0]
        self.event_times += keys[1]
        self.sizes.append(len(scores))
        self.times.append(time)
        self.request_ids.append(request_id)
        self.models.append(model)
        self.number = end

    def table(self) -> Table:
        """Return the rows as an Arrow table."""
        request = np.repeat(np.arange(len(self.sizes), dtype=np.uint32), self.sizes)  # of each row
        times = np.round(np.array(self.times, dtype=np.float64) * 1_000_000).astype(np.int64)
        columns = {
            "captured_at": Array.from_numpy(times[request]).cast(DataType.timestamp("us", tz="UTC")),
            "request_id": _texts(self.request_ids, request),
            "model_version": _texts([model.version for model in self.models], request),
            "model": _texts([model.identity for model in self.models], request),
            ENTITY: Array(self.entities, DataType.utf8()),
            EVENT_TIME: Array(self.event_times, DataType.utf8()),
        }
        for place, watched in enumerate(self.model.predictor.layout.watched):
            columns[FEATURE + watched.name] = _column(self.values[: self.number, place], watched)
        for place, name in enumerate(self.model.outputs):
            columns[SCORE + name] = Array.from_numpy(np.ascontiguousarray(self.scores[: self.number, place]))
        return Table.from_arrays(list(columns.values()), names=list(columns))


class Capture:
    """Keeps what it is given, in files of a folder."""

    def __init__(
        self,
        folder: Path,
        metrics: Metrics,
        current: Callable[[], Model],
        *,
        rows: int,
        seconds: float,
        days: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare the folder, and count what an earlier process of it has lost.

        Args:
            folder: is made if it is missing.
            metrics: get the counts.
            current: returns the stable model; its columns are those of a file without rows.
            rows: of one file.
            seconds: at the latest after so long, what was kept is written.
            days: files older than this are deleted; `find_expired` says how that is counted.
            clock: returns the seconds since 1970.
        """
        self.folder = folder
        self.clock = clock
        self._current = current
        self._rows, self._seconds, self._days = rows, seconds, days
        self._kept, self._dropped, self._lost = (
            metrics.captured.labels(outcome) for outcome in ("kept", "dropped", "lost")
        )
        self._lock = threading.Lock()
        self._filling: dict[str, Rows] = {}  # by columns: those of a canary can be others
        self._full: list[Rows] = []
        self._failing = False
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._unique = uuid.uuid4().hex[:12]
        self._numbers = itertools.count(1)
        self._newest = ""  # the time in the name of the newest file
        self._cleaned = -float("inf")
        self._counters = memoryview(bytearray(LAYOUT.size)).cast("q")
        self._mapped: mmap.mmap | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._newest = max(filter(STAMPED.fullmatch, map(_stamp, folder.glob("*.parquet"))), default="")
            self._map()
            self._recover()
        except OSError as error:
            self._fail(error)

    def add(self, request_id: str, model: Model, keys: Keys, values: NDArray[Any], scores: Scores) -> None:
        """Keep an answered request; return at once.

        Args:
            request_id: of the request.
            model: that answered.
            keys: entities and event times, each of shape [rows]; None where there is none or it is personal.
            values: what is watched of the inputs, shape [rows, watched].
            scores: what it answered, shape [rows, outputs].
        """
        rows = len(scores)
        counters = self._counters
        counters[TAKEN] += rows
        with self._lock:
            filling = self._filling.get(model.columns)
            if filling is None or filling.number + rows > filling.capacity:
                filling = self._rotate(model, rows)
            if filling is None:
                counters[OVERFLOWED] += rows
                self._dropped.inc(rows)
            else:
                filling.add(self.clock(), request_id, model, keys, values, scores)

    def _rotate(self, model: Model, rows: int) -> Rows | None:
        """Begin the rows of the next file, unless too many files wait already."""
        full = self._filling.get(model.columns)
        if full:
            if len(self._full) >= BUFFERED_FILES:
                return None
            self._full.append(full)
            self._wake.set()
        filling = self._filling[model.columns] = Rows(model, max(self._rows, rows))
        return filling

    def count_refused(self, rows: int) -> None:
        """Count rows of a request that broke the contract; the next file tells their number."""
        self._counters[REFUSED] += rows

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, and end."""
        self._stopping = True
        self._wake.set()
        if self._thread:
            self._thread.join()
        self.write()
        if self._mapped:
            told = self._unreported() == (0, 0)
            mapped, self._counters = self._counters, memoryview(bytearray(self._counters)).cast("q")
            mapped.release()
            self._mapped.close()
            self._mapped = None
            self._held.close()
            if told:
                with contextlib.suppress(OSError):
                    self._path.unlink()

    def _run(self) -> None:
        looked, before = time.monotonic(), 0
        while not self._stopping:
            woken = self._wake.wait(min(QUIET_SECONDS, self._seconds))
            self._wake.clear()
            # A burst is written as soon as it is over: nobody waits for the clock to see what it was.
            held = sum(rows.number for rows in self._filling.copy().values())
            burst_is_over = held == before and held * BURST_PARTS >= self._rows
            if woken or burst_is_over or time.monotonic() - looked >= self._seconds:
                self.write()
                looked, held = time.monotonic(), 0
            before = held

    def write(self) -> None:
        """Write what waits, and delete what is too old."""
        with self._lock:
            waiting = [*self._full, *self._filling.values()]
            self._full = []
            self._filling = {}
        if not waiting and self._unreported() != (0, 0):
            waiting.append(Rows(self._current(), 0))  # a file without rows tells what was refused
        for rows in waiting:
            self._write(rows)
        if time.monotonic() - self._cleaned >= CLEANING_SECONDS:
            self._cleaned = time.monotonic()
            self._clean()

    def _unreported(self) -> tuple[int, int]:
        """Return how many rows were refused and dropped and are told in no file yet."""
        counters = self._counters
        dropped = counters[OVERFLOWED] + counters[FAILED] - counters[DROPPED_TOLD]
        return counters[REFUSED] - counters[REFUSED_TOLD], dropped

    def _write(self, rows: Rows) -> None:
        refused, dropped = self._unreported()
        path = self.folder / self._name()
        temporary = path.with_name(f".{path.name}")
        try:
            content = io.BytesIO()
            write_parquet(
                rows.table(),
                content,
                compression=COMPRESSION,
                key_value_metadata={QUALITY.decode(): json.dumps({"refused": refused, "dropped": dropped})},
            )
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary.touch(0o600)  # what is asked about people is no business of other users
            temporary.write_bytes(content.getbuffer())
            sync(temporary)
            temporary.replace(path)
        except Exception as error:  # whatever it is, the service goes on without
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            self._counters[FAILED] += rows.number
            self._dropped.inc(rows.number)
            self._fail(error)
            return
        self._counters[WRITTEN] += rows.number
        self._counters[REFUSED_TOLD] += refused
        self._counters[DROPPED_TOLD] += dropped
        self._kept.inc(rows.number)
        if self._failing:
            self._failing = False
            log("captures are written again", folder=self.folder)

    def _fail(self, error: Exception) -> None:
        """Tell once that writing fails, until it succeeds again."""
        if not self._failing:
            self._failing = True
            log("captures cannot be written", folder=self.folder, error=f"{type(error).__name__}: {error}")

    def _name(self) -> str:
        """Return a name that is never given twice, and sorts after all before it even when the clock is set back."""
        now = datetime.fromtimestamp(self.clock(), tz=UTC)
        if now.strftime(STAMP) <= self._newest:
            now = datetime.strptime(self._newest, STAMP).replace(tzinfo=UTC) + timedelta(microseconds=1)
        self._newest = now.strftime(STAMP)
        return f"{self._newest}-{self._unique}-{next(self._numbers)}.parquet"

    def _clean(self) -> None:
        with contextlib.suppress(OSError):
            mine = (path for path in self.folder.glob("*.parquet") if STAMPED.fullmatch(_stamp(path)))
            for path in find_expired({path: path.stat().st_mtime for path in mine}, self._days):
                path.unlink()

    def _map(self) -> None:
        """Let the counters lie in a file, where they outlive a kill of this process."""
        self._path = self.folder / f"{COUNTERS}{self._unique}"
        self._held = self._path.open("x+b")
        if fcntl:
            fcntl.flock(self._held, fcntl.LOCK_EX)
        try:
            # Written, not only stretched: a page without a place on the disk would end the process later.
            self._held.write(bytes(LAYOUT.size))
            self._held.flush()
        except OSError:
            self._path.unlink()
            raise
        self._mapped = mmap.mmap(self._held.fileno(), LAYOUT.size)
        self._counters = memoryview(self._mapped).cast("q")

    def _recover(self) -> None:
        """Count what processes lost that were killed, and remove what they left behind."""
        for path in self.folder.glob(f"{COUNTERS}*"):
            if path == self._path:
                continue
            try:
                with path.open("r+b") as file:
                    if fcntl:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    content = file.read(LAYOUT.size)
                path.unlink()
            except OSError:  # that process lives
                continue
            if len(content) < LAYOUT.size:
                continue
            counters = LAYOUT.unpack(content)
            lost = counters[TAKEN] - counters[OVERFLOWED] - counters[WRITTEN] - counters[FAILED]
            self._lost.inc(lost)
            self._counters[DROPPED_TOLD] -= lost + counters[OVERFLOWED] + counters[FAILED] - counters[DROPPED_TOLD]
            self._counters[REFUSED_TOLD] -= counters[REFUSED] - counters[REFUSED_TOLD]
            log("captures lost", rows=lost, folder=self.folder, reason="the service before was killed")
            for left in self.folder.glob(f".*-{path.name.removeprefix(COUNTERS)}-*.parquet"):
                left.unlink(missing_ok=True)


def find_expired(files: Mapping[Path, float], days: int) -> list[Path]:
    """Return the files that are older than so many days.

    The clock alone is not believed: set ahead by mistake it would take all files for old. Age is counted from one
    file to the next, up to the newest, and a longer pause than LONGEST_PAUSE between two of them counts as that.

    Args:
        files: the capture files, each with the time of its last change, in seconds since 1970.
        days: of what was captured that are kept.
    """
    expired: list[Path] = []
    age, later = 0.0, max(files.values(), default=0.0)
    for path in sorted(files, key=lambda path: files[path], reverse=True):
        age += min(later - files[path], LONGEST_PAUSE)
        later = files[path]
        if age > timedelta(days=days).total_seconds():
            expired.append(path)
    return expired


def _stamp(path: Path) -> str:
    return path.name.partition("-")[0]


def _texts(values: Iterable[str | None], places: NDArray[np.uint32]) -> Array:
    """Return the values at these places: of many rows, few texts are made in Python."""
    return Array(list(values), DataType.utf8()).take(Array.from_numpy(places))


def _column(column: NDArray[np.float32], watched: Watched) -> Array:
    if watched.categories is None:
        return Array.from_numpy(np.ascontiguousarray(column))
    # Codes of categories begin after the one for a missing value.
    names: list[str | None] = [*[None] * FIRST_CATEGORY, *map(str, watched.categories)]
    return _texts(names, column.astype(np.uint32))
