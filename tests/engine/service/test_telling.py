"""What a service has counted goes to an object store, where nobody can ask the service itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import obstore
import pytest
from obstore.store import LocalStore, MemoryStore
from twoloops.platforms.shared.traffic import sum_traffic, traffic_of
from twoloops.service.telling import PLACE, Telling, telling

COUNTS = b'service_model_seconds_count{model_version="1"} 3.0\nservice_model_errors_total{model_version="1"} 1.0\n'


@pytest.fixture
def port() -> Iterator[int]:
    """Return the port of what stands for a service."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(COUNTS)

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def files(store: MemoryStore) -> list[bytes]:
    names = [str(each["path"]) for page in store.list() for each in page]
    return [bytes(obstore.get(store, name).bytes()) for name in names]


def test_each_machine_has_a_file_and_replaces_it(port: int) -> None:
    store = MemoryStore()
    machines = [Telling(store, port, 0.02) for _ in range(2)]
    for each in machines:
        each.start()
    deadline = time.monotonic() + 5
    while len(files(store)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    for each in machines:
        each.tell()
        each.stop()
    found = files(store)
    assert found == [COUNTS, COUNTS]
    one, other = (traffic_of(each.decode())["1"] for each in found)
    assert sum_traffic(one, other).answered == 6
    assert sum_traffic(one, other).errors == 2


def test_a_store_that_takes_nothing_is_told_once(port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    store = LocalStore(folder)
    folder.rmdir()
    folder.touch()  # now it is a file, and takes no others
    told = Telling(store, port, 60.0)
    for _ in range(3):
        told.tell()
    folder.unlink()
    folder.mkdir()
    told.tell()
    assert len(list(folder.iterdir())) == 1
    written = capsys.readouterr()
    assert (written.out + written.err).count("counts cannot be brought") == 1


def test_nobody_asked_for_it() -> None:
    assert telling(1, {}) is None
    assert telling(1, {PLACE: ""}) is None


def test_the_counts_of_two_machines_add_up_by_bucket() -> None:
    lines = [
        'service_model_seconds_bucket{model_version="2",le="0.1"} 2.0',
        'service_model_seconds_bucket{model_version="2",le="+Inf"} 3.0',
        'service_model_seconds_count{model_version="2"} 3.0',
        'service_model_seconds_sum{model_version="2"} 0.5',
    ]
    one = traffic_of("# TYPE service_model_seconds histogram\n" + "\n".join(lines) + "\n")["2"]
    both = sum_traffic(one, one)
    assert (both.answered, both.seconds) == (6.0, 1.0)
    assert both.buckets == ((0.1, 4.0), (float("inf"), 6.0))
