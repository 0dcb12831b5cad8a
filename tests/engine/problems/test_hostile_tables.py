"""Tables and requests as old writers, spreadsheets and hasty hands leave them: the same answer on all paths."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from twoloops.contracts.serving import RefusedError
from twoloops.errors import ProjectError
from twoloops.problems.tabular import classification
from twoloops.problems.tabular.files import read_table
from twoloops.problems.tabular.schema import Schema
from twoloops.problems.tabular.signature import Feature, Signature

from tests.engine.problems.ways import (
    GOOD,
    csv_text,
    expected,
    invoked,
    predicted,
    project,
    scored,
    trained,
    typed_table,
)

ROWS = [{**GOOD, "id": "000123"}, {**GOOD, "id": "7"}]
SCHEMA = Schema(
    Signature(
        task="classification",
        entity="id",
        event_time="seen",
        target="y",
        features=(
            Feature(name="size", kind="number", nullable=False),
            Feature(name="member", kind="number", nullable=True, minimum=0, maximum=1, dtype="boolean"),
            Feature(name="rooms", kind="number", nullable=True, dtype="integer"),
            Feature(name="code", kind="category", nullable=True, categories=("a:b", "c")),
        ),
    ),
    10,
)


@pytest.fixture(autouse=True)
def _project() -> Iterator[None]:
    with project():
        yield


U_UMLAUT = "\N{LATIN SMALL LETTER U WITH DIAERESIS}"


def with_more(name: str, value: str) -> str:
    """Return the rows as CSV with one column more."""
    header, *lines = csv_text(ROWS).splitlines()
    return "\n".join([f"{header},{name}", *(f"{line},{value}" for line in lines)])


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "UTF-16": (csv_text(ROWS).encode("utf-16"), "UTF-16"),
    "semicolons": (csv_text(ROWS).replace(",", ";").encode(), "semicolons and no commas"),
    "tabs": (csv_text(ROWS).replace(",", "\t").encode(), "tabs and no commas"),
    "a name in latin-1": (
        csv_text(ROWS).replace("size", "gr\N{LATIN SMALL LETTER O WITH DIAERESIS}").encode("latin-1"),
        "not UTF-8",
    ),
    "a row that is longer": (csv_text(ROWS).encode() + b",,,,,,,,,,,,,,\n", "Expected 12 columns"),
    "a column that is needed twice": (with_more("size", "1").encode(), "size.* more than once"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_is_no_table_is_told_alike(tmp_path: Path, what: str) -> None:
    content, words = UNREADABLE[what]
    source = tmp_path / "rows.csv"
    source.write_bytes(content)
    for way in (trained, predicted, scored):
        with pytest.raises(ProjectError, match=words) as raised:
            way(source)
        assert raised.value.hint


def test_latin_1_in_a_column_that_nobody_needs_does_no_harm(tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_bytes(with_more("town", f"Z{U_UMLAUT}rich").encode("latin-1"))
    for way in (trained, predicted, scored, invoked):
        assert way(source)[:2] == expected(ROWS)[:2]


def test_latin_1_in_a_column_that_is_needed_is_told_with_the_encoding(tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_bytes(csv_text(ROWS).replace("007", f"Z{U_UMLAUT}").encode("latin-1"))
    with pytest.raises(ProjectError, match=r"code: 2 rows break isin.*not UTF-8"):
        trained(source)


def test_keys_that_a_blank_has_made_floats_join_again(tmp_path: Path) -> None:
    table = typed_table([{**row, "id": "1"} for row in ROWS[:1]])
    for ids, told in ((pa.array([12.0, None]), ["12"]), (pa.array([2**53 + 2, 7]), [str(2**53 + 2), "7"])):
        labels = pa.table({"id": ids, "y": pa.array([1, 0])})
        pq.write_table(labels, tmp_path / "labels.parquet")
        assert classification.labels(str(tmp_path / "labels.parquet")).records["id"].tolist() == told
    pq.write_table(table.set_column(0, "id", pa.array([1e17])), tmp_path / "rows.parquet")
    with pytest.raises(ProjectError, match="id: 1 row cannot be read as text"):
        trained(tmp_path / "rows.parquet")


@pytest.mark.parametrize("times", [pa.array([1735689601]), pa.array([1.7e9]), pa.array([True])])
def test_numbers_are_no_times_for_anybody(tmp_path: Path, times: pa.Array) -> None:
    pq.write_table(typed_table(ROWS[:1]).set_column(1, "seen", times), tmp_path / "rows.parquet")
    for way in (trained, predicted, scored):
        with pytest.raises(ProjectError, match="a time") as raised:
            way(tmp_path / "rows.parquet")
        assert "ISO 8601" in (raised.value.hint or "")


@pytest.mark.parametrize(
    "type_", [pa.timestamp("s"), pa.timestamp("ms", "Europe/Zurich"), pa.timestamp("ns"), pa.date32()]
)
def test_times_of_any_precision_are_read(tmp_path: Path, type_: pa.DataType) -> None:
    moment = datetime(2025, 1, 31, tzinfo=UTC)
    column = (
        pa.array([moment], pa.timestamp("us", "UTC")).cast(type_) if type_ != pa.date32() else pa.array([moment.date()])
    )
    pq.write_table(typed_table(ROWS[:1]).set_column(1, "seen", column), tmp_path / "rows.parquet")
    for way in (trained, scored):
        assert way(tmp_path / "rows.parquet")[2] == [moment]


def test_a_column_outside_the_contract_is_as_its_text_looks(tmp_path: Path) -> None:
    header, *lines = csv_text(ROWS).splitlines()
    (tmp_path / "rows.csv").write_text("\n".join([f"{header},months,word", *(f"{line},12,NA" for line in lines)]))
    frame = read_table(tmp_path / "rows.csv")
    assert (frame["months"] / 12).tolist() == [1.0, 1.0]
    assert frame["word"].tolist() == ["NA", "NA"]


def test_types_of_a_folder_that_nothing_unites_are_no_fault_of_the_table(tmp_path: Path) -> None:
    for name, more in (("a", pa.array([1])), ("b", pa.array(["x"]))):
        table = typed_table([{**ROWS[0], "id": name}]).append_column("note", more)
        pq.write_table(table, tmp_path / f"{name}.parquet")
    assert trained(tmp_path)[1] == scored(tmp_path)[1] == ["a", "b"]


# ---------------------------------------------------------------------- requests

BODIES: dict[str, Any] = {
    '{"size": 1, "size": 2, "member": null, "rooms": 1, "code": null}': "size",
    '[{"size": 1, "member": null, "rooms": 1, "code": "a:b", "seen": "10:00", "seen": "11:00"}]': "seen",
    '{"size": 1, "member": null, "rooms": 1, "code": null, "id": "a\\u003ab", "id": 5}': "id",
    '{"size": 1, "member": 0.5, "rooms": 1, "code": null}': "member",
    '{"size": 1, "member": "true", "rooms": 1, "code": null}': "member",
    '{"size": true, "member": true, "rooms": 1, "code": null}': "size",
    '{"size": 1, "member": true, "rooms": 1.5, "code": null}': "rooms",
    '{"size": 1, "member": true, "rooms": 1, "code": null, "id": 0.5}': "id",
    '{"size": 1, "member": true, "rooms": 1, "code": null, "id": true}': "id",
}


@pytest.mark.parametrize("body", BODIES)
def test_a_request_with_two_meanings_is_refused(body: str) -> None:
    for read in (SCHEMA.from_json, SCHEMA.from_wrapped):
        with pytest.raises(RefusedError) as raised:
            SCHEMA.encode(read(body.encode()))
        assert raised.value.status == 422
        assert BODIES[body] in str([each["field"] for each in raised.value.details])


def test_each_truth_value_and_whole_number_of_json_is_read() -> None:
    for member in ("true", "1", "1.0"):
        body = (
            f'{{"size": 1, "member": {member}, "rooms": 2.0, "code": "a:b", "id": 12.0, "seen": "2025-01-31T10:00:00"}}'
        )
        for read in (SCHEMA.from_json, SCHEMA.from_wrapped):
            for mark in (b"", b"\xef\xbb\xbf"):
                matrix, entities = SCHEMA.encode(read(mark + body.encode()))
                assert (matrix.tolist(), entities) == ([[1.0, 1.0, 2.0, 1.0]], ["12"])


def test_the_quick_look_for_keys_that_come_twice_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twoloops.problems.tabular.schema.refuse_twice", lambda body: pytest.fail("read a second time"))
    SCHEMA.from_json(b'[{"size": 1, "member": null, "rooms": 1, "code": "a:b", "id": "x:y", "seen": "10:00"}]')


def test_csv_of_another_delimiter_is_told_to_a_client() -> None:
    with pytest.raises(RefusedError, match="semicolons and no commas"):
        SCHEMA.from_csv(b"size;member\n1;true\n")
