"""How trials, a canary's watch and `invoke` speak with a service, wherever it runs; the platform connects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from twoloops.errors import ProjectError

JSON = "application/json"


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


class Client(Protocol):
    """A connection that is kept open from request to request; not to be shared by threads."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""

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
            ProjectError: the request may not be sent.
        """


class Endpoint(Protocol):
    """Where a service answers."""

    @property
    def url(self) -> str:
        """The address, for people."""

    def reaches(self, path: str) -> bool:
        """Say whether a route of the service can be asked from here."""

    def connect(self) -> Client:
        """Return a new connection; its first request connects."""
