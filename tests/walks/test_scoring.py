"""Batch scoring at work: killed, run twice at once, from and to an object store, on a cluster."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from commands.rendering import clean_environment
from tests.support.projects import CopyOf, change
from tests.support.servers import s3
from tests.support.tools import UV

pytestmark = pytest.mark.slow

MODEL = ("--model", "artifacts/model")
ROWS = 8000  # of a simulated table


# Run by the project's Python, which can read Parquet; this one cannot.
WRITE = """
import json, sys
from pyarrow import compute as pc, parquet as pq
target, first, group, missing = sys.argv[1], *map(int, sys.argv[2:])
rows = pq.read_table("data/raw/simulated.parquet").slice(first)
if missing:
    places = [place % missing == 3 for place in range(rows.num_rows)]
    place = rows.schema.get_field_index("tenure")
    rows = rows.set_column(place, "tenure", pc.if_else(places, None, rows["tenure"]))
pq.write_table(rows, target, row_group_size=group)
print(json.dumps(rows["subscriber_id"].to_pylist()))
"""
READ = """
import json, sys
import pyarrow as pa
from pyarrow import parquet as pq
tables = [pq.read_table(path) for path in sys.argv[1:]]
print(json.dumps([[table.num_rows for table in tables], pa.concat_tables(tables).to_pydict()], default=str))
"""


def write(project: CopyOf, name: str, *, first: int = 0, group: int = ROWS // 40, missing: int = 0) -> list[str]:
    """Write simulated rows as Parquet, and return whom they are about.

    Args:
        project: where.
        name: the file.
        first: the first row to take.
        group: rows of a row group.
        missing: each so many rows one is broken; 0: none.
    """
    told = project.run("python", "-c", WRITE, name, str(first), str(group), str(missing))
    return list(json.loads(told.stdout))


def score(project: CopyOf, *words: str, **named: Any) -> dict[str, Any]:
    """Score, and return the summary."""
    return dict(json.loads(project.verb("score", *words, *MODEL, "--json", **named).stdout))


def parts(target: Path) -> list[dict[str, Any]]:
    """Return the files with predictions that the manifest lists, all of them there as it says."""
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    found = [part["predictions"] for part in manifest["partitions"]]
    for part in found:
        assert (target / part["file"]).stat().st_size == part["bytes"]
    return found


def published(project: CopyOf, target: str = "data/scored") -> dict[str, list[Any]]:
    """Return the columns of what the manifest lists."""
    listed = parts(project.folder / target)
    paths = [str(project.folder / target / part["file"]) for part in listed]
    counts, columns = json.loads(project.run("python", "-c", READ, *paths).stdout)
    assert counts == [part["rows"] for part in listed]
    return dict(columns)


def running(project: CopyOf, *words: str) -> subprocess.Popen[bytes]:
    """Start to score in another process, and wait until it has the lock of data/scored."""
    lock = project.folder / "data/scored/lock.json"
    before = lock.read_bytes() if lock.exists() else None
    command = [project.python, "-m", "twoloops", "score", *words, *MODEL]
    process = subprocess.Popen(
        command, cwd=project.folder, env=project.variables(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not lock.exists() or lock.read_bytes() == before:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


# Each run is a fork, so that what takes long to import is there already, and is killed after a while.
KILL = """
import json, os, random, signal, sys, time
from pathlib import Path
import scipy.stats
from twoloops import params
from twoloops.scoring.run import Options, score

source, target, kills = Path("data/new.parquet"), Path("data/scored"), int(sys.argv[1])
def start(folder):
    pid = os.fork()
    if not pid:
        score(str(source), str(folder), params.load(), model="artifacts/model", options=Options(workers=1))
        os._exit(0)
    return pid
begun = time.monotonic()
assert os.waitpid(start("data/whole"), 0)[1] == 0
seconds, moments, rows, halfway = time.monotonic() - begun, random.Random(7), [], 0
while len(rows) < kills:
    pid = start(target)
    time.sleep(moments.uniform(0, seconds))
    os.kill(pid, signal.SIGKILL)
    killed = os.waitpid(pid, 0)[1] == signal.SIGKILL
    parts = json.loads((target / "manifest.json").read_text())["partitions"]
    for part in parts:
        assert (target / part["predictions"]["file"]).stat().st_size == part["predictions"]["bytes"], part
    halfway += len(list((target / "state").glob("*.json"))) > len(parts)
    if killed:
        rows.append(sum(part["predictions"]["rows"] for part in parts))
    if not killed or rows[-1] == {rows}:
        os.utime(source)  # all is done: there must be work again
print(json.dumps([rows, halfway]))
"""


def test_no_row_is_lost_or_doubled_by_kills(trained: CopyOf) -> None:
    """Killed at random moments, the manifest always lists whole files: the old ones, or all of the new."""
    change(trained, "score", partition_rows=ROWS // 40, batch_rows=50)
    source, target = "data/new.parquet", trained.folder / "data/scored"
    write(trained, source, first=ROWS // 2)
    score(trained, source, "data/scored")
    expected = write(trained, source)
    code = KILL.format(rows=ROWS)
    rows, halfway = json.loads(trained.run("python", "-c", code, "12").stdout)
    assert rows[0] == ROWS // 2, "nothing new is published before all of it is there"
    assert set(rows) <= {ROWS // 2, ROWS}
    assert halfway > 2, "killed with partitions done beside those of the manifest"

    score(trained, source, "data/scored")
    result = published(trained)
    assert result["subscriber_id"] == expected
    assert result == published(trained, "data/whole"), "the same as if nothing had happened"
    for folder, files in {"predictions": 40, "state": 80}.items():
        assert len(list((target / folder).iterdir())) == files, "leftovers of killed runs are gone"
    assert not (target / "lock.json").exists()


def test_two_runs_at_once(trained: CopyOf) -> None:
    change(trained, "score", partition_rows=ROWS // 40, batch_rows=10)
    rows = write(trained, "data/new.parquet")
    first = running(trained, "data/new.parquet", "data/scored", "--workers", "1")
    refused = trained.verb("score", "data/new.parquet", "data/scored", *MODEL, code=1).stderr
    assert f"Another run writes into data/scored: process {first.pid} on " in refused
    assert first.wait(60) == 0
    assert published(trained)["subscriber_id"] == rows


def test_from_and_to_an_object_store(trained: CopyOf, bucket: dict[str, str]) -> None:
    client = s3(bucket)
    change(trained, "score", partition_rows=ROWS // 4)
    rows = write(trained, "data/new.parquet")
    for name in ("2026/a.parquet", "2026/b.parquet"):
        client.upload_file(str(trained.folder / "data/new.parquet"), "data", f"rows/{name}")
    places = ("s3://data/rows", "s3://data/scored")
    summary = score(trained, *places, "--keep-columns", env=bucket)
    assert (summary["rows"], summary["partitions"]) == (2 * ROWS, 8)

    for each in client.list_objects_v2(Bucket="data", Prefix="scored/")["Contents"]:
        path = trained.folder / "there" / each["Key"]
        if not each["Key"].endswith("/"):  # an empty object that stands for a folder
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file("data", each["Key"], str(path))
    score(trained, "data/new.parquet", "data/scored", "--keep-columns")
    expected = published(trained)
    assert expected["subscriber_id"] == rows
    assert published(trained, "there/scored") == {name: [*column, *column] for name, column in expected.items()}

    assert score(trained, *places, "--keep-columns", env=bucket)["status"] == "unchanged"
    client.delete_object(Bucket="data", Key="rows/2026/a.parquet")
    summary = score(trained, *places, "--keep-columns", env=bucket)
    assert (summary["status"], summary["rows"], summary["partitions_scored_now"]) == ("published", ROWS, 0)
    keys = [each["Key"] for each in client.list_objects_v2(Bucket="data", Prefix="scored/predictions/")["Contents"]]
    assert len([key for key in keys if key.endswith(".parquet")]) == 4, "leftovers are gone"

    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    lock = {"run": "other", "host": "elsewhere", "pid": 1, "started_at": now, "renewed_at": now}
    client.put_object(Bucket="data", Key="scored/lock.json", Body=json.dumps(lock))
    refused = trained.verb("score", *places, *MODEL, code=1, env=bucket).stderr
    assert "Another run writes into s3://data/scored: process 1 on elsewhere" in refused

    refused = trained.verb("score", "s3://data/none", "data/other", *MODEL, code=1, env=bucket).stderr
    assert "There is nothing at s3://data/none" in refused
    nowhere = {**bucket, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    assert "cannot be used" in trained.verb("score", *places, *MODEL, code=1, env=nowhere).stderr


def test_progress_is_shown_where_a_person_watches(trained: CopyOf) -> None:
    write(trained, "data/new.parquet")
    person, terminal = pty.openpty()
    command = [trained.python, "-m", "twoloops", "score", "data/new.parquet", "data/scored", *MODEL]
    environment = trained.variables() | {"TERM": "xterm"}
    process = subprocess.Popen(command, cwd=trained.folder, env=environment, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # the terminal's end
        while chunk := os.read(person, 1 << 16):
            shown += chunk
    os.close(person)
    assert process.wait(60) == 0
    assert b"scoring" in shown
    assert f"{ROWS:,} rows".encode() in shown


def test_ray_gives_the_same_results_and_resumes(trained: CopyOf, tmp_path: Path) -> None:
    environment = {"UV_PROJECT_ENVIRONMENT": str(tmp_path / "with-ray"), "RAY_TMPDIR": "/tmp"}  # noqa: S108 - sockets
    subprocess.run(
        [UV, "add", "--quiet", "--group", "train", "twoloops[ray]"],
        cwd=trained.folder,
        env=clean_environment() | environment,
        check=True,
    )
    change(trained, "score", partition_rows=ROWS // 4, maximum_quarantined_share=0.5)
    write(trained, "data/new.parquet", group=ROWS // 4, missing=100)

    alone = score(trained, "data/new.parquet", "data/alone")
    words = ("data/new.parquet", "data/cluster", "--engine", "ray", "--workers", "2")
    cluster = score(trained, *words, env=environment)
    same = ("status", "rows", "scored", "quarantined", "rules", "partitions", "drift")
    assert {name: cluster[name] for name in same} == {name: alone[name] for name in same}
    assert cluster["quarantined"] == ROWS // 100
    expected = published(trained, "data/alone")
    assert published(trained, "data/cluster") == expected

    for record in list((trained.folder / "data/cluster/state").glob("*.json"))[:2]:
        record.unlink()
    assert score(trained, *words, env=environment)["partitions_scored_now"] == 2
    assert published(trained, "data/cluster") == expected

    # Its end is whole, so the plan is made; what a task finds in the middle is told as ever.
    content = bytearray((trained.folder / "data/new.parquet").read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    (trained.folder / "data/new.parquet").write_bytes(content)
    told = trained.verb("score", *words, *MODEL, code=1, env=environment).stderr
    assert "new.parquet cannot be used" in told
    assert "Traceback" not in told
