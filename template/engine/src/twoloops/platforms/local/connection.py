"""The way to a service of this machine: plain HTTP."""

from __future__ import annotations

import os
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from twoloops.contracts.client import JSON, Answer, SilentError
from twoloops.errors import ProjectError

TIMEOUT_SECONDS = 10.0


TOKENS_IN = "SERVE_TOKEN_FILE"  # the same variable by which the service finds its tokens


def authorization() -> dict[str, str]:
    """Return the header by which this machine's services know their owner, where they ask for a token.

    Raises:
        ProjectError: the file of tokens cannot be read.
    """
    file = os.environ.get(TOKENS_IN)
    if not file:
        return {}
    try:
        return {"Authorization": f"Bearer {Path(file).read_text(encoding='ascii').split()[-1]}"}
    except (OSError, ValueError, IndexError) as error:
        raise ProjectError(
            f"{TOKENS_IN} is {file}, which holds no token: {error}", hint="Put one token a line into it."
        ) from error


@dataclass(frozen=True)
class Endpoint:
    """Where a service answers, with all its routes."""

    url: str

    def reaches(self, path: str) -> bool:
        """Say that every route can be asked."""
        return True

    def connect(self) -> Client:
        """Return a new connection; its first request connects."""
        return Client(self.url)


class Client:
    """A connection that is kept open from request to request; not to be shared by threads."""

    def __init__(self, url: str) -> None:
        """Keep the address."""
        self._url = url
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_SECONDS)

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
        sent = authorization() | {name.replace("_", "-"): value for name, value in headers.items()}
        if content is not None:
            sent["Content-Type"] = kind
        try:
            self._connection.request(method, path, content, sent)
            answer = self._connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise SilentError(
                f"{self._url} does not answer {method} {path}: {type(error).__name__} {error}".rstrip(),
                hint="The verb 'status' tells what runs where.",
            ) from error
