"""Tables in files, as Arrow: CSV, Parquet, and folders of Parquet; at paths and in object stores.

Training, labels, predictions and scoring all read through here. What a file holds is not interpreted: a field of
CSV stays the bytes that stand there, and an empty one is null. What the values mean, the contract says.
"""

from __future__ import annotations

import csv as csv_of_python
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import csv, fs, types

from twoloops.csv_text import other_delimiter
from twoloops.errors import ProjectError

CSV_ENDINGS: Final = (".csv", ".csv.gz")
CSV_BLOCK_BYTES: Final = 8 << 20
LONGEST_HEADER: Final = 1 << 20  # bytes of the first line of CSV
NULL_PARTITION: Final = "__HIVE_DEFAULT_PARTITION__"
ENCODING_HINT: Final = "Save it as UTF-8, with commas between the fields; a spreadsheet calls that 'CSV UTF-8'."


def is_csv(path: str) -> bool:
    """Say whether a file's name is that of CSV."""
    return path.lower().endswith(CSV_ENDINGS)


def csv_names(beginning: bytes, place: str) -> list[str]:
    """Return the names of a CSV file's columns.

    Args:
        beginning: of the file: at least the first line, at most LONGEST_HEADER bytes of it.
        place: the file, for the message.

    Raises:
        ProjectError: it is of another encoding or delimiter, or no text.
        pyarrow.ArrowInvalid: it is empty.
    """
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in beginning[:200]:
        raise ProjectError(f"{place} cannot be read as a table: it is UTF-16, or no text.", hint=ENCODING_HINT)
    try:
        line = beginning.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].decode()
    except UnicodeDecodeError as error:
        message = f"{place} cannot be read as a table: the names in its first line are not UTF-8."
        raise ProjectError(message, hint=ENCODING_HINT) from error
    try:
        names = next(csv_of_python.reader(io.StringIO(line.rstrip("\r")), strict=True), [])
    except csv_of_python.Error as error:
        message = f"{place} cannot be read as a table: its first line is no line of CSV: {error}."
        raise ProjectError(message, hint="Column names are letters, digits and underscores.") from error
    refuse_names(names, place)
    return names


def refuse_names(names: list[str], place: str) -> None:
    """Refuse a first line of CSV that names no columns, or those of another delimiter.

    Raises:
        ProjectError: the fields are parted by something else than commas.
        pyarrow.ArrowInvalid: there is no name.
    """
    if not any(names):
        raise pa.ArrowInvalid("the first line of CSV must name the columns.")
    if other := other_delimiter(names):
        raise ProjectError(
            f"{place} cannot be read as a table: its first line has {other} and no commas: {names[0][:60]!r}.",
            hint="Fields of CSV are parted by commas, and decimals have a point. " + ENCODING_HINT,
        )


def read_csv(open_stream: Callable[[], Any], place: str) -> Iterator[pa.RecordBatch]:
    """Stream a CSV file's rows with every field as bytes, an empty one as null.

    Args:
        open_stream: opens the file, uncompressed, at its beginning; it is opened twice.
        place: the file, for messages.

    Raises:
        ProjectError: the first line cannot be read.
        pyarrow.ArrowInvalid: another line has more or fewer fields.
    """
    with open_stream() as stream:
        names = csv_names(stream.read(LONGEST_HEADER), place)
    numbered = [str(number) for number in range(len(names))]  # names may be empty, or occur twice
    options = csv.ConvertOptions(
        column_types=dict.fromkeys(numbered, pa.binary()), null_values=[""], strings_can_be_null=True
    )
    reading = csv.ReadOptions(block_size=CSV_BLOCK_BYTES, column_names=numbered, skip_rows=1)
    parsing = csv.ParseOptions(newlines_in_values=True)
    with open_stream() as stream, csv.open_csv(stream, reading, parsing, options) as reader:
        for batch in reader:
            yield pa.RecordBatch.from_arrays(batch.columns, names=names)


def find_parquet(filesystem: fs.FileSystem, path: str, shown: str) -> list[fs.FileInfo]:
    """Return the Parquet files of a folder at any depth, or the one file that a path names, in the order of names.

    Names that begin with a dot or an underscore are left alone, as is usual.

    Args:
        filesystem: where.
        path: of a file or a folder.
        shown: how the user wrote it.

    Raises:
        ProjectError: the folder has no such file.
        FileNotFoundError: there is nothing.
    """
    (info,) = filesystem.get_file_info([path])
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError(path)
    if info.type == fs.FileType.File:
        return [info]
    inside = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    files = [
        each
        for each in inside
        if each.type == fs.FileType.File
        and each.base_name.endswith(".parquet")
        and not any(name.startswith((".", "_")) for name in each.path.removeprefix(path).split("/"))
    ]
    if not files:
        raise ProjectError(
            f"There are no Parquet files in {shown} ({len(inside)} other entries).",
            hint="Files whose names end in .parquet are read. A CSV file is named itself, not its folder.",
        )
    return sorted(files, key=lambda each: each.path)


def folder_values(root: str, path: str) -> dict[str, str | None]:
    """Return what the names of folders say of a file's rows, as Hive writes them: country=de/part-0.parquet."""
    found: dict[str, str | None] = {}
    for folder in path.removeprefix(root).split("/")[:-1]:
        name, is_pair, value = folder.partition("=")
        if is_pair and name:
            found[unquote(name)] = None if value == NULL_PARTITION else unquote(value)
    return found


def with_folder_values(batch: pa.RecordBatch, values: Mapping[str, str | None]) -> pa.RecordBatch:
    """Append the columns that the names of folders tell; what stands in the file itself is preferred."""
    new = {name: value for name, value in values.items() if name not in batch.schema.names}
    if not new:
        return batch
    columns = [pa.repeat(pa.scalar(value, pa.string()), batch.num_rows) for value in new.values()]
    return pa.RecordBatch.from_arrays([*batch.columns, *columns], names=[*batch.schema.names, *new])


def schema_with(schema: pa.Schema, values: Mapping[str, str | None]) -> pa.Schema:
    """Return the schema that `with_folder_values` gives."""
    new = [pa.field(name, pa.string()) for name in values if name not in schema.names]
    return pa.schema([*schema, *new])


def unambiguous(names: Iterable[str]) -> list[str]:
    """Return the names that occur once, without the empty one: a column of any other cannot be asked for."""
    listed = list(names)
    return [name for name in listed if name and listed.count(name) == 1]


def decoded(column: pa.Array) -> pa.Array:
    """Return bytes that are UTF-8 as text, and any other column as it is."""
    if not types.is_binary(column.type):
        return column
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return column


@contextmanager
def as_project_errors(place: str, hint: str) -> Iterator[None]:
    """Turn what can go wrong while a table is read into an error for people."""
    try:
        yield
    except FileNotFoundError as error:
        raise ProjectError(f"There is no data at {place}.", hint=hint) from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowKeyError) as error:
        raise ProjectError(f"{place} cannot be read as a table: {first_line(error)}", hint=hint) from error
    except (OSError, pa.ArrowException) as error:
        raise ProjectError(f"{place} cannot be reached: {first_line(error)}", hint=hint) from error


def first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
