"""What lies beside a cluster: a bucket, by moto, and a registry of images that knows digests and nothing else."""

from __future__ import annotations

import hashlib
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "bucket-of-tests"


@contextmanager
def bucket() -> Iterator[dict[str, str]]:
    """Give the variables by which programs find an object store that has one empty bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    login = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "eu-west-1"}
    found = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "eu-west-1", **login}
    # The server keeps everything in this process: what an earlier one was given is still there.
    urllib.request.urlopen(urllib.request.Request(f"{found['AWS_ENDPOINT_URL']}/moto-api/reset", method="POST"))  # noqa: S310
    try:
        client(found).create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        yield found
    finally:
        server.stop()


def client(environment: dict[str, str]) -> Any:
    """Return boto3's client of the bucket."""
    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


class Registry(ThreadingHTTPServer):
    """A registry whose images are known by tag; nobody looks into them."""

    def __init__(self) -> None:
        """Listen on loopback."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.tags: set[str] = set()

    @property
    def repository(self) -> str:
        """HOST/NAME."""
        return f"127.0.0.1:{self.server_address[1]}/churn"


class Handler(BaseHTTPRequestHandler):
    """HEAD /v2/NAME/manifests/TAG."""

    def do_HEAD(self) -> None:
        tag = self.path.rpartition("/")[2]
        server = self.server
        assert isinstance(server, Registry)
        there = tag in server.tags and self.path.startswith("/v2/churn/manifests/")
        self.send_response(200 if there else 404)
        if there:
            self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the class has it
        pass


@contextmanager
def registry() -> Iterator[Registry]:
    """Start a registry, and end it."""
    server = Registry()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
