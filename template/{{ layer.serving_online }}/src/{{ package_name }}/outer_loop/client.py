"""One connection to a service, for the trials of a deployment and for `invoke`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from .. import ProjectError
from .release import Endpoint

JSON = "application/json"
TIMEOUT_SECONDS = 10.0


class SilentError(ProjectError):
    """The service did not answer."""


@dataclass(frozen=True)
class Answer:
    """What a service answered."""

    status: int
    headers: dict[str, str]  # names in lower case
    content: bytes

    def json(self) -> Any:
        """Return the content, read as JSON.

        Raises:
            ProjectError: it is none.
        """
        try:
            return json.loads(self.content)
        except ValueError as error:
            raise ProjectError(
                f"The service answered {self.status} with what is not JSON: {self.content[:200]!r}",
                hint="Is it this project's service that answers there?",
            ) from error


class Client:
    """A connection that is kept open from request to request; not to be shared by threads."""

    def __init__(self, endpoint: Endpoint, timeout: float = TIMEOUT_SECONDS) -> None:
        """Keep the address; the first request connects."""
        self._endpoint = endpoint
        parts = urlsplit(endpoint.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.netloc, timeout=timeout)
        self._prefix = parts.path.rstrip("/")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._connection.close()

    def send(self, method: str, path: str, content: bytes | None = None, kind: str = JSON, **headers: str) -> Answer:
        """Send one request and wait for its answer, whatever its status.

        Args:
            method: GET or POST.
            path: the route, such as /predict.
            content: the body.
            kind: the body's content type.
            headers: further headers; an underscore stands for a hyphen.

        Raises:
            SilentError: nobody answers, or not in time.
        """
        sent = {**self._endpoint.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if content is not None:
            sent["Content-Type"] = kind
        try:
            self._connection.request(method, self._prefix + path, content, sent)
            answer = self._connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise SilentError(
                f"{self._endpoint.url} does not answer {method} {path}: {type(error).__name__} {error}".rstrip(),
                hint="The verb 'status' tells what runs where.",
            ) from error
