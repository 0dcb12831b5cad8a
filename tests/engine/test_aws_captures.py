"""What the monitor looks at and remembers comes from the bucket."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.stub import ANY
from cloud import BUCKET, Cloud, clouded, stored

from twoloops.platforms.aws import captures


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Return clients that reach nobody; everything that they were told to answer is asked."""
    with clouded(monkeypatch) as found:
        yield found
        found.finish()


def test_captures_come_once(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cloud.settle()
    home = f"captures/{captures.ENVIRONMENT}"
    listed = {"Contents": [{"Key": f"{home}/{name}", "Size": 3} for name in ("batch/1.parquet", "notes.txt")]}
    cloud["s3"].add_response("list_objects_v2", listed)
    cloud["s3"].add_response("head_object", {"ContentLength": 3, "ETag": '"1"'})
    cloud["s3"].add_response("get_object", stored(b"abc"))
    assert captures.bring_captures() == 1
    assert (tmp_path / "data" / home / "batch/1.parquet").read_bytes() == b"abc"
    cloud["s3"].add_response("list_objects_v2", listed)
    assert captures.bring_captures() == 0


def test_what_the_monitor_remembers_outlives_the_machine(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    cloud.settle()
    key = "monitoring/history.json"
    cloud["s3"].add_response("list_objects_v2", {"Contents": [{"Key": key, "Size": 2}]})
    cloud["s3"].add_response("head_object", {"ContentLength": 2, "ETag": '"1"'})
    cloud["s3"].add_response("get_object", stored(b"{}"))
    cloud["s3"].add_response("put_object", {}, {"Bucket": BUCKET, "Key": key, "Body": ANY, "ChecksumAlgorithm": ANY})
    with captures.remembering():
        assert captures.HISTORY.read_bytes() == b"{}"
        captures.HISTORY.write_text('{"windows": []}', encoding="utf-8")
