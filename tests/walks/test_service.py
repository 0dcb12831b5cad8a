"""The online service as a process: faults, attacks, and clients that were not written here."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from commands.rendering import clean_environment
from tests.support.projects import CopyOf, change
from tests.support.servers import free_port
from tests.support.tools import UV

pytestmark = pytest.mark.slow

DEAD_REGISTRY = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
MEGABYTE = 1_000_000
PATIENCE = 30.0  # seconds, on a machine that does much else
JSON = {"Content-Type": "application/json"}


class Server:
    """A service process."""

    def __init__(self, project: CopyOf, *words: str, program: tuple[str, ...] = ()) -> None:
        """Start `serve` with these words and wait until it is ready."""
        self.project = project
        self.port = free_port()
        self._log = project.folder / f"serve-{self.port}.log"
        # A service must not need the registry, neither at its start nor for a swap.
        environment = project.variables() | DEAD_REGISTRY
        command = [*program, project.python, "-m", "twoloops", "serve", *words]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)], cwd=project.folder, env=environment, stdout=log, stderr=log
            )
        wait(lambda: self.process.poll() is not None or '"ready"' in self.log)

    def __enter__(self) -> Self:
        assert self.process.poll() is None, self.log
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Send one request on a connection of its own; return status, content and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            encoded = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, encoded, JSON if headers is None else headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            kind = answer.headers.get("Content-Type", "")
            return answer.status, json.loads(text) if kind == "application/json" else text, dict(answer.headers)
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        return self.send("GET", path)[1]

    def predict(self, body: Any) -> tuple[int, Any]:
        return self.send("POST", "/predict", body)[:2]

    def metric(self, start: str) -> float:
        """Return the sum of all lines that begin so."""
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith(start)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def example(self) -> dict[str, Any]:
        operation = self.get("/openapi.json")["paths"]["/predict"]["post"]
        row: dict[str, Any] = operation["requestBody"]["content"]["application/json"]["examples"]["one"]["value"]
        return row

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def wait(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def variant(project: CopyOf, name: str, damage: bool = False) -> str:
    """Put another version of the trained artifact where deployments find it; return its identity."""
    models = project.folder / "deployments/models"
    new = models / "new"
    shutil.copytree(project.folder / "artifacts/model", new)
    lineage = json.dumps({"variant": name})
    (new / "lineage.json").write_text(lineage, encoding="utf-8")
    manifest = json.loads((new / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["lineage.json"] = hashlib.sha256(lineage.encode()).hexdigest()
    content = json.dumps(manifest)
    (new / "manifest.json").write_text(content, encoding="utf-8")
    if damage:
        model = (new / "model.onnx").read_bytes()
        (new / "model.onnx").write_bytes(model[:100] + b"\0" + model[101:])
    identity = hashlib.sha256(content.encode()).hexdigest()
    new.rename(models / identity)
    return identity


def deploy(project: CopyOf, version: str, identity: str) -> Path:
    folder = project.folder / "deployments/test"
    folder.mkdir(parents=True, exist_ok=True)
    stable = {"version": version, "identity": identity, "registered_at": "2026-01-01T00:00:00+00:00"}
    new = folder / ".deployment.json"
    new.write_text(json.dumps({"stable": stable, "canary": None}), encoding="utf-8")
    new.replace(folder / "deployment.json")
    return folder


def captured_rows(project: CopyOf, folder: Path) -> dict[str, int]:
    """Count what the files hold, read by pyarrow and by pandas."""
    program = (
        "import json, sys, pathlib, pandas as pd, pyarrow.parquet as pq\n"
        "paths = sorted(pathlib.Path(sys.argv[1]).glob('*.parquet'))\n"
        "rows = sum(pq.read_table(path).num_rows for path in paths)\n"
        "assert rows == sum(len(pd.read_parquet(path)) for path in paths)\n"
        "told = [json.loads(pq.read_metadata(path).metadata[b'quality']) for path in paths]\n"
        "print(json.dumps({'rows': rows, 'dropped': sum(each['dropped'] for each in told),"
        " 'refused': sum(each['refused'] for each in told)}))\n"
    )
    counts: dict[str, int] = json.loads(project.run("python", "-c", program, str(folder)).stdout)
    return counts


class Load:
    """Clients that ask without a pause, each on a connection that stays open."""

    def __init__(self, server: Server, clients: int = 4) -> None:
        """Prepare the clients."""
        self.statuses: Counter[int] = Counter()
        self.versions: Counter[str] = Counter()
        self.errors: list[str] = []
        self._body = json.dumps(server.example()).encode()
        self._port = server.port
        self._ending = False
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        while not self._ending:
            try:
                connection.request("POST", "/predict", self._body, JSON)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(repr(error))
                break
            self.statuses[answer.status] += 1
            self.versions[answer.headers["X-Model-Version"]] += 1
        connection.close()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        wait(lambda: self.statuses[200] > 100)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        for thread in self._threads:
            thread.join()


def test_a_service_that_is_told_to_stop_answers_what_is_under_way(trained: CopyOf) -> None:
    with Server(trained, "artifacts/model") as server:
        body = json.dumps(server.example()).encode()
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        half = server.connect()
        half.sendall(head.encode() + b"\r\n" + body[:10])
        assert server.predict(server.example())[0] == 200
        server.process.send_signal(signal.SIGTERM)
        wait(lambda: '"leaving"' in server.log)
        status, told, headers = server.send("GET", "/health/ready")
        assert (status, told["ready"], headers["connection"]) == (503, False, "close")
        time.sleep(1.5)  # by now nobody new is let in
        with pytest.raises(ConnectionError):
            server.connect()
        half.sendall(body[10:])
        answer = half.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert server.process.wait(PATIENCE) == 0
    assert captured_rows(trained, trained.folder / "data/captures/service")["rows"] == 2


def test_a_kill_under_load_is_survived_and_its_loss_is_counted(trained: CopyOf) -> None:
    change(trained, "serve", capture_seconds=0.5, capture_rows=1000)
    captures = trained.folder / "data/captures/service"
    with Server(trained, "artifacts/model") as server:
        with Load(server) as load:
            wait(lambda: any(captures.glob("*.parquet")))
            wait(lambda: load.statuses[200] > 1500)
            server.process.kill()
            wait(lambda: len(load.errors) == 4)  # the clients have seen it
        server.process.wait()
    assert set(load.statuses) == {200}
    with Server(trained, "artifacts/model") as server:
        assert server.predict(server.example())[0] == 200
        lost = server.metric('service_captured_rows_total{outcome="lost"}')
        assert server.stop() == 0
    counts = captured_rows(trained, captures)
    # Each of the four clients may have one answer that did not reach it, and none is without its row.
    answered = load.statuses[200] + 1
    assert answered <= counts["rows"] + lost <= answered + 4
    assert counts["dropped"] == lost
    assert not list(captures.glob(".*")), "what the kill left behind is gone"


def test_a_damaged_artifact_is_told_at_the_start(trained: CopyOf) -> None:
    identity = variant(trained, "damaged", damage=True)
    for words, told in (
        (str(deploy(trained, "1", identity)), "model.onnx is missing or was altered"),
        (str(trained.folder / "deployments/models" / identity), "model.onnx is missing or was altered"),
        ("data", "neither a deployment folder"),
    ):
        server = Server(trained, words)
        assert server.process.wait(PATIENCE) == 1
        assert told in server.log
        assert "What to do: " in server.log
        assert "Traceback" not in server.log


def test_a_swap_under_load_loses_no_request(trained: CopyOf) -> None:
    first, second, damaged = (variant(trained, name, damage=name == "damaged") for name in ("a", "b", "damaged"))
    with Server(trained, str(deploy(trained, "1", first))) as server, Load(server) as load:
        deploy(trained, "2", second)
        wait(lambda: server.get("/health/ready")["stable"]["version"] == "2")
        deploy(trained, "3", damaged)
        wait(lambda: server.get("/health/ready")["problem"])
        assert "altered" in server.get("/health/ready")["problem"]
        deploy(trained, "1", first)
        wait(lambda: server.get("/health/ready")["stable"]["version"] == "1")
        assert server.get("/health/ready")["problem"] is None
        assert server.metric("service_swap_failures_total") == 1
        answered = load.statuses[200]
        wait(lambda: load.statuses[200] > answered + 50)
    assert (set(load.statuses), load.errors) == ({200}, [])
    assert set(load.versions) == {"1", "2"}
    assert captured_rows(trained, trained.folder / "data/captures/test")["dropped"] == 0


@contextlib.contextmanager
def small_disk(folder: Path, server: Callable[[], Server]) -> Iterator[Callable[[bool], None]]:
    """Give what fills the disk of the captures and frees it again."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode == 0:

        def fill(full: bool) -> None:
            if not full:
                (folder / "filling").unlink()
                return
            with contextlib.suppress(OSError), (folder / "filling").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1024))

        try:
            yield fill
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    else:  # without root: a limit on the size of each file says "File too large" in place of "No space left"

        def limit(full: bool) -> None:
            resource.prlimit(
                server().process.pid, resource.RLIMIT_FSIZE, (4096 if full else -1, resource.RLIM_INFINITY)
            )

        yield limit


@pytest.mark.skipif(sys.platform != "linux", reason="small disks are made as Linux does")
def test_a_full_disk_does_not_stop_the_service(trained: CopyOf) -> None:
    change(trained, "serve", capture_seconds=0.2)
    captures = trained.folder / "data/captures/small"
    with (
        small_disk(captures, lambda: server) as fill,
        Server(trained, "artifacts/model", "--captures", str(captures)) as server,
    ):
        rows = [server.example()] * 500

        def dropped() -> float:
            return server.metric('service_captured_rows_total{outcome="dropped"}')

        fill(True)
        for number in range(1, 4):
            assert server.predict(rows)[0] == 200
            wait(lambda number=number: dropped() == 500 * number)  # type: ignore[misc]
        assert server.log.count("captures cannot be written") == 1
        fill(False)
        assert server.predict(rows)[0] == 200
        wait(lambda: server.metric('service_captured_rows_total{outcome="kept"}') == 500)
        assert "captures are written again" in server.log
        assert captured_rows(trained, captures) == {"rows": 500, "dropped": 1500, "refused": 0}
        assert server.stop() == 0


def test_ten_times_the_load_is_answered_with_503_and_good_answers(trained: CopyOf) -> None:
    change(trained, "serve", maximum_pending=20)
    with Server(trained, "artifacts/model") as server:
        body = json.dumps(server.example()).encode()
        request = (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        statuses: Counter[str] = Counter()
        told_when: Counter[bool] = Counter()

        async def client() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for _ in range(20):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                statuses[head[9:12].decode()] += 1
                if head.startswith(b"HTTP/1.1 503"):
                    told_when[b"retry-after: 1\r\n" in head] += 1
            writer.close()

        async def crowd() -> None:
            await asyncio.gather(*(client() for _ in range(200)))

        asyncio.run(crowd())
        assert set(statuses) == {"200", "503"}
        assert sum(statuses.values()) == 4000
        assert statuses["200"] > 200, "good answers kept coming"
        assert set(told_when) == {True}
        assert server.metric("service_pending_requests") <= 1
        assert server.predict(server.example())[0] == 200, "and it is well again at once"


def test_slow_clients_stop_nobody_and_are_cut(trained: CopyOf) -> None:
    change(trained, "serve", client_timeout_seconds=1.0, maximum_pending=10)
    with Server(trained, "artifacts/model") as server:
        body = json.dumps(server.example()).encode()
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n"
        silent = [server.connect() for _ in range(20)]
        slow_heads = [server.connect() for _ in range(20)]
        slow_bodies = [server.connect() for _ in range(20)]
        for place in range(6):  # a byte now and then, as slowloris does
            for connection in slow_heads:
                connection.sendall(head[place : place + 1])
            for connection in slow_bodies:
                connection.sendall(head + b"\r\n" if place == 0 else body[place : place + 1])
            assert server.predict(server.example())[0] == 200
            time.sleep(0.1)
        # Those who do not take their answers: they ask and ask, and never read.
        deaf = server.connect()
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                deaf.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        for connection in slow_heads + slow_bodies:
            assert connection.recv(100).startswith(b"HTTP/1.1 408")
        for connection in silent:
            assert connection.recv(100) == b""
        idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        for _ in range(2):  # a connection that has been used may stay open
            idle.request("GET", "/health/live")
            assert idle.getresponse().read() == b'{"live":true}'
            time.sleep(2)
        wait(lambda: server.metric("service_pending_requests") == 1)  # the one that asks
        assert server.predict(server.example())[0] == 200
        assert server.stop() == 0


def test_huge_and_hostile_bodies_are_refused_at_once(trained: CopyOf) -> None:
    with Server(trained, "artifacts/model") as server:
        assert server.predict(server.example())[0] == 200
        before = memory(server)
        status, told, _ = server.send("POST", "/predict", b" " * 100 * MEGABYTE)
        assert (status, told["details"]) == (413, [])

        def chunks() -> Iterator[bytes]:
            for _ in range(100):
                yield b" " * MEGABYTE

        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        connection.request("POST", "/predict", chunks(), JSON, encode_chunked=True)
        assert connection.getresponse().status == 413
        connection.close()
        assert memory(server) < before + 20 * MEGABYTE

        for body, expected in (
            (b"[" * MEGABYTE, 400),
            (b'{"a":' * 300_000, 400),
            (json.dumps(server.example())[:-1].encode() + b', "email": ' + b"[" * MEGABYTE, 400),
            (b"\xff" * 1000, 400),
            (b"\0", 400),
            (b'"' + b"\\ud800" * 10 + b'"', 400),
            (b"1" * MEGABYTE, 400),
            (json.dumps({"\ud800": 1}).encode(), 400),
            (b"[" + b"{}," * 900 + b"{}]", 422),
            (b"null", 422),
        ):
            status, told = server.predict(body)
            assert (status, set(told)) == (expected, {"error", "details", "request_id"}), (body[:20], told)
        # What is not even HTTP, and a head without an end.
        with server.connect() as raw:
            raw.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 400")
        with server.connect() as raw, contextlib.suppress(ConnectionError):
            for number in range(10_000):
                raw.sendall(f"X-{number}: {'a' * 100}\r\n".encode() if number else b"GET / HTTP/1.1\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 431")
        assert server.metric('service_requests_total{code="5') == 0
        assert server.predict(server.example())[0] == 200
        assert server.log.count("\n") <= 3, "a bad request is no line in the log"


def memory(server: Server) -> int:
    """Return the most memory that the process has had, in bytes; macOS does not tell, then 0."""
    status = Path(f"/proc/{server.process.pid}/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


# Rows can be described completely, so that what is right is known; other protocols' wrappers cannot.
SCHEMATHESIS = """
[checks]
enabled = false
not_a_server_error.enabled = true
status_code_conformance.enabled = true
content_type_conformance.enabled = true
response_schema_conformance.enabled = true
unsupported_method.enabled = true

[[operations]]
include-path = "/predict"
checks.negative_data_rejection.enabled = true
checks.negative_data_rejection.expected-statuses = [400, 413, 415, 422]
checks.positive_data_acceptance.enabled = true
"""


def test_schemathesis_finds_no_fault(trained: CopyOf, tmp_path: Path) -> None:
    """Requests made from the OpenAPI document, good and bad ones: https://schemathesis.readthedocs.io."""
    (tmp_path / "schemathesis.toml").write_text(SCHEMATHESIS, encoding="utf-8")
    with Server(trained, "artifacts/model") as server:
        answer = subprocess.run(
            [
                *[sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json"],
                *["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1", "--no-color"],
                *["--generation-database", "none"],
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stdout[:4000]
        assert server.metric('service_requests_total{code="5') == 0
        assert server.metric('service_requests_total{code="200",route="/predict"}') > 10
        assert server.metric('service_requests_total{code="422",route="/predict"}') > 10


def test_clients_that_were_not_written_here_are_answered(trained: CopyOf) -> None:
    with Server(trained, "artifacts/model") as server:
        row = server.example()
        expected = server.predict(row)[1]["predictions"][0]
        clients = {
            "tritonclient[http]>=2.60": TRITON,
            "mlflow>=3.10,<4": MLFLOW,
            "boto3>=1.40": BOTO3,
        }
        for package, program in clients.items():
            answer = subprocess.run(
                [UV, "run", "--quiet", "--no-project", "--with", package, "python", "-c", program],
                input=json.dumps({"port": server.port, "row": row, "name": trained.package}),
                env=clean_environment() | {"MLFLOW_DISABLE_TELEMETRY": "true"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert answer.returncode == 0, answer.stderr
            told = json.loads(answer.stdout.splitlines()[-1])
            assert told == pytest.approx(expected), package


TRITON = """
import json, sys
import numpy as np
import tritonclient.http as triton

given = json.load(sys.stdin)
client = triton.InferenceServerClient(f"127.0.0.1:{given['port']}")
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(given["name"])
told = client.get_model_metadata(given["name"])
kinds = {"BYTES": np.object_, "FP32": np.float32, "INT64": np.int64, "BOOL": np.bool_}
inputs = []
for each in told["inputs"]:
    tensor = triton.InferInput(each["name"], [1], each["datatype"])
    value = np.array([given["row"][each["name"]]], dtype=kinds[each["datatype"]])
    tensor.set_data_from_numpy(value, binary_data=False)
    inputs.append(tensor)
answer = client.infer(given["name"], inputs, request_id="seven", model_version=told["versions"][0])
assert answer.get_response()["id"] == "seven"
print(json.dumps({each["name"]: answer.as_numpy(each["name"])[0].item() for each in told["outputs"]}))
"""

MLFLOW = """
import json, sys
import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

given = json.load(sys.stdin)
client = ScoringServerClient("127.0.0.1", given["port"])
client.ping()
answer = client.invoke(pd.DataFrame([given["row"]]))
print(answer.get_predictions().to_json(orient="records", lines=True, double_precision=15).strip())
"""

BOTO3 = """
import json, sys
import boto3

given = json.load(sys.stdin)
client = boto3.client(
    "sagemaker-runtime",
    endpoint_url=f"http://127.0.0.1:{given['port']}",
    region_name="eu-central-1",
    aws_access_key_id="none",
    aws_secret_access_key="none",
)
answer = client.invoke_endpoint(
    EndpointName="any", ContentType="application/json", Body=json.dumps({"instances": [given["row"]]})
)
print(json.dumps(json.load(answer["Body"])["predictions"][0]))
"""
