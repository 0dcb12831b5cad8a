"""What an attacker sends: bounded in time and in memory, refused in words, and of no use."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twoloops.service.server import LARGEST_HEAD, MOST_FIELDS

from tests.engine.support.project import Project
from tests.engine.support.serving import MODEL, Client, make, receive, running

NAME = "churn"
# For which one request may hold up all others. Counted is the processor time of the service's own thread, so that
# a busy machine does not matter.
MOST_SECONDS = 0.5
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"


@pytest.fixture
def client(project: Project) -> Iterator[Client]:
    made = make(MODEL)
    yield made
    made.service.close()


# ------------------------------------------------------------------ around the body


def send_until_refused(port: int, begin: bytes, more: bytes, size: int) -> tuple[bytes, int]:
    """Send `begin`, then `more` again and again until the service closes; return its answer and the bytes sent."""
    sent, answer = 0, b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(begin)
            while sent < size:
                connection.sendall(more)
                sent += len(more)
        except OSError:
            pass
        try:
            while part := connection.recv(65_536):
                answer += part
        except OSError:
            pass
    return answer, sent


def test_trailers_are_bounded(project: Project) -> None:
    client = make(MODEL, client_timeout_seconds=5, drain_seconds=0)
    with running(client) as port:
        receive(port, HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
        before = psutil.Process().memory_info().rss
        for field in (b"X: " + b"a" * 1000 + b"\r\n", b"a" * 1000, b"X: 1\r\n" * 150):
            _, sent = send_until_refused(port, CHUNKED, field, 30_000_000)
            assert sent < 20_000_000, "the service must close long before that"
        assert psutil.Process().memory_info().rss - before < 30_000_000
        # The same, told: what fits into the buffers of the connection is not lost to a reset.
        told = receive(port, CHUNKED + b"X: 1\r\n" * (MOST_FIELDS + 1))
        assert told.startswith(b"HTTP/1.1 431")
        assert client.metric("service_requests_total", route="other", code="431") >= 1
        few = receive(port, CHUNKED.replace(b"Host", b"Connection: close\r\nHost") + b"X: 1\r\n\r\n")
        assert few.startswith(b"HTTP/1.1 422"), "a few trailers do no harm"
    client.service.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: " + b"a" * LARGEST_HEAD + b"\r\n\r\n",
        b"GET /health/live?" + b"a" * LARGEST_HEAD + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + b"X: 1\r\n" * MOST_FIELDS + b"\r\n",
    ],
    ids=["bytes", "address", "fields"],
)
def test_a_head_in_one_read_is_bounded(project: Project, head: bytes) -> None:
    client = make(MODEL, client_timeout_seconds=5, drain_seconds=0)
    with running(client) as port:
        assert receive(port, head).startswith(b"HTTP/1.1 431")
    client.service.close()


def test_a_body_in_small_chunks_is_no_attack(project: Project) -> None:
    client = make(MODEL, client_timeout_seconds=5, drain_seconds=0)
    body = json.dumps([client.row] * 200).encode()
    chunks = b"".join(b"4\r\n" + (body[place : place + 4]).ljust(4) + b"\r\n" for place in range(0, len(body), 4))
    head = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    with running(client) as port:
        assert receive(port, head + chunks + b"0\r\n\r\n").startswith(b"HTTP/1.1 200")
    client.service.close()


# ------------------------------------------------------------------ in the body


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


def test_no_body_stops_the_others(client: Client) -> None:
    for name, (path, body, kind) in hostile_bodies(client.row).items():
        assert len(body) <= 3_500_000, name
        client.service._limit = 4_000_000  # some need more than 2 MB in json.dumps' form
        began = time.thread_time()
        answer = client.send("POST", path, content=body, headers={"content-type": kind})
        seconds = time.thread_time() - began
        assert 400 <= answer.status_code < 500, (name, answer.status_code)
        assert len(answer.content) < 100_000, name
        assert seconds < MOST_SECONDS, (name, round(seconds, 2))


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def test_any_body_is_answered_in_time(client: Client) -> None:
    """Fuzzed bodies, repeated to the largest size, with a limit of time and no status of 5xx."""
    wrappers = [
        "dataframe_split",
        "dataframe_records",
        "instances",
        "inputs",
        "input_data",
        "columns",
        "data",
        "outputs",
    ]
    names = [*client.row, *wrappers]
    paths = ["/predict", "/invocations", "/score", f"/v2/models/{NAME}/infer"]
    keyed = st.dictionaries(st.sampled_from(names), JSON_VALUES, max_size=6)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.sampled_from(paths), keyed | JSON_VALUES, st.sampled_from(["once", "list", "keys", *wrappers]))
    def run(path: str, value: Any, form: str) -> None:
        one = json.dumps(value).encode()
        times = 1_500_000 // (len(one) + 20)
        many = b"[" + b",".join([one] * times) + b"]"
        if form == "once":
            body = one
        elif form == "list":
            body = many
        elif form == "keys":
            body = b"{" + b",".join(b'"k%d": %b' % (place, one) for place in range(times)) + b"}"
        else:
            body = b'{"%b": %b}' % (form.encode(), many)
        began = time.thread_time()
        answer = client.send("POST", path, content=body[:2_000_000], headers={"content-type": "application/json"})
        seconds = time.thread_time() - began
        assert answer.status_code < 500, (path, body[:200])
        assert seconds < MOST_SECONDS, (path, form, one[:200], round(seconds, 2))

    run()
