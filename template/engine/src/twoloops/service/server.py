"""The process: connections and their limits, the watch over the deployment, start and end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from twoloops import config, params
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.service.access import Access
from twoloops.service.app import JSON, Service
from twoloops.service.capture import Capture
from twoloops.service.log import Lines, log
from twoloops.service.models import Models, locate

if TYPE_CHECKING:
    from twoloops.service.telling import Telling

DEFAULT_PORT: Final = 8000
PORT_VARIABLES: Final = ("AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT")  # of Vertex AI and SageMaker
WATCH_SECONDS: Final = 0.5
IDLE_SECONDS: Final = 75  # longer than balancers keep a connection, so that theirs are the ones that end
LARGEST_HEAD: Final = 65_536  # bytes of a request before its body, and of what follows a body in chunks
MOST_FIELDS: Final = 100  # of head and trailers together
BACKLOG: Final = 2048
# Told to stop, the service still answers for so long, and says at /health/ready that it is leaving.
LEAVING_SECONDS: Final = 1.0


class Joining:
    """A transport that sends the head of an answer together with its body.

    uvicorn writes them one after the other: two system calls and two packets for each small answer,
    an eighth of a request's time.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        """Stand before `transport`."""
        self._transport = transport
        self._head = b""
        self.abort = transport.abort
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Send `data`, but let the head of an answer wait for what comes after it."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):  # 100 Continue must go at once
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send a head after which nothing comes."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close when all is sent."""
        self.flush()
        self._transport.close()


class TooLargeError(Exception):
    """The head of a request, or what follows its body, is larger than is allowed."""


class Connection(HttpToolsProtocol):
    """A connection that is cut when its client takes too long to send a request or to take the answer.

    What stands around a body has a limit in bytes and in fields. It is counted twice: fields when they are
    complete, because one read can hold many, and bytes as they arrive, because a field need not end.

    It also counts the requests that have arrived as a whole and wait for their answer. Those that
    are still arriving do not count: slow clients must not use up the places of others.
    """

    def __init__(self, *positions: Any, **names: Any) -> None:
        """Begin without a request."""
        super().__init__(*positions, **names)
        self.service: Service = self.app
        self.load = self.service.load
        self.waits_since: float | None = None  # for the rest of a request
        self.blocked_since: float | None = None  # the client does not take what is sent
        self.head: int | None = None  # bytes, while the head of a request is arriving
        self.tail = 0  # bytes that have arrived since the last read that brought a part of the body
        self.took_body = False  # in this read
        self.fields = 0  # complete fields of head and trailers
        self.fields_size = 0  # their bytes
        self.waiting = 0  # complete requests without an answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self.transport: Joining = Joining(transport)  # type: ignore[assignment]
        self.waits_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Take what has arrived."""
        super().data_received(data)
        if self.head is not None:
            self.head += len(data)
            if self.head > LARGEST_HEAD:
                self.refuse_head()
        elif self.waits_since is not None:
            self.tail = 0 if self.took_body else self.tail + len(data)
            self.took_body = False
            if self.tail > LARGEST_HEAD:
                self.refuse_head()

    def on_message_begin(self) -> None:
        """Wait for the rest of a request."""
        self.waits_since = self.loop.time()
        self.head = 0
        self.fields = self.fields_size = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; one of the trailers is only counted, because nobody reads it.

        Raises:
            TooLargeError: there are too many; the parser stops.
        """
        self.fields += 1
        self.fields_size += len(name) + len(value)
        if self.fields > MOST_FIELDS or self.fields_size > LARGEST_HEAD:
            raise TooLargeError
        if self.head is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the application begin.

        Raises:
            TooLargeError: the head is too large, with its address.
        """
        if self.fields_size + len(self.url) > LARGEST_HEAD:
            raise TooLargeError
        self.head = None
        self.tail = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self.took_body = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Count a request that is complete."""
        self.waits_since = None
        if not self.cycle.response_complete:  # as for a body that was too large
            self.waiting += 1
            self.load.pending += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Count an answer."""
        self.transport.flush()
        if self.waiting:
            self.waiting -= 1
            self.load.pending -= 1
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what nobody waits for any more."""
        self.load.pending -= self.waiting
        self.waiting = 0
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note that the client does not take what is sent."""
        self.blocked_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that it does again."""
        self.blocked_since = None
        super().resume_writing()

    def check(self, earliest: float) -> None:
        """Cut the connection if it has waited since before `earliest`, in the loop's seconds."""
        if self.blocked_since is not None and self.blocked_since < earliest:
            self.transport.abort()
        elif self.waits_since is not None and self.waits_since < earliest:
            self.waits_since = None
            unanswered = self.head is not None or (self.cycle is not None and not self.cycle.response_complete)
            if unanswered:
                self.refuse(408, "The request took too long to arrive.")
            else:
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser does not take."""
        error = sys.exception()
        if error is not None and isinstance(error.__context__, TooLargeError):
            self.refuse_head()
        else:
            self.refuse(400, msg)

    def refuse_head(self) -> None:
        """Answer a request that has too much around its body."""
        self.refuse(431, "The head of the request is too large, or what follows its body.")

    def refuse(self, status: int, error: str) -> None:
        """Answer without the application, and close."""
        if self.transport.is_closing():
            return
        body = msgspec.json.encode({"error": error, "details": [], "request_id": ""})
        line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
        head = f"{line}\r\ncontent-type: {JSON.decode()}\r\ncontent-length: {len(body)}\r\nconnection: close"
        self.transport.write(head.encode("ascii") + b"\r\n\r\n" + body)
        self.transport.close()
        self.service.metrics.request("other", status, 0.0)


class Server(uvicorn.Server):
    """uvicorn, with a watch over clients and deployment, and a gentle end."""

    def __init__(self, settings: uvicorn.Config, service: Service) -> None:
        """Keep the service."""
        super().__init__(settings)
        self.service = service
        self._tasks: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen and to watch."""
        await super().startup(sockets)
        self._tasks = [asyncio.create_task(self._watch_clients()), asyncio.create_task(self._watch_deployment())]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Leave: tell it, answer what comes meanwhile, then close."""
        log("leaving")
        self.service.draining = True
        drain = self.service.settings.drain_seconds
        leaving = min(LEAVING_SECONDS, drain / 2)
        await asyncio.sleep(leaving)
        self.config.timeout_graceful_shutdown = max(0, drain - int(leaving))
        await super().shutdown(sockets)
        for task in self._tasks:
            task.cancel()

    async def _watch_clients(self) -> None:
        patience = self.service.settings.client_timeout_seconds
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, patience / 4))
            earliest = loop.time() - patience
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.check(earliest)

    async def _watch_deployment(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.service.refresh()


def server(service: Service) -> Server:
    """Return what serves a service; its `run` takes the socket to listen on."""
    settings = uvicorn.Config(
        service,
        http=Connection,
        interface="asgi3",
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_SECONDS,
    )
    return Server(settings, service)


def serve(
    model: Path | None, *, host: str, port: int | None, captures: str | None, access: Access | None = None
) -> None:
    """Answer requests until told to stop.

    Args:
        model: a deployment folder or an artifact folder; without it, where the platform puts a model.
        host: the address to listen on.
        port: without it what the platform says, else 8000.
        captures: where inputs and predictions are kept: a folder, or the URL of one in an object store.
        access: who may call; without it, everybody who reaches the address.

    Raises:
        ProjectError: there is no model, it does not work, or a port is taken.
    """
    began = time.perf_counter()
    with config.hold():  # a checkout that a runner cleans is no reason to end
        _serve(began, model, host, port, captures, access or Access())


def _serve(began: float, model: Path | None, host: str, port: int | None, captures: str | None, access: Access) -> None:
    settings = params.load().serve
    _bring_logs_into_form()
    folder = locate(model)
    models = Models(folder, settings.maximum_rows)
    models.start()
    listening = listen(host, usual_port(os.environ) if port is None else port)
    sockets = [listening]
    if access.admin_port is not None:
        sockets.append(listen(host, access.admin_port))
    access.tells = ip_address(listening.getsockname()[0]).is_loopback
    service = Service(models, settings, access=access)
    if settings.capture:
        usual = paths().captures / (folder.name if models.follows else "service")
        kind, place = _kept_in(captures, usual)
        service.capture = kind(
            place,
            service.metrics,
            lambda: models.current.stable,
            rows=settings.capture_rows,
            seconds=settings.capture_seconds,
            days=settings.capture_days,
        )
        service.capture.start()
    # uvicorn ends as it should on these, and raises them again afterwards: by then all is done.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    # What is loaded stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    stable = models.current.stable
    address = listening.getsockname()
    log(
        "ready",
        host=address[0],
        port=address[1],
        admin_port=access.admin_port,
        token=access.guards,
        folder=folder,
        version=stable.version,
        identity=stable.identity,
        problem=models.problem,
        seconds=round(time.perf_counter() - began, 3),
    )
    told = _begin_telling(access.admin_port or address[1])
    server(service).run(sockets)
    if told:
        told.stop()
    service.close()
    log("ended")


def _begin_telling(port: int) -> Telling | None:
    """Bring what is counted to an object store, where the deployment asks for it."""
    if not os.environ.get("SERVE_COUNTERS"):
        return None
    from twoloops.service.telling import telling

    found = telling(port)
    if found:
        found.start()
    return found


def _kept_in(captures: str | None, usual: Path) -> tuple[Callable[..., Capture], Path]:
    """Return what captures, and the folder on the disk that it needs first.

    Args:
        captures: a folder, the URL of one in an object store (s3, gs, abfss), or None.
        usual: the folder on the disk, where `captures` is none.
    """
    if captures is None or "://" not in captures:
        return Capture, Path(captures or usual)
    try:
        from twoloops.service.uploading import uploading
    except ImportError as error:
        raise ProjectError(
            f"Captures cannot go to {captures}: the package obstore is not installed.",
            hint="Name a folder, or install the extra twoloops[object-store].",
        ) from error
    return uploading(captures), usual


def usual_port(environment: Mapping[str, str]) -> int:
    """Return the port that the platform says, else 8000.

    Raises:
        ProjectError: what it says is no port.
    """
    for name in PORT_VARIABLES:
        if name in environment:
            try:
                return int(environment[name])
            except ValueError as error:
                raise ProjectError(f"{name} is {environment[name]!r}, which is no port.") from error
    return DEFAULT_PORT


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ProjectError: the port is taken, or the address is not of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise ProjectError(
            f"The service cannot listen on {host}, port {port}: {error}.",
            hint="Another program may use the port; --port takes another one.",
        ) from error


def _bring_logs_into_form() -> None:
    for name in ("uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers = [Lines()]
        logger.propagate = False
        logger.setLevel(logging.ERROR)
