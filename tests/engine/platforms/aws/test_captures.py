"""What the monitor looks at and remembers comes from the bucket."""

from pathlib import Path

import pytest
from botocore.stub import ANY
from twoloops import config
from twoloops.paths import paths
from twoloops.platforms import platform
from twoloops.platforms.aws import bucket
from twoloops.platforms.shared.captures import download_captures

from tests.engine.support.aws_stubs import BUCKET, Cloud, stored


def test_captures_come_once(cloud: Cloud, configured: Path) -> None:
    home = f"captures/{config.current().last}"
    listed = {"Contents": [{"Key": f"{home}/{name}", "Size": 3} for name in ("batch/1.parquet", "notes.txt")]}
    cloud["s3"].add_response("list_objects_v2", listed)
    cloud["s3"].add_response("head_object", {"ContentLength": 3, "ETag": '"1"'})
    cloud["s3"].add_response("get_object", stored(b"abc"))
    assert download_captures(bucket, f"s3://{BUCKET}") == 1
    assert (configured / "data" / home / "batch/1.parquet").read_bytes() == b"abc"
    cloud["s3"].add_response("list_objects_v2", listed)
    assert download_captures(bucket, f"s3://{BUCKET}") == 0


def test_what_the_monitor_remembers_outlives_the_machine(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    cloud.settle()
    key = "monitoring/history.json"
    cloud["s3"].add_response("list_objects_v2", {"Contents": [{"Key": key, "Size": 2}]})
    cloud["s3"].add_response("head_object", {"ContentLength": 2, "ETag": '"1"'})
    cloud["s3"].add_response("get_object", stored(b"{}"))
    cloud["s3"].add_response("put_object", {}, {"Bucket": BUCKET, "Key": key, "Body": ANY, "ChecksumAlgorithm": ANY})
    with platform.monitor_memory():
        assert paths().history.read_bytes() == b"{}"
        paths().history.write_text('{"windows": []}', encoding="utf-8")
