"""Tables are read from anywhere, and written whole or not at all."""

import gzip
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
from twoloops.errors import ProjectError
from twoloops.problems.tabular.files import read_table, write_table
from twoloops.storage import read_json, replacing

ROWS = pd.DataFrame({"key": ["a", "b", "c"], "amount": [1.5, None, 3.0]})


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_a_table_comes_back_as_it_was_written(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, ROWS)
    pd.testing.assert_frame_equal(read_table(tmp_path / name), ROWS, check_dtype=False)


def test_a_folder_of_parts_is_one_table(tmp_path: Path) -> None:
    for part in ("1", "2"):
        write_table(tmp_path / "rows" / f"{part}.parquet", ROWS)
    assert len(read_table(tmp_path / "rows")) == 2 * len(ROWS)


def test_a_compressed_text_is_read(tmp_path: Path) -> None:
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(ROWS.to_csv(index=False).encode()))
    assert list(read_table(tmp_path / "rows.csv.gz")["key"]) == ["a", "b", "c"]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_a_web_address_is_read(tmp_path: Path, address: str, name: str) -> None:
    write_table(tmp_path / name, ROWS)
    assert len(read_table(f"{address}/{name}")) == len(ROWS)
    with pytest.raises(ProjectError, match="cannot be reached"):
        read_table(f"{address}/nothing.csv")


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    write_table(tmp_path / "rows.parquet", ROWS)
    whole = (tmp_path / "rows.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    write_table(tmp_path / "empty.parquet", ROWS.head(0))
    (tmp_path / "empty.csv").write_text("")
    for name, words in {
        "cut.parquet": "cannot be read as a table",
        "empty.parquet": "holds no rows",
        "empty.csv": "cannot be read as a table",
        "nothing.parquet": "There is no data",
    }.items():
        with pytest.raises(ProjectError, match=words) as raised:
            read_table(tmp_path / name)
        assert "data.source" in raised.value.hint
    for url in ("http://127.0.0.1:9/rows.csv", "nowhere://rows.csv"):
        with pytest.raises(ProjectError, match="cannot be"):
            read_table(url)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, kind: str) -> None:
    def fill(path: Path, text: str) -> None:
        if kind == "folder":
            path.mkdir()
            path = path / "inside"
        path.write_text(text)

    target = tmp_path / "target"
    with replacing(target) as new:
        fill(new, "first")
    with pytest.raises(RuntimeError), replacing(target) as new:  # noqa: PT012
        fill(new, "second")
        raise RuntimeError
    assert (target / "inside" if kind == "folder" else target).read_text() == "first"
    with replacing(target) as new:
        fill(new, "third")
    assert (target / "inside" if kind == "folder" else target).read_text() == "third"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_missing_or_broken_document_names_the_verb_that_makes_it(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    for name in ("broken.json", "missing.json"):
        with pytest.raises(ProjectError) as raised:
            read_json(tmp_path / name, "evaluate")
        assert "evaluate" in raised.value.hint
