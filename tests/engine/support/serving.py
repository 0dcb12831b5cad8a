"""The online service for tests: asked in this process, or on a port of this machine."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from twoloops import params
from twoloops.service import server
from twoloops.service.access import Access
from twoloops.service.app import Service
from twoloops.service.models import Models

MODEL = Path("artifacts/model")


class Client:
    """Talks to a service in this process."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.service, raise_app_exceptions=False)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())

    def get(self, path: str) -> httpx.Response:
        return self.send("GET", path)

    def post(self, path: str, content: Any) -> httpx.Response:
        return self.send("POST", path, json=content)

    def metric(self, name: str, **labels: str) -> float:
        """Return the value of a metric; 0 when it is not there."""
        families = text_string_to_metric_families(self.service.metrics.text().decode())
        samples = [each for family in families for each in family.samples if (each.name, each.labels) == (name, labels)]
        return samples[0].value if samples else 0.0

    @property
    def row(self) -> dict[str, Any]:
        return dict(self.service.models.current.stable.example)


def make(folder: Path, access: Access | None = None, **settings: Any) -> Client:
    checked = params.load().serve.model_copy(update=settings)
    models = Models(folder, checked.maximum_rows)
    models.start()
    routes = {"AIP_PREDICT_ROUTE": "/v1/predict", "AIP_HEALTH_ROUTE": "/v1"}
    return Client(Service(models, checked, environment=routes, access=access or Access()))


@contextmanager
def running(client: Client, *sockets: socket.socket) -> Iterator[int]:
    """Serve on a port of this machine, or on those of given sockets; give the first one's."""
    listening, *others = sockets or [server.listen("127.0.0.1", 0)]
    process = server.server(client.service)
    thread = threading.Thread(target=process.run, args=([listening, *others],))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        process.should_exit = True
        thread.join()


def receive(port: int, *parts: bytes) -> bytes:
    """Send raw bytes, and return all that comes until the service closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        return b"".join(iter(lambda: connection.recv(65_536), b""))
