"""Other services' ways to ask about rows of a table, brought into rows.

Each function here only translates. What a row must look like is checked afterwards, by the same
schema as `/predict`. service/protocols.py names the protocols.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from twoloops.contracts.serving import DATATYPES, RefusedError
from twoloops.csv_text import other_delimiter
from twoloops.json_body import parse, shown
from twoloops.problems.tabular.reading import Column, of_signature, reader
from twoloops.problems.tabular.signature import Feature

if TYPE_CHECKING:
    from twoloops.problems.tabular.schema import Schema

# The one key under which a request of MLflow, Vertex AI or Azure ML has its rows.
WRAPPERS: Final = ("dataframe_split", "dataframe_records", "instances", "inputs", "input_data")


def rows_from_json(body: bytes, schema: Schema) -> list[Any]:
    """Read rows as `/predict` does, or wrapped as MLflow, SageMaker, Vertex AI and Azure ML wrap them.

    Raises:
        RefusedError: the form is none of these.
    """
    content = parse(body)
    used = [name for name in WRAPPERS if isinstance(content, dict) and name in content and name not in schema.features]
    if len(used) > 1:
        raise RefusedError(422, f"The request has rows under {' and '.join(used)}; only one of them is allowed.")
    if not used:
        return schema.from_objects(content)
    other = [name for name in content if name not in (used[0], "params", "parameters")]
    if other:
        raise RefusedError(422, f"Beside {used[0]} the request has {shown(other[0])}, which is not known.")
    return schema.from_objects(_unwrapped(content[used[0]], used[0], schema))


def _unwrapped(content: Any, name: str, schema: Schema) -> Any:
    if isinstance(content, dict) and "data" in content and "data" not in schema.features:
        columns = content.get("columns", list(schema.features))
        if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
            raise RefusedError(422, f"{name}.columns must be the list of the columns' names.")
        return _from_lists(content["data"], columns, f"{name}.data", schema)
    if isinstance(content, dict) and content and all(isinstance(column, list) for column in content.values()):
        return _from_columns(content, schema)
    if isinstance(content, list) and any(isinstance(row, list) for row in content):
        return _from_lists(content, list(schema.features), name, schema)
    return content


def _from_lists(data: Any, columns: Sequence[str], where: str, schema: Schema) -> list[dict[str, Any]]:
    if not isinstance(data, list):
        raise RefusedError(422, f"{where} must be a list of rows, each a list of values.")
    schema.check_columns(len(columns))
    schema.check_rows(len(data))
    if len(set(columns)) < len(columns):
        raise RefusedError(422, f"In {where}, a column is named twice.")
    for place, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            problem = f"must be a list of {len(columns)} values, for: {', '.join(map(shown, columns))}"
            raise RefusedError(
                422,
                f"In {where}, row {place} {problem}.",
                [{"row": place, "field": None, "problem": problem}],
                rows=len(data),
            )
    return [dict(zip(columns, row, strict=True)) for row in data]


def _from_columns(columns: Mapping[str, Sequence[Any]], schema: Schema) -> list[dict[str, Any]]:
    schema.check_columns(len(columns))
    rows = {name: len(column) for name, column in columns.items()}
    if len(set(rows.values())) > 1:
        longest, shortest = max(rows, key=lambda name: rows[name]), min(rows, key=lambda name: rows[name])
        raise RefusedError(
            422,
            f"The columns have different numbers of rows: {shown(longest)} has {rows[longest]}, "
            f"{shown(shortest)} has {rows[shortest]}.",
        )
    schema.check_rows(next(iter(rows.values())))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def rows_from_csv(body: bytes, schema: Schema) -> list[Any]:
    """Read CSV with a header; an empty field is a missing value.

    Raises:
        RefusedError: it is not CSV, or a row has more or fewer fields than the header.
    """
    try:
        reader = csv.reader(io.StringIO(body.decode("utf-8-sig").rstrip("\r\n")), strict=True)
        lines = list(islice(reader, schema.maximum_rows + 1))
        has_more = next(reader, None) is not None
    except UnicodeDecodeError:
        raise RefusedError(400, "The body is not UTF-8; CSV must be saved in that encoding.") from None
    except csv.Error as error:
        raise RefusedError(400, f"The body is not CSV: {error}.") from None
    if has_more:
        most = schema.maximum_rows
        raise RefusedError(413, f"The request has more rows than the {most:,} that are allowed. Send it in parts.")
    lines = [line for line in lines if line]
    if not lines:
        raise RefusedError(400, "The body is empty; the first line of CSV must name the columns.")
    names = lines[0]
    schema.check_columns(len(names))
    if other := other_delimiter(names):
        raise RefusedError(422, f"The first line of CSV has {other} and no commas: {shown(names[0])!r}.")
    if len(set(names)) < len(names):
        raise RefusedError(422, "A column is named twice in the first line.")
    for place, line in enumerate(lines[1:]):
        if len(line) != len(names):
            problem = f"has {len(line)} fields, and the first line {len(names)}"
            raise RefusedError(422, f"Row {place} {problem}.", [{"row": place, "field": None, "problem": problem}])
    columns = of_signature(schema.signature)
    converters = [_converter(columns[name] if name in schema.features else None) for name in names]
    return schema.from_objects(
        [
            {name: convert(text) for name, convert, text in zip(names, converters, line, strict=True)}
            for line in lines[1:]
        ]
    )


def _converter(column: Column | None) -> Callable[[str], Any]:
    """Return what reads a field; text that it cannot read stays text, and is refused with its row."""
    if column is None:
        return lambda text: text or None
    read = reader(column)

    def convert(text: str) -> Any:
        try:
            return read(text) if text else None
        except ValueError:
            return text

    return convert


def datatype_of(feature: Feature) -> str:
    """Return the datatype of a feature's tensor."""
    if feature.kind == "number":
        return "FP32"
    if any(isinstance(value, float) for value in feature.categories):
        return "FP64"
    if all(isinstance(value, bool) for value in feature.categories):
        return "BOOL"
    return "BYTES" if any(isinstance(value, str) for value in feature.categories) else "INT64"


def rows_from_tensors(content: Any, schema: Schema) -> list[Any]:
    """Read the rows of an inference request: one tensor for each column, of shape [rows] or [rows, 1].

    A feature that may be missing can be left out. Categories are BYTES, INT64 or BOOL.

    Raises:
        RefusedError: it is not such a request.
    """
    tensors = content.get("inputs") if isinstance(content, dict) else None
    if not isinstance(tensors, list) or not tensors or not all(isinstance(tensor, dict) for tensor in tensors):
        raise RefusedError(422, "The request must have a list 'inputs' with one tensor for each feature.")
    schema.check_columns(len(tensors))
    columns: dict[str, list[Any]] = {}
    for tensor in tensors:
        name, data = _tensor(tensor, schema)
        if name in columns:
            raise RefusedError(422, f"The tensor {shown(name)} is there twice.")
        columns[name] = data
    rows = len(next(iter(columns.values())))
    for name, feature in schema.features.items():
        if feature.nullable and name not in columns:
            columns[name] = [None] * rows
    return schema.from_objects(_from_columns(columns, schema))


def _tensor(tensor: Mapping[str, Any], schema: Schema) -> tuple[str, list[Any]]:
    name, shape, datatype, data = (tensor.get(key) for key in ("name", "shape", "datatype", "data"))
    if not isinstance(name, str):
        raise RefusedError(422, "A tensor of 'inputs' has no name.")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise RefusedError(422, f"The tensor {shown(name)} has the datatype {shown(datatype)}, which is not known.")
    if not isinstance(data, list):
        raise RefusedError(
            422, f"The tensor {shown(name)} has no list 'data'. Binary tensors are not read: send them as JSON."
        )
    schema.check_rows(len(data))
    values = _flat(data)
    if not isinstance(shape, list) or shape not in ([len(values)], [len(values), 1]):
        raise RefusedError(
            422,
            f"The tensor {shown(name)} has {len(values)} values, so its shape must be [{len(values)}] "
            f"or [{len(values)}, 1], and is {shown(shape)}.",
        )
    return name, values


def _flat(data: Iterable[Any]) -> list[Any]:
    """Return the values of a tensor of one column, that may be written as a list of lists."""
    return [value[0] if isinstance(value, list) and len(value) == 1 else value for value in data]


def tensors(schema: Schema, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row as the tensors of an inference request."""
    return [
        {"name": name, "shape": [1], "datatype": datatype_of(feature), "data": [row[name]]}
        for name, feature in schema.features.items()
    ]
