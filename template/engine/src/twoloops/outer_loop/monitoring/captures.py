"""Captured traffic: files of rows and scores that the service and batch scoring leave behind."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from twoloops import drift
from twoloops.artifact import Predictor, Scores
from twoloops.contracts.captures import ENTITY, EVENT_TIME, FEATURE, QUALITY, REQUEST_ID, SCORE, TRIAL
from twoloops.contracts.watched import FIRST_CATEGORY, MISSING, UNKNOWN, Watched
from twoloops.errors import ProjectError
from twoloops.paths import paths

if TYPE_CHECKING:
    import pyarrow as pa

COMPARED_AGAIN: Final = 1000  # rows of a window that are scored anew
MOST_SAMPLED: Final = 10_000  # rows of a window that are kept as they came: so memory stays bounded


class UnreadableError(Exception):
    """A capture file that cannot be used; the message says why."""


@dataclass(frozen=True)
class Rows:
    """What one model was asked and answered, row by row.

    Attributes:
        values: what is watched, shape [rows, watched].
        scores: shape [rows, outputs].
        entities: whom each row is about, as text, shape [rows]; None where that is personal.
        event_times: as requests told them, of [rows]; None where they did not.
        moments: when each was answered, UTC, shape [rows]; NaT where that is not known.
    """

    values: NDArray[Any]
    scores: Scores
    entities: NDArray[Any]
    event_times: NDArray[Any]
    moments: NDArray[np.datetime64]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.scores)

    def take(self, places: NDArray[Any] | slice) -> Rows:
        """Return the rows at these places."""
        return Rows(
            self.values[places],
            self.scores[places],
            self.entities[places],
            self.event_times[places],
            self.moments[places],
        )

    def __add__(self, other: Rows) -> Rows:
        """Return the rows of both."""
        return Rows(
            np.concatenate([self.values, other.values]),
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.entities, other.entities]),
            np.concatenate([self.event_times, other.event_times]),
            np.concatenate([self.moments, other.moments]),
        )


@dataclass
class Sample:
    """Some rows of many, drawn evenly while they pass by: those with the smallest of random numbers (Vitter, 1985)."""

    rows: Rows | None = None  # None as long as there is none
    order: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def add(self, rows: Rows) -> None:
        """Let further rows pass by."""
        order = np.concatenate([self.order, self.random.random(len(rows))])
        whole = self.rows + rows if self.rows else rows
        kept = np.sort(np.argsort(order, kind="stable")[:MOST_SAMPLED])
        self.rows, self.order = whole.take(kept), order[kept]


@dataclass
class Window:
    """What a set of capture files holds about one model."""

    tally: drift.Tally | None = None  # None as long as there is no row
    files: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)  # rows of other models, by version
    refused: int = 0
    dropped: int = 0
    first: datetime | None = None
    last: datetime | None = None
    skew: float = 0.0  # the largest relative difference of captured and recomputed scores
    sample: Sample = field(default_factory=Sample)

    @property
    def rows(self) -> int:
        """Rows that the model answered."""
        return self.tally.rows if self.tally else 0


def find(root: Path | None) -> list[Path]:
    """Return the capture files in a folder and its subfolders, in the order of their names, or one file.

    Names begin with the time of writing. Files whose name starts with a dot are not finished.

    Args:
        root: where to look; None: data/captures, which nobody need have made yet.

    Raises:
        ProjectError: `root` was named, and does not exist.
    """
    folder = paths().captures if root is None else root
    if folder.is_file():
        return [folder]
    if root is not None and not root.exists():
        raise ProjectError(
            f"There is no folder {root}.", hint=f"Captures lie in {paths().captures} unless 'serve' was told."
        )
    found = [path for path in folder.rglob("*.parquet") if not _is_hidden(path.relative_to(folder))]
    return sorted(found, key=lambda path: (path.name, path))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def label(path: Path) -> str:
    """Return the name by which a file is remembered: from the state's folder, so that this can be moved."""
    try:
        return Path(os.path.relpath(path, paths().state)).as_posix()
    except ValueError:  # on another drive
        return path.resolve().as_posix()


def gather(paths: Iterable[Path], predictor: Predictor) -> Window:
    """Count the rows of one model, file by file, so that memory stays bounded.

    Args:
        paths: capture files; one that cannot be read is noted and left for another time.
        predictor: the model whose rows count. Some of them it scores again.
    """
    window = Window()
    for path in paths:
        try:
            table = _read(path)
            mine, others = _split_by_model(table, predictor.identity)
            quality = _quality(table)
            rows = _rows(mine, predictor)
        except UnreadableError as error:
            window.unreadable[label(path)] = str(error)
            continue
        window.files.append(label(path))
        window.others.update(others)
        window.refused += quality["refused"]
        window.dropped += quality["dropped"]
        if mine.num_rows:
            _add(window, mine, rows, predictor)
    return window


def newest(paths: list[Path], predictor: Predictor, most: int) -> tuple[NDArray[Any], Scores]:
    """Return the watched values of the newest rows that a model was asked, and its scores of them.

    Args:
        paths: capture files, oldest first; those that cannot be read are passed over.
        predictor: the model.
        most: how many rows at most.

    Returns:
        Shapes [rows, watched] and [rows, outputs].
    """
    found: list[tuple[NDArray[Any], Scores]] = []
    missing = most
    for rows in backwards(paths, predictor):
        if missing <= 0:
            break
        found.append((rows.values[-missing:], rows.scores[-missing:]))
        missing -= len(rows)
    if not found:
        return np.empty((0, len(predictor.layout.watched)), np.float32), np.empty((0, len(predictor.layout.outputs)))
    return np.concatenate([each for each, _ in found]), np.concatenate([each for _, each in found])


def backwards(paths: list[Path], predictor: Predictor) -> Iterator[Rows]:
    """Yield what a model was asked and answered, file by file, the newest first.

    Args:
        paths: capture files, oldest first; those that cannot be read are passed over: `gather` tells of them.
        predictor: the model.
    """
    for path in reversed(paths):
        with contextlib.suppress(UnreadableError):
            rows = _rows(_split_by_model(_read(path), predictor.identity)[0], predictor)
            if len(rows):
                yield rows


def _add(window: Window, mine: pa.Table, rows: Rows, predictor: Predictor) -> None:
    import pyarrow.compute as pc

    again = max(0, COMPARED_AGAIN - window.rows)
    inputs = predictor.problem.restore(rows.values[:again]) if again else None
    if inputs is not None:
        window.skew = max(window.skew, _difference(rows.scores[:again], predictor.score_inputs(inputs)))
    tally = drift.count(
        rows.values, rows.scores, predictor.layout, predictor.reference, whom(rows.entities), rows.moments
    )
    window.tally = window.tally + tally if window.tally else tally
    window.sample.add(rows)
    times = pc.min_max(mine["captured_at"]).as_py()
    window.first = min(each for each in (window.first, times["min"]) if each)
    window.last = max(each for each in (window.last, times["max"]) if each)


def whom(entities: NDArray[Any]) -> NDArray[Any]:
    """Return whom rows are about, shape [rows]: where that is personal, each row is taken for another one's."""
    return np.asarray([f"row {place}" if each is None else each for place, each in enumerate(entities)], dtype=object)


def _difference(captured: Scores, recomputed: Scores) -> float:
    """Return the largest difference relative to the score, or to 1 where that is larger."""
    known = np.isfinite(captured) & np.isfinite(recomputed)
    differences = np.abs(captured - recomputed)[known] / np.maximum(np.abs(recomputed[known]), 1)
    return float(differences.max(initial=0))


def _read(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        if EVENT_TIME not in table.column_names:  # in files of releases before 0.3.0
            table = table.append_column(EVENT_TIME, pa.nulls(table.num_rows, pa.string()))
        for name in ("model", "model_version", REQUEST_ID, ENTITY, EVENT_TIME):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, table[name].cast(pa.string()))
        # What a deployment asks to try a model is not what users ask.
        trial = pc.fill_null(pc.starts_with(table[REQUEST_ID], TRIAL), False)
        table = table.filter(pc.invert(trial))
        return table.append_column(
            "microseconds", table["captured_at"].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        )
    except KeyError as error:
        raise UnreadableError(f"it has no column {error}") from error
    except (OSError, pa.ArrowException) as error:
        raise UnreadableError((str(error).strip() or type(error).__name__).splitlines()[0]) from error


def _split_by_model(table: pa.Table, identity: str) -> tuple[pa.Table, Counter[str]]:
    """Return the rows that the model answered, and how many there are of each other version."""
    import pyarrow.compute as pc

    is_mine = pc.fill_null(pc.equal(table["model"], identity), False)
    others = table["model_version"].filter(pc.invert(is_mine)).to_pylist()
    return table.filter(is_mine), Counter(map(str, others))


def _quality(table: pa.Table) -> dict[str, int]:
    metadata = table.schema.metadata or {}
    try:
        content = json.loads(metadata.get(QUALITY, b"{}"))
        return {name: int(content.get(name, 0)) for name in ("refused", "dropped")}
    except (ValueError, TypeError, AttributeError) as error:
        raise UnreadableError(f"its metadata 'quality' is not what the service writes: {error}") from error


def _rows(table: pa.Table, predictor: Predictor) -> Rows:
    """Return a table of captures as rows; a score that is null is NaN."""
    import pyarrow as pa
    import pyarrow.compute as pc

    watched, outputs = predictor.layout
    if not table.num_rows:  # of a file about other models, which may have other columns
        values, scores = np.empty((0, len(watched)), np.float32), np.empty((0, len(outputs)))
    else:
        try:
            columns = [_column(table[FEATURE + each.name], each) for each in watched]
            scores = np.column_stack([table[SCORE + name].cast(pa.float64()).to_numpy() for name in outputs])
        except KeyError as error:
            raise UnreadableError(f"it has no column {error}") from error
        except pa.ArrowException as error:
            raise UnreadableError(str(error)) from error
        values = np.column_stack(columns) if columns else np.empty((len(scores), 0), np.float32)
    moments = pc.fill_null(table["microseconds"], np.iinfo(np.int64).min).to_numpy()
    return Rows(
        values,
        scores,
        np.asarray(table[ENTITY].to_pylist(), dtype=object),
        np.asarray(table[EVENT_TIME].to_pylist(), dtype=object),
        moments.astype("datetime64[us]"),
    )


def _column(column: pa.ChunkedArray, watched: Watched) -> NDArray[np.float32]:
    import pyarrow as pa

    if watched.categories is None:
        return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float32)
    codes = _codes(watched.categories)
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    code = np.asarray([*(codes.get(text, UNKNOWN) for text in encoded.dictionary.to_pylist()), MISSING], np.float32)
    places = encoded.indices.cast("int64").fill_null(len(code) - 1)
    return code[places.to_numpy(zero_copy_only=False)]


def _codes(categories: tuple[Any, ...]) -> Mapping[str, float]:
    """Return each category's code by the texts under which it is captured; Python and JSON write True differently."""
    known = {str(value): float(code) for code, value in enumerate(categories, FIRST_CATEGORY)}
    return known | {
        json.dumps(value): float(code)
        for code, value in enumerate(categories, FIRST_CATEGORY)
        if not isinstance(value, str)
    }


@dataclass(frozen=True)
class Answers:
    """Answers of one model that labels may be about.

    Attributes:
        requests: the identifier of the request, of [answers]; None where a run of scoring gave the answer.
        entities: whom it is about, as text, of [answers].
        event_times: as the request told them, of [answers].
        moments: when it was given, microseconds since 1970, shape [answers].
        scores: shape [answers, outputs].
    """

    requests: list[str | None]
    entities: list[str | None]
    event_times: list[str | None]
    moments: NDArray[np.int64]
    scores: Scores


def answers(paths: Iterable[Path], predictor: Predictor, entities: set[str], requests: set[str]) -> Answers:
    """Return what the model answered about these entities, and to these requests.

    Args:
        paths: capture files; those that cannot be read are passed over: `gather` tells of them.
        predictor: the model whose answers count.
        entities: the keys that are looked for, as text.
        requests: the identifiers that are looked for.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = {ENTITY: pa.array(sorted(entities), pa.string()), REQUEST_ID: pa.array(sorted(requests), pa.string())}
    names = [SCORE + name for name in predictor.layout.outputs]
    parts = []
    for path in paths:
        with contextlib.suppress(UnreadableError):
            mine, _ = _split_by_model(_read(path), predictor.identity)
            asked = [pc.fill_null(pc.is_in(mine[name], values), False) for name, values in wanted.items()]
            mine = mine.filter(pc.or_(*asked))
            _rows(mine, predictor)  # raises for what is not the model's
            parts.append(mine.select([REQUEST_ID, ENTITY, EVENT_TIME, "microseconds", *names]))
    if not parts:
        return Answers([], [], [], np.empty(0, np.int64), np.empty((0, len(names))))
    whole = pa.concat_tables([part.cast(parts[0].schema) for part in parts])
    return Answers(
        requests=whole[REQUEST_ID].to_pylist(),
        entities=whole[ENTITY].to_pylist(),
        event_times=whole[EVENT_TIME].to_pylist(),
        moments=whole["microseconds"].to_numpy(),
        scores=np.column_stack([whole[name].cast(pa.float64()).to_numpy() for name in names]),
    )
