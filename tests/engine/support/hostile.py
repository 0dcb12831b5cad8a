"""What an attacker sends a service, and an hour of it.

`python -m tests.engine.support.hostile MODEL --seconds 3600 --seed 1` starts the service of an artifact on loopback,
lets hostile clients at it, each bounded, and looks meanwhile how long `/health/live` takes and how much memory is held.
It ends with 1 where an answer takes longer than half a second, memory has grown by more than 50 MB since the first
tenth of the time, an answer is a 5xx other than 503, or the service has ended.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

NAME = "churn"
HOST = "127.0.0.1"
MEGABYTE = 1_000_000
MOST_SECONDS, MOST_GROWTH = 0.5, 50 * MEGABYTE
PATIENCE = 10.0  # seconds for one answer
LOOK_SECONDS = 0.1
BITS = (b"{", b"}", b"[", b"]", b",", b":", b'"', b"null", b"1e999", b"-0", b"\\u0000", b"\xff", b"NaN", b"\r\n", b"")


def hostile_bodies(row: dict[str, Any]) -> dict[str, tuple[str, bytes, str]]:
    """Return bodies of 2 MB by name, each with its route and content type."""
    first, plain, names = next(iter(row)), "application/json", [f"{next(iter(row))}{place}" for place in range(100_000)]
    unknown = {f"{first}_{place:07}": 1 for place in range(100_000)}
    tensor = {"shape": [1], "datatype": "FP32", "data": [1]}
    value = json.dumps(row).encode()
    good = [
        {"name": name, "shape": [1], "datatype": "BYTES" if isinstance(each, str) else "FP64", "data": [each]}
        for name, each in row.items()
    ]
    output = b'{"name":"prediction"}'
    bodies: dict[str, tuple[str, bytes, str]] = {
        "unknown keys": ("/predict", json.dumps(row | unknown).encode(), plain),
        "nothing but unknown keys": ("/predict", json.dumps(unknown).encode(), plain),
        "rows of unknown keys": ("/predict", json.dumps([{**row, f"{first}_": 1}] * 1000).encode(), plain),
        "empty rows": ("/predict", b"[" + b"{}," * 660_000 + b"{}]", plain),
        "empty lists": ("/predict", b"[" + b"[]," * 660_000 + b"[]]", plain),
        "good rows": ("/predict", b"[" + (value + b",") * (1_900_000 // len(value)) + value + b"]", plain),
        "split, many columns": (
            "/invocations",
            json.dumps({"dataframe_split": {"columns": names, "data": [[1] * len(names)] * 2}}).encode(),
            plain,
        ),
        "split, many rows": (
            "/invocations",
            json.dumps({"dataframe_split": {"columns": list(row), "data": [[]] * 400_000}}).encode(),
            plain,
        ),
        "split, a long column": (
            "/invocations",
            json.dumps({"dataframe_split": {"columns": ["a" * 1_900_000], "data": [[]]}}).encode(),
            plain,
        ),
        "split, one column many times": (
            "/invocations",
            json.dumps({"dataframe_split": {"columns": [first] * 200_000, "data": [[1] * 200_000]}}).encode(),
            plain,
        ),
        "columns": ("/invocations", json.dumps({"inputs": {name: [1] for name in names}}).encode(), plain),
        "a long column": (
            "/invocations",
            b'{"inputs": {"' + first.encode() + b'": [1' + b",1" * 900_000 + b"]}}",
            plain,
        ),
        "lines": ("/invocations", first.encode() + b"\n" + b"1\n" * 950_000, "text/csv"),
        "empty lines": ("/invocations", first.encode() + b"\n" * 1_900_000 + b"1", "text/csv"),
        "fields": ("/invocations", b"a," * 950_000 + b"\n", "text/csv"),
        "fields of a line": ("/invocations", first.encode() + b"\n" + b"1," * 950_000, "text/csv"),
        "tensors": (
            f"/v2/models/{NAME}/infer",
            json.dumps({"inputs": [{"name": name, **tensor} for name in names[:25_000]]}).encode(),
            plain,
        ),
        "a long tensor": (
            f"/v2/models/{NAME}/infer",
            json.dumps({"inputs": [{"name": first, **tensor, "data": [1] * 600_000}]}).encode(),
            plain,
        ),
        "a long shape": (
            f"/v2/models/{NAME}/infer",
            json.dumps({"inputs": [{"name": first, **tensor, "shape": [1] * 600_000}]}).encode(),
            plain,
        ),
        "one output many times": (
            f"/v2/models/{NAME}/infer",
            json.dumps({"inputs": good}).encode()[:-1] + b',"outputs":[' + (output + b",") * 80_000 + output + b"]}",
            plain,
        ),
        "depth": ("/predict", b"[" * 1_900_000, plain),
        "digits": ("/predict", b"1" * 1_900_000, plain),
    }
    return bodies


@dataclass
class Judge:
    """What was seen of the service."""

    live: list[float] = field(default_factory=list)  # seconds of each answer of /health/live
    lost: int = 0  # of them, those that never came
    memory: list[tuple[float, int]] = field(default_factory=list)  # when, and bytes
    codes: Counter[str] = field(default_factory=Counter)  # of hostile requests: what came back

    def growth(self, began: float, seconds: float) -> int:
        """Return by how much the memory is larger at the end than after the first tenth: the largest of each part."""
        settled = [size for at, size in self.memory if at - began <= seconds / 10]
        after = [size for at, size in self.memory if at - began >= seconds * 0.9]
        return max(after, default=0) - max(settled, default=0)


Seen = tuple[Judge, float, list[str]]


class Attacker:
    """One hostile client after the other, until it is told to stop."""

    def __init__(self, port: int, row: dict[str, Any], seed: int) -> None:
        """Draw from a seed of its own."""
        self._port, self._row = port, row
        self.codes: Counter[str] = Counter()
        self._draw = random.Random(seed)  # noqa: S311 - repeatable
        self._bodies = list(hostile_bodies(row).values())

    def run(self, stop: Any) -> None:
        """Attack."""
        ways = (self._large, self._mutated, self._head, self._trailers, self._half, self._bytes, self._good)
        while not stop.is_set():
            way = self._draw.choice(ways)
            with suppress(OSError, http.client.HTTPException):
                way()

    def _ask(self, path: str, body: bytes, kind: str) -> None:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=PATIENCE)
        try:
            connection.request("POST", path, body, {"Content-Type": kind})
            self.codes[str(connection.getresponse().status)] += 1
        except TimeoutError:
            self.codes["no answer"] += 1
        finally:
            connection.close()

    def _large(self) -> None:
        self._ask(*self._draw.choice(self._bodies))

    def _mutated(self) -> None:
        path, body, kind = self._draw.choice(self._bodies)
        part = bytearray(body[: self._draw.choice((200, 5_000, 2 * MEGABYTE))])
        for _ in range(self._draw.randint(1, 20)):
            at = self._draw.randrange(len(part) + 1)
            part[at : at + self._draw.randint(0, 8)] = self._draw.choice(BITS)
        self._ask(path, bytes(part), self._draw.choice((kind, "text/csv", "application/json")))

    def _good(self) -> None:
        rows: Any = self._row if self._draw.random() < 0.5 else [self._row] * self._draw.randint(1, 100)
        self._ask("/predict", json.dumps(rows).encode(), "application/json")

    def _send(self, *parts: bytes) -> None:
        with socket.create_connection((HOST, self._port), timeout=PATIENCE) as connection:
            for part in parts:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(100)
            self.codes[answer[9:12].decode("ascii", "replace") or "closed"] += 1

    def _head(self) -> None:
        size = self._draw.choice((100, 50_000, 200_000))
        self._send(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: " + b"a" * size + b"\r\n\r\n")

    def _trailers(self) -> None:
        start = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        begin = start + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        self._send(begin, *[b"X: " + b"a" * self._draw.choice((1, 1_000, 60_000)) + b"\r\n"] * 50)

    def _half(self) -> None:
        """Announce a body, and leave in the midst of it."""
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1900000\r\n\r\n"
        self._send(head, b"[" * self._draw.choice((1, 1_000, 1_000_000)))

    def _bytes(self) -> None:
        self._send(self._draw.randbytes(self._draw.choice((1, 100, 70_000))))


def _attack(port: int, row: dict[str, Any], seed: int, stop: Any, told: Any) -> None:
    """Be a process of attackers: in that of the judge they would keep it from looking."""
    os.nice(10)  # what they take of the processor is not the service's fault
    attacker = Attacker(port, row, seed)
    attacker.run(stop)
    told.put(attacker.codes)


def _look(port: int, process: subprocess.Popen[bytes], judge: Judge) -> None:
    import psutil

    began = time.monotonic()
    try:
        connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
        connection.request("GET", "/health/live")
        connection.getresponse().read()
        connection.close()
        judge.live.append(time.monotonic() - began)
    except (OSError, http.client.HTTPException):
        judge.lost += 1
    with suppress(psutil.Error):
        judge.memory.append((time.monotonic(), psutil.Process(process.pid).memory_info().rss))


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the service has ended"
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.1)
    raise AssertionError("the service does not answer")


def attack(
    folder: Path, row: dict[str, Any], seconds: float, seed: int, clients: int
) -> tuple[Judge, float, list[str]]:
    """Let hostile clients at the service of an artifact, and return what was seen, when it began, and what is wrong.

    Args:
        folder: the artifact; the working folder is a project.
        row: a good one.
        seconds: for how long.
        seed: of what is sent.
        clients: how many at once.
    """
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="hostile-") as own:
        command = [sys.executable, "-m", "twoloops", "serve", str(folder), "--port", str(port), "--captures", own]
        log = Path(own, "service.log")
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | {"OMP_NUM_THREADS": "1"})
        judge, wrong = Judge(), []
        context = get_context("spawn")
        stop, told = context.Event(), context.Queue()
        try:
            _wait(port, process)
            for each in range(clients):
                context.Process(target=_attack, args=(port, row, seed * 1000 + each, stop, told), daemon=True).start()
            began = time.monotonic()
            while time.monotonic() - began < seconds and process.poll() is None:
                _look(port, process, judge)
                time.sleep(LOOK_SECONDS)
            stop.set()
            for _ in range(clients):
                judge.codes += told.get(timeout=6 * PATIENCE)
            if process.poll() is not None:
                wrong.append(f"the service has ended: {log.read_text(errors='replace')[-2000:]}")
        finally:
            stop.set()
            process.terminate()
            process.wait(60)
    if max(judge.live, default=PATIENCE) > MOST_SECONDS or judge.lost:
        wrong.append(f"/health/live took up to {max(judge.live, default=PATIENCE):.2f} s; {judge.lost} never came")
    if judge.growth(began, seconds) > MOST_GROWTH:
        wrong.append(f"memory has grown by {judge.growth(began, seconds) / MEGABYTE:.0f} MB")
    faults = {code: count for code, count in judge.codes.items() if code.startswith("5") and code != "503"}
    if faults:
        wrong.append(f"the service failed: {faults}")
    return judge, began, wrong


def main() -> int:
    """Attack, as a command, in a project's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="An artifact's folder.")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=4)
    asked = parser.parse_args()
    from twoloops.artifact import Predictor

    predictor = Predictor.load(asked.model)
    (row,) = predictor.problem.draw_requests(predictor.reference, predictor.signature, 1, 0)
    judge, began, wrong = attack(asked.model, row, asked.seconds, asked.seed, asked.clients)
    live = sorted(judge.live)
    print(f"{sum(judge.codes.values()):,} hostile requests in {asked.seconds:.0f} s: {dict(judge.codes.most_common())}")
    print(
        f"/health/live: {len(live):,} answers, median {live[len(live) // 2]:.3f} s, "
        f"99 % within {live[int(len(live) * 0.99)]:.3f} s, longest {live[-1]:.3f} s, {judge.lost} lost"
    )
    sizes = [size for _, size in judge.memory]
    growth = judge.growth(began, asked.seconds) / MEGABYTE
    print(
        f"memory: {sizes[0] / MEGABYTE:.0f} MB at first, at most {max(sizes) / MEGABYTE:.0f} MB, "
        f"growth {growth:+.0f} MB"
    )
    print("\n".join(wrong) or "Nothing is wrong.")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
