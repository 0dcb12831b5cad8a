"""Servers on loopback that walks need: MLflow's, an object store, and how to wait for any."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from commands.rendering import clean_environment

from .tools import UV


def free_port() -> int:
    """Return a port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    """Send one request to a server of this machine, and return the answer, whatever its status."""
    address = f"http://127.0.0.1:{port}{path}"
    request = urllib.request.Request(address, data=body, headers=headers or {}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(request, timeout=60)
    except urllib.error.HTTPError as error:
        return error


def becomes_ready(process: subprocess.Popen[bytes], port: int, path: str, seconds: float) -> bool:
    """Wait until a process answers 200, and say whether it did before it ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            if ask(port, "GET", path).status == 200:
                return True
        time.sleep(0.1)
    return False


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 180) -> None:
    """Wait until an address answers, as long as its process lives."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - loopback
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"{url} does not answer: {log.read_text()}")


@contextmanager
def tracking_server(folder: Path) -> Iterator[str]:
    """Start a real MLflow server on loopback that keeps everything in a folder; give its address; end it."""
    port = free_port()
    command = [
        *[UV, "tool", "run", "--quiet", "--from", "mlflow>=3.10,<4", "mlflow", "server"],
        *["--host=127.0.0.1", f"--port={port}", "--workers=1"],
        *[f"--backend-store-uri=sqlite:///{folder}/server.db", f"--artifacts-destination={folder}/store"],
    ]
    # Its job runners, nine processes, are for evaluations of language models.
    env = clean_environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/health", process, folder / "server.log")
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


@contextmanager
def object_store(folder: Path) -> Iterator[dict[str, str]]:
    """Start an S3 endpoint on loopback that has the bucket `data`; give the environment that leads there; end it."""
    port = free_port()
    log = folder / "s3.log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    env = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        wait_for(f"{env['AWS_ENDPOINT_URL']}/moto-api/", process, log)
        s3(env).create_bucket(Bucket="data")
        yield env
    finally:
        process.terminate()
        process.wait(timeout=10)


def s3(env: dict[str, str]):  # type: ignore[no-untyped-def]
    """Return a client of an object store's endpoint."""
    import boto3

    return boto3.client(
        "s3", endpoint_url=env["AWS_ENDPOINT_URL"], aws_access_key_id="testing", aws_secret_access_key="testing"
    )
