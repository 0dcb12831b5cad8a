"""A table with a column of each kind, in every format, and every way by which a project reads it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pandera.pandas as pr
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from twoloops import problem as modules
from twoloops.problems import base, tabular
from twoloops.problems.tabular import classification, contract
from twoloops.problems.tabular.encoding import encode
from twoloops.problems.tabular.files import read_table
from twoloops.problems.tabular.schema import Schema
from twoloops.problems.tabular.signature import Signature
from twoloops.scoring import partitions
from twoloops.scoring.places import Place

Row = dict[str, Any]

CODES = ["0", "1", "007", "NA", "null", "1e5", "true", "nan", "a,b"]
CONTRACT = pr.DataFrameSchema(
    {
        "id": pr.Column(str, unique=True),
        "seen": pr.Column(pd.DatetimeTZDtype("us", "UTC")),
        "size": pr.Column(float, pr.Check.in_range(-1e9, 1e9), nullable=True),
        "count": pr.Column(int, nullable=True),
        "rooms": pr.Column("Int64", nullable=True),
        "member": pr.Column(bool, nullable=True),
        "code": pr.Column(str, pr.Check.isin(CODES), nullable=True),
        "kind": pr.Column("string[pyarrow]", pr.Check.isin(["a", "b"]), nullable=True),
        "grade": pr.Column("Int64", pr.Check.isin([1, 2]), nullable=True),
        "share": pr.Column(float, pr.Check.isin([0.0, 0.5, 0.1]), nullable=True),
        "open": pr.Column("boolean", pr.Check.isin([True, False]), nullable=True),
        "y": pr.Column("Int64", pr.Check.isin([0, 1]), nullable=True),
    },
    strict="filter",
    coerce=True,
)
DATA = SimpleNamespace(CONTRACT=CONTRACT, ENTITY="id", EVENT_TIME="seen", TARGET="y", PERSONAL=[], load=read_table)

TEXT = st.text("0123456789eE.+-NAnulé \"',:\n", min_size=1, max_size=24)
NUMBERS = st.one_of(
    st.floats(-1e9, 1e9, allow_nan=False),
    st.integers(-(10**9), 10**9).map(float),
    st.sampled_from([1735689601.0 % 1e9, 0.1, -0.0, 1e-30]),
)
ROW = st.fixed_dictionaries(
    {
        "id": TEXT,
        "seen": st.datetimes(datetime(1901, 1, 1), datetime(2200, 1, 1)).map(lambda time: time.replace(tzinfo=UTC)),
        "size": st.none() | NUMBERS,
        "count": st.none() | st.integers(-(2**53), 2**53),
        "rooms": st.none() | st.integers(0, 9),
        "member": st.none() | st.booleans(),
        "code": st.none() | st.sampled_from(CODES),
        "kind": st.none() | st.sampled_from(["a", "b"]),
        "grade": st.none() | st.sampled_from([1, 2]),
        "share": st.none() | st.sampled_from([0.0, 0.5, 0.1]),
        "open": st.none() | st.booleans(),
        "y": st.sampled_from([0, 1]),
    }
)
TABLES = st.lists(
    ROW.map(lambda row: {name: row[name] for name in TYPES}), min_size=1, max_size=6, unique_by=lambda row: row["id"]
)
TYPES: dict[str, pa.DataType] = {
    "id": pa.string(),
    "seen": pa.timestamp("us", "UTC"),
    "size": pa.float64(),
    "count": pa.int64(),
    "rooms": pa.int16(),
    "member": pa.bool_(),
    "code": pa.string(),
    "kind": pa.string_view(),
    "grade": pa.float64(),
    "share": pa.float32(),
    "open": pa.bool_(),
    "y": pa.int8(),
}


@contextmanager
def project(data: Any = DATA) -> Iterator[None]:
    """Let the current project be one with these words in problem/data.py."""
    with (
        mock.patch.object(modules, "data", data),
        mock.patch.object(tabular, "data", data),
        mock.patch.object(base, "project", data),
    ):
        yield


def signature(data: Any = DATA) -> Signature:
    return contract.signature(data.CONTRACT, data, "classification")


def batches_of(made: Signature) -> Any:
    return classification.batches(made)


# ---------------------------------------------------------------------- the formats


def as_text(value: Any, spelling: int = 0) -> str:
    """Spell a value; each type has several spellings in the world's files."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return [str(value), str(value).lower(), str(int(value)), f"{int(value)}.0", str(value).upper()][spelling % 5]
    if isinstance(value, datetime):
        plain = value.replace(tzinfo=None)
        ways = [value.isoformat(), f"{plain} UTC", f"{plain.isoformat()}Z", str(plain), f"{plain}+00:00"]
        return ways[spelling % len(ways)]
    if isinstance(value, int):
        return [str(value), str(value), f"{value}.0" if abs(value) < 2**53 else str(value)][spelling % 3]
    return repr(value) if isinstance(value, float) else str(value)


def csv_text(rows: Sequence[Row], spelling: int = 0) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(list(rows[0]))
    writer.writerows([[as_text(value, spelling) for value in row.values()] for row in rows])
    return text.getvalue()


def typed_table(rows: Sequence[Row]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in TYPES.items()})


def text_table(rows: Sequence[Row], spelling: int) -> pa.Table:
    columns = {name: [as_text(row[name], spelling) or None for row in rows] for name in rows[0]}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def binary_table(rows: Sequence[Row]) -> pa.Table:
    whole = text_table(rows, 0)
    return pa.table(
        {name: whole[name].cast(pa.binary()).combine_chunks().dictionary_encode() for name in whole.schema.names}
    )


def write_formats(folder: Path, rows: Sequence[Row], spelling: int) -> dict[str, Path]:
    """Write a table in every format that is read, and return the sources by name."""
    text = csv_text(rows, spelling)
    (folder / "rows.csv").write_text(text, encoding="utf-8")
    (folder / "bom.csv").write_text(text, encoding="utf-8-sig")
    with pa.CompressedOutputStream(str(folder / "rows.csv.gz"), "gzip") as stream:
        stream.write(text.encode())
    (folder / "trailing.csv").write_text(text_with_more(rows, spelling), encoding="utf-8")
    pq.write_table(typed_table(rows), folder / "typed.parquet", row_group_size=2)
    pq.write_table(text_table(rows, spelling), folder / "text.parquet")
    pq.write_table(binary_table(rows), folder / "binary.parquet")
    more = typed_table(rows).append_column("clock", pa.array([1] * len(rows), pa.time64("us")))
    more = more.append_column("clock", pa.array(["x"] * len(rows), pa.string_view()))
    pq.write_table(more, folder / "more.parquet")
    # The files of a folder may have other types, and the first one nothing but nulls.
    (folder / "folder/deep").mkdir(parents=True)
    empty = [None if name not in ("id", "seen", "y") else 0 for name in TYPES]
    first = typed_table(rows[:1])
    for place, name in enumerate(TYPES):
        if empty[place] is None and rows[0][name] is None:
            first = first.set_column(place, name, pa.nulls(1))
    pq.write_table(first, folder / "folder/a.parquet")
    if rows[1:]:
        pq.write_table(text_table(rows[1:], spelling), folder / "folder/deep/b.parquet")
    (folder / "folder/_SUCCESS").touch()
    (folder / "folder/deep/README.md").write_text("no table")
    # Hive's folders tell a column that the files have not.
    for place, row in enumerate(rows):
        code = "__HIVE_DEFAULT_PARTITION__" if row["code"] is None else row["code"]
        inside = folder / f"hive/part={place}/code={code}"
        inside.mkdir(parents=True)
        pq.write_table(typed_table([row]).drop_columns(["code"]), inside / "part.parquet")
    files = ("rows.csv", "bom.csv", "rows.csv.gz", "trailing.csv", "typed.parquet", "text.parquet", "binary.parquet")
    return {name: folder / name for name in (*files, "more.parquet", "folder", "hive")}


def text_with_more(rows: Sequence[Row], spelling: int) -> str:
    """Return CSV with columns that nobody asked for: one that occurs twice, and commas at each line's end."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*rows[0], "note", "note", "", ""])
    writer.writerows([[*(as_text(value, spelling) for value in row.values()), "x", "1", "", ""] for row in rows])
    return text.getvalue()


# ---------------------------------------------------------------------- the ways in

Result = tuple[list[list[float | None]], list[str], list[datetime] | None]


def numbers(matrix: Any) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in np.asarray(matrix)]


def expected(rows: Sequence[Row]) -> Result:
    made = signature()
    matrix = np.full((len(rows), len(made.features)), np.nan, np.float32)
    for place, feature in enumerate(made.features):
        for row, values in enumerate(rows):
            value = values[feature.name]
            if feature.kind == "category":
                matrix[row, place] = 0 if value is None else 1 + feature.categories.index(value)
            elif value is not None:
                matrix[row, place] = value
    return numbers(matrix), [row["id"] for row in rows], [row["seen"] for row in rows]


def trained(source: Path) -> Result:
    checked = contract.check(read_table(source), CONTRACT, str(source))
    made = signature()
    return numbers(encode(checked, made.features)), list(checked["id"]), list(checked["seen"].dt.to_pydatetime())


def predicted(source: Path) -> Result:
    checked = classification.check(classification.load(str(source)), str(source), labelled=False)
    return (
        numbers(classification.encode(checked, signature())),
        list(checked["id"]),
        list(checked["seen"].dt.to_pydatetime()),
    )


def scored(source: Path) -> Result:
    matrix, entities, times = [], [], []
    batches = batches_of(signature())
    place = Place.of(str(source))
    for part in partitions.plan(place, batches, 3):
        for batch in partitions.read(place, part, batches, 2):
            checked = batches.check(batch)
            assert not checked.bad.any(), checked.reasons()
            matrix += numbers(checked.inputs)
            entities += checked.read["id"].to_pylist()
            assert checked.event_time is not None
            times += checked.event_time.to_pylist()
    return matrix, entities, times


def invoked(source: Path) -> Result:
    requests = classification.requests(classification.load(str(source)), signature())
    schema = Schema(signature(), 100)
    matrix, entities = schema.encode(schema.from_json(json.dumps(requests).encode()))
    return numbers(matrix), [str(entity) for entity in entities], None


def served(rows: Sequence[Row], way: str, spelling: int) -> Result:
    schema = Schema(signature(), 100)
    asked = [{name: value for name, value in row.items() if name != "y"} for row in rows]
    plain = [{name: as_text(value) if name == "seen" else value for name, value in row.items()} for row in asked]
    if way == "csv":
        read = schema.from_csv(csv_text(asked, spelling).encode())
    elif way == "json":
        read = schema.from_json(json.dumps(plain).encode("utf-8-sig"))
    elif way == "split":
        split = {"columns": list(plain[0]), "data": [list(row.values()) for row in plain]}
        read = schema.from_wrapped(json.dumps({"dataframe_split": split}).encode())
    else:
        kinds = {each["name"]: each["datatype"] for each in schema.tensor_inputs()}
        tensors = [
            {
                "name": name,
                "shape": [len(rows)],
                "datatype": kinds.get(name, "BYTES"),
                "data": [row[name] for row in plain],
            }
            for name in plain[0]
        ]
        read = schema.from_tensors({"inputs": tensors})
    matrix, entities = schema.encode(read)
    return numbers(matrix), [str(entity) for entity in entities], None


GOOD: Row = {
    "id": "000123",
    "seen": datetime(2025, 1, 31, 5, 45, tzinfo=UTC),
    "size": 1.5,
    "count": 3,
    "rooms": 2,
    "member": True,
    "code": "007",
    "kind": "a",
    "grade": 1,
    "share": 0.5,
    "open": False,
    "y": 1,
}
