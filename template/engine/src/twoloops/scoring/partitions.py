"""Partitions: what is scored, or repeated after a failure, as a whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from pyarrow import fs
from pyarrow import parquet as pq

from twoloops import tables
from twoloops.contracts.scoring import Batches
from twoloops.errors import ProjectError
from twoloops.scoring.places import Place, translate_errors

CONNECTIONS = 16  # footers that are read at the same time: most of the time is waiting


@dataclass(frozen=True)
class Partition:
    """Contiguous row groups of one Parquet file, or a whole CSV file, which has no parts.

    Attributes:
        file: path in the source's filesystem.
        size: of the file, in bytes.
        modified: of the file, in nanoseconds since 1970.
        row_groups: their places in the file; none for CSV.
        first_row: the place of its first row in the file, from 0.
        rows: how many; None for CSV, where nobody knows before it is read.
    """

    file: str
    size: int
    modified: int
    row_groups: tuple[int, ...] = ()
    first_row: int = 0
    rows: int | None = None

    def fingerprint(self, *made_with: object) -> str:
        """Return what changes when the file changes, or what its output is made with."""
        content = json.dumps([asdict(self), *made_with])
        return hashlib.sha256(content.encode()).hexdigest()[:32]


def plan(source: Place, batches: Batches, partition_rows: int) -> list[Partition]:
    """Find the source's files and cut them into partitions.

    Only the files' ends, where Parquet says what is inside, are read.

    Args:
        source: a Parquet or CSV file, or a folder with Parquet files, at any depth. Names that
            begin with a dot or an underscore are left alone, as is usual.
        batches: say which columns every file must have.
        partition_rows: of a partition, at most; a larger row group is a partition of its own.

    Raises:
        ProjectError: there is no such file, one cannot be read, or lacks a column, or has no rows.
    """
    files = _files(source)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        found = [
            part
            for parts in pool.map(lambda file: _cut(source, file, batches, partition_rows), files)
            for part in parts
        ]
    if not found:
        raise ProjectError(
            f"{source.uri} holds no rows.", hint="Nothing was written: check what should have filled it."
        )
    return found


def _files(source: Place) -> list[fs.FileInfo]:
    with translate_errors(source.uri):
        return tables.find_parquet(source.filesystem, source.path, source.uri)


def _cut(source: Place, file: fs.FileInfo, batches: Batches, partition_rows: int) -> list[Partition]:
    modified = int(file.mtime_ns or 0)
    if tables.is_csv(file.path):
        with translate_errors(file.path), _stream(source, file.path) as opened:
            names = tables.csv_names(opened.read(tables.LONGEST_HEADER), file.path)
        batches.refuse_schema(pa.schema([(name, pa.string()) for name in names]), file.path)
        return [Partition(file.path, file.size, modified)]
    with (
        translate_errors(file.path),
        source.filesystem.open_input_file(file.path) as stream,
        pq.ParquetFile(stream) as parquet,
    ):
        told = tables.folder_values(source.path, file.path)
        batches.refuse_schema(tables.schema_with(parquet.schema_arrow, told), file.path)
        counts = [parquet.metadata.row_group(place).num_rows for place in range(parquet.num_row_groups)]
    parts: list[Partition] = []
    groups: list[int] = []
    first = rows = 0
    for place, count in enumerate(counts):
        if groups and rows + count > partition_rows:
            parts.append(Partition(file.path, file.size, modified, tuple(groups), first, rows))
            groups, first, rows = [], first + rows, 0
        groups.append(place)
        rows += count
    if rows:
        parts.append(Partition(file.path, file.size, modified, tuple(groups), first, rows))
    return parts


def read(source: Place, partition: Partition, batches: Batches, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Stream a partition's rows, at most `batch_rows` at a time, with all columns but the personal ones.

    Raises:
        ProjectError: the file cannot be read, or is damaged.
    """
    with translate_errors(partition.file):
        if not partition.row_groups:
            for batch in tables.read_csv(lambda: _stream(source, partition.file), partition.file):
                kept = batch.select(_kept(batch.schema.names, batches))
                text = pa.RecordBatch.from_arrays(list(map(tables.decoded, kept.columns)), names=kept.schema.names)
                for start in range(0, len(text), batch_rows):
                    yield text.slice(start, batch_rows)
            return
        told = tables.folder_values(source.path, partition.file)
        # Categories come as numbers and a list of their few values, as Parquet keeps them: the text of
        # each row is never made. Without buffering ahead a row group is held once.
        few = [name for name in batches.categorical if name not in told]
        stream = source.filesystem.open_input_file(partition.file)
        with stream, pq.ParquetFile(stream, read_dictionary=few, pre_buffer=False) as parquet:
            columns = _kept(parquet.schema_arrow.names, batches)
            for batch in parquet.iter_batches(
                batch_rows, row_groups=list(partition.row_groups), columns=columns, use_threads=False
            ):
                yield tables.with_folder_values(batch, told)


def _kept(names: list[str], batches: Batches) -> list[str]:
    left_out = set(batches.signature.personal) - {batches.signature.entity}
    return [name for name in tables.unambiguous(names) if name not in left_out]


def _stream(source: Place, path: str) -> Any:
    """Open a file at its beginning, uncompressed."""
    compression = "gzip" if path.lower().endswith(".gz") else None
    return source.filesystem.open_input_stream(path, compression=compression)
