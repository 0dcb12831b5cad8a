"""A person is removed from what the loops have kept."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet
from twoloops.errors import ProjectError
from twoloops.problem import data as problem
from twoloops.storage import replacing

from tests.engine.support.project import RAW, Project
from tests.engine.support.verbs import call


def write_capture(path: Path, entities: list[str | None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"entity": pa.array(entities, pa.string()), "score.yes": [0.5] * len(entities)})
    parquet.write_table(table.replace_schema_metadata({"quality": json.dumps({"refused": 3, "dropped": 0})}), path)
    path.chmod(0o600)
    os.utime(path, (1_000_000, 1_000_000))


def everything(folder: Path) -> bytes:
    """Return all that tables of the project hold, but for the source."""
    files = [path for path in folder.rglob("*.parquet") if "raw" not in path.parts]
    assert files
    return "".join(pd.read_parquet(path).to_csv() for path in files).encode()


def test_a_person_is_in_nothing_that_was_kept(promoted: Project) -> None:
    rows = pd.read_parquet("data/prepared/train.parquet")
    whom, other = str(rows[problem.ENTITY].iloc[0]), str(rows[problem.ENTITY].iloc[1])
    capture = Path("data/captures/production/20260101T000000.000000Z-a-1.parquet")
    write_capture(capture, [whom, other, None, whom])
    write_capture(Path("deployments/staging/captures/20260101T000000.000000Z-a-1.parquet"), [whom])
    assert call("score", RAW.as_posix(), "data/predictions").exit_code == 0
    assert whom.encode() in everything(promoted.folder)
    cache = Path(".dvc/cache/files/md5")
    (cache / "01").mkdir(parents=True)
    shutil.copy("data/prepared/train.parquet", cache / "01/23")
    write_capture(cache / "01/45", [other])
    (cache / "01/67").write_bytes(b"no table")
    (cache / "01/23").chmod(0o444)
    told = call("forget", whom, "--json")
    assert told.exit_code == 0, (told.output, told.exception)
    removed = json.loads(told.stdout)["removed"]
    assert removed["captures"] >= 3  # one more where it is in the sample of scoring
    assert removed["prepared"] >= 1 <= removed["results"]
    assert removed["cache"] >= 1
    assert sorted(path.name for path in (cache / "01").iterdir()) == ["45", "67"]
    assert whom.encode() not in everything(promoted.folder)
    assert other.encode() in everything(promoted.folder)
    # Metadata, rights and age of a capture stay; what lists the results is right.
    assert parquet.read_schema(capture).metadata[b"quality"] == b'{"refused": 3, "dropped": 0}'
    assert (capture.stat().st_mode & 0o777, capture.stat().st_mtime) == (0o600, 1_000_000)
    manifest = json.loads(Path("data/predictions/manifest.json").read_text())
    for part in manifest["partitions"]:
        file = Path("data/predictions", part["predictions"]["file"])
        assert file.stat().st_size == part["predictions"]["bytes"]
        assert parquet.read_metadata(file).num_rows == part["predictions"]["rows"]
    again = json.loads(call("forget", whom, "--json").stdout)
    assert set(again["removed"].values()) == {0}
    assert any("backups" in each for each in again["beyond"])
    assert any("models that learned" in each for each in again["beyond"])


def test_a_file_that_cannot_be_read_is_told(promoted: Project) -> None:
    path = Path("data/captures/broken.parquet")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no table")
    told = call("forget", "anybody")
    assert isinstance(told.exception, ProjectError)
    assert "nobody knows whether the entity is in it" in str(told.exception)


def test_what_a_killed_verb_has_left_half_written_is_gone(promoted: Project) -> None:
    whom = str(pd.read_parquet("data/prepared/train.parquet")[problem.ENTITY].iloc[0])
    folders = [Path(each) for each in ("data/captures/production", "deployments/staging/captures", "data/prepared")]
    for each in folders:
        left = each / ".rows.parquet-abcd_123"
        left.mkdir(parents=True)
        (left / "rows.parquet").write_bytes(b"PAR1" + whom.encode())  # torn
    before = folders[0] / ".model-abcd_123/previous/rows.parquet"  # may be the only copy of a folder
    write_capture(before, ["somebody else"])
    with replacing(folders[0] / "under-way.parquet") as new:
        write_capture(new, ["somebody else"])
        told = call("forget", whom)
        assert told.exit_code == 0, (told.output, told.exception)
    assert (folders[0] / "under-way.parquet").exists(), "who writes at that moment is not disturbed"
    assert [path for each in folders for path in each.rglob(".rows*")] == []
    assert before.exists()
