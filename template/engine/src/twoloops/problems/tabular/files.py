"""Tables as data frames: Parquet and CSV, at local paths and URLs, read as the contract says."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twoloops import tables
from twoloops.errors import ProjectError
from twoloops.storage import WEB_SCHEMES, replacing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from twoloops.problems.tabular.reading import Column

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30
PART_ROWS = 1 << 20  # that are brought to the contract's types at once
LEFT_OUT = "the column %s is left out: %s"
HINT = "A table is a Parquet or CSV file, at a local path or a URL. For training, data.source in params.yaml names it."


def read_table(source: str | Path) -> pd.DataFrame:
    """Read a Parquet or CSV table from a path or a URL, as the contract says.

    Args:
        source: a local path, or a URL with the scheme s3, gs, abfss, http or https. A folder of
            Parquet files is read as one table, with what folders named key=value tell. Credentials come
            from the environment, as the cloud's own tools find them (for another S3 endpoint: AWS_ENDPOINT_URL).

    Returns:
        The table. A column of the contract in problem/data.py has the type that it has there, unless one of its
        values cannot be read so: then it stays as it stands in the file, for `load` to mend or the contract to
        refuse. Any other column has the type that the file declares (Parquet) or that its text suggests (CSV). An
        empty field is missing, and no word is.

    Raises:
        ProjectError: the source is missing, unreachable, empty, truncated or of another kind.
    """
    place = str(source)
    frame = _typed(_parts(place))
    logger.info("read %s rows of %s columns from %s", *frame.shape, place)
    return frame


def read_columns(source: str | Path) -> dict[str, pa.ChunkedArray]:
    """Return a table's columns as they stand in the file, by name: no contract is asked, and text stays text.

    Args:
        source: as of `read_table`.

    Returns:
        Columns of shape [rows]. Left out are those that have no name, that of another, or types that cannot be
        brought together.

    Raises:
        ProjectError: as of `read_table`.
    """
    parts = _parts(str(source))
    found = {}
    for name in dict.fromkeys(name for part in parts for name in part.schema.names):
        if name and max(part.schema.names.count(name) for part in parts) == 1:
            pieces = [part.column(name) if name in part.schema.names else None for part in parts]
            found[name] = _as_it_stands(name, pieces, parts, guess=False)
    return {name: column for name, column in found.items() if column is not None}


def _parts(place: str) -> list[pa.RecordBatch]:
    with tables.as_project_errors(place, HINT):
        parts = [part for part in _read(place) if part.num_rows]
    if not parts:
        raise ProjectError(f"{place} holds no rows.", hint=HINT)
    return parts


def _read(place: str) -> Iterator[pa.RecordBatch]:
    """Yield a source's rows; each part has the types and the columns of its own file."""
    from pyarrow import fs

    if place.startswith(WEB_SCHEMES):
        with _download(place) as file:
            yield from _read_in(fs.LocalFileSystem(), file.as_posix(), place)
    elif "://" in place:
        filesystem, path = fs.FileSystem.from_uri(place)
        yield from _read_in(filesystem, path, place)
    else:
        yield from _read_in(fs.LocalFileSystem(), Path(place).resolve().as_posix(), place)


def _read_in(filesystem: Any, path: str, place: str) -> Iterator[pa.RecordBatch]:
    from pyarrow import parquet as pq

    if tables.is_csv(path):
        compression = "gzip" if path.lower().endswith(".gz") else None
        yield from tables.read_csv(lambda: filesystem.open_input_stream(path, compression=compression), place)
        return
    for file in tables.find_parquet(filesystem, path, place):
        told = tables.folder_values(path, file.path)
        with filesystem.open_input_file(file.path) as stream, pq.ParquetFile(stream) as parquet:
            for batch in parquet.iter_batches(PART_ROWS):
                yield tables.with_folder_values(batch, told)


def _typed(parts: list[pa.RecordBatch]) -> pd.DataFrame:
    """Return parts as one table: columns of the contract as it says, others as they can be brought together."""
    import pandas as pd

    demanded = _demanded()
    columns: list[pd.Series[Any]] = []
    for name in dict.fromkeys(name for part in parts for name in part.schema.names):
        if max(part.schema.names.count(name) for part in parts) > 1 or not name:
            if name in demanded:  # which of them is meant, nobody knows: the contract refuses it
                columns += [pd.Series(range(sum(map(len, parts))), name=name)] * 2
            continue
        pieces = [part.column(name) if name in part.schema.names else None for part in parts]
        found = _as_demanded(pieces, parts, demanded[name]) if name in demanded else None
        found = _as_pandas(name, pieces, parts, guess=name not in demanded) if found is None else found
        if found is not None:
            columns.append(found.rename(name))
    return pd.concat(columns, axis="columns") if columns else pd.DataFrame()


def _demanded() -> dict[str, tuple[Column, Any]]:
    from twoloops.problem import data
    from twoloops.problems.tabular import contract

    try:
        declared = getattr(data, "CONTRACT", None)
    except ProjectError:
        return {}  # read outside a project
    if declared is None:
        return {}
    return {name: (column, declared.columns[name]) for name, column in contract.columns_of(declared).items()}


def _as_demanded(
    pieces: list[pa.Array | None], parts: list[pa.RecordBatch], demanded: tuple[Column, Any]
) -> pd.Series[Any] | None:
    """Return a column as the contract says, or None where one of its values cannot be read so."""
    import numpy as np
    import pyarrow as pa

    from twoloops.problems.tabular import columns, contract

    column, declared = demanded
    kind = columns.column_type(column)
    read = [
        columns.Read(pa.nulls(len(part), kind), np.zeros(len(part), dtype=np.bool_), pa.nulls(len(part)))
        if piece is None
        else columns.read(piece, column)
        for piece, part in zip(pieces, parts, strict=True)
    ]
    if any(each.unread.any() for each in read):
        return None
    whole = columns.plain(pa.chunked_array([each.values for each in read], kind))
    return contract.as_pandas(columns.Read(whole, np.zeros(len(whole), dtype=np.bool_), whole), column, declared)


def _as_pandas(
    name: str, pieces: list[pa.Array | None], parts: list[pa.RecordBatch], *, guess: bool
) -> pd.Series[Any] | None:
    import pyarrow as pa

    column = _as_it_stands(name, pieces, parts, guess=guess)
    try:
        series: pd.Series[Any] | None = None if column is None else column.to_pandas()
    except (pa.ArrowException, NotImplementedError) as error:
        logger.warning(LEFT_OUT, name, tables.first_line(error))
        return None
    return series


def _as_it_stands(
    name: str, pieces: list[pa.Array | None], parts: list[pa.RecordBatch], *, guess: bool
) -> pa.ChunkedArray | None:
    """Return a column without the contract, or None where its types cannot be brought together.

    Args:
        name: of the column.
        pieces: of each part; None where a part has no such column.
        parts: for the numbers of their rows.
        guess: whether the text of CSV becomes what all of it looks like.
    """
    import pyarrow as pa

    from twoloops.problems.tabular import columns

    plain = [None if piece is None else columns.plain(piece) for piece in pieces]
    is_text = all(piece is None or pa.types.is_binary(piece.type) for piece in plain)
    try:
        fields = [pa.schema([pa.field(name, piece.type)]) for piece in plain if piece is not None]
        kind = pa.unify_schemas(fields, promote_options="permissive").field(name).type
        whole = pa.chunked_array(
            [
                pa.nulls(len(part), kind) if piece is None else piece.cast(kind)
                for piece, part in zip(plain, parts, strict=True)
            ],
            kind,
        )
        return _text_of_csv(whole, guess=guess) if is_text else whole
    except (pa.ArrowException, NotImplementedError) as error:
        logger.warning(LEFT_OUT, name, tables.first_line(error))
        return None


def _text_of_csv(column: pa.ChunkedArray, *, guess: bool) -> pa.ChunkedArray:
    """Return the bytes of a column as text, or as what all of it can be where only the look can tell."""
    import pyarrow as pa

    kinds = [pa.null(), pa.int64(), pa.bool_(), pa.date32(), pa.timestamp("s"), pa.timestamp("ns"), pa.float64()]
    try:
        text = column.cast(pa.string())
    except pa.ArrowInvalid:
        return column  # no UTF-8
    for kind in kinds if guess else ():
        try:
            return text.cast(kind)
        except pa.ArrowException:
            continue
    return text


@contextmanager
def _download(url: str) -> Iterator[Path]:
    """Stream a web address into a temporary file of its name: Parquet readers need to seek."""
    from urllib.parse import urlsplit
    from urllib.request import urlopen

    name = urlsplit(url).path.lower().rpartition("/")[2]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "table" + next((end for end in tables.CSV_ENDINGS if name.endswith(end)), ""))
        with urlopen(url, timeout=TIMEOUT_SECONDS) as answer, target.open("wb") as file:  # noqa: S310 - http(s) only
            shutil.copyfileobj(answer, file)
        yield target


def write_table(target: Path, frame: pd.DataFrame) -> None:
    """Write `frame` as CSV when the name ends in .csv, else as Parquet, atomically."""
    with replacing(target) as new:
        if target.suffix == ".csv":
            frame.to_csv(new, index=False)
        else:
            frame.to_parquet(new, index=False)


def data_version(frame: pd.DataFrame) -> str:
    """Return a SHA-256 of a table's column names and values, whatever file it lay in."""
    from pandas.util import hash_pandas_object

    digest = hashlib.sha256("\x1f".join(map(str, frame.columns)).encode())
    digest.update(hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()
