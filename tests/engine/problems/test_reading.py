"""One reader for every way in: the same table in any format has the same values on all paths, and the same refusals."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from twoloops.contracts.serving import RefusedError
from twoloops.errors import ProjectError
from twoloops.problems.tabular import classification
from twoloops.problems.tabular.schema import Schema
from twoloops.scoring import partitions
from twoloops.scoring.places import Place

from tests.engine.problems.ways import (
    GOOD,
    TABLES,
    Row,
    as_text,
    batches_of,
    csv_text,
    expected,
    invoked,
    predicted,
    project,
    scored,
    served,
    signature,
    text_table,
    trained,
    write_formats,
)


@pytest.fixture(autouse=True)
def _project() -> Iterator[None]:
    with project():
        yield


@pytest.mark.slow
@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(TABLES, st.integers(0, 60))
def test_every_way_in_reads_the_same_values_of_every_format(rows: list[Row], spelling: int) -> None:
    matrix, entities, times = expected(rows)
    with tempfile.TemporaryDirectory() as folder:
        for name, source in write_formats(Path(folder), rows, spelling).items():
            order = sorted(range(len(rows)), key=str) if name == "hive" else range(len(rows))
            wanted = [matrix[place] for place in order], [entities[place] for place in order]
            for way in (trained, predicted, scored, invoked):
                found = way(source)
                assert found[:2] == wanted, (way.__name__, name)
                assert found[2] in (None, [times[place] for place in order]), (way.__name__, name)  # type: ignore[index]
            labels = classification.labels(str(source)).records
            assert dict(zip(labels["id"], labels["y"], strict=True)) == {row["id"]: row["y"] for row in rows}, name
    for kind in ("csv", "json", "split", "tensors"):
        assert served(rows, kind, spelling)[:2] == (matrix, entities), kind


# ---------------------------------------------------------------------- what is refused

BAD = {
    "size": [
        "NA",
        "nan",
        "inf",
        "2_0",
        "1,5",
        "true",
        "\N{FULLWIDTH DIGIT ONE}",
        "0x10",
        "many",
        "1e400",
        "2e9",
        "null",
    ],
    "count": ["1.5", "NA", "true", "1_000", "1e30"],
    "rooms": ["0.1", "None"],
    "member": ["yes", "2", "NA", "t"],
    "code": ["00", "na", "A", " 0"],
    "kind": ["A", "NA", "a "],
    "grade": ["3", "one", "true", "1.5"],
    "share": ["0.2", "half"],
    "open": ["yes", "2", "0.5"],
    "seen": [
        "1735689600",
        "01/31/2025 05:45",
        "13/01/2025",
        "20250131",
        "2025-02-30",
        "yesterday",
        "2025-01-31 05:45 CET",
    ],
    "id": [""],
}


@pytest.mark.parametrize(("column", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_what_one_way_refuses_all_refuse(tmp_path: Path, column: str, text: str, format_: str) -> None:
    rows = [{**GOOD, "id": str(number)} for number in range(3)]
    rows[1] = {name: as_text(value) for name, value in rows[1].items()} | {column: text}
    source = tmp_path / f"rows.{format_}"
    if format_ == "csv":
        source.write_text(csv_text(rows), encoding="utf-8")
    else:
        pq.write_table(text_table(rows, 0), source)
    for way in (trained, predicted):
        with pytest.raises(ProjectError, match=rf"\n  - {column}: 1 row .*first: row 1\)"):
            way(source)
    batches, place = batches_of(signature()), Place.of(str(source))
    (part,) = partitions.plan(place, batches, 100)
    checked = batches.check(next(partitions.read(place, part, batches, 100)))
    assert checked.bad.tolist() == [False, True, False]
    assert checked.reasons()[0].startswith(f"{column} is ")
    if column in ("id", "seen"):
        return  # a service does not need them
    schema = Schema(signature(), 100)
    asked = [{name: value for name, value in row.items() if name != "y"} for row in rows]
    with pytest.raises(RefusedError) as raised:
        schema.encode(schema.from_csv(csv_text(asked).encode()))
    assert [(each["row"], each["field"]) for each in raised.value.details] == [(1, column)]
    requests = classification.requests(classification.load(str(source)), signature())
    with pytest.raises(RefusedError) as raised:
        schema.encode(schema.from_json(json.dumps(requests).encode()))
    assert [(each["row"], each["field"]) for each in raised.value.details] == [(1, column)]
