"""The way to a service: through the API server, with the login that deploys, so that nothing has to be opened for it.

Trials, a canary's watch and `invoke` go this way. Users do not: an API server is no balancer.
"""

from __future__ import annotations

from dataclasses import dataclass
from http.client import HTTPException
from types import TracebackType
from typing import Self

from twoloops.contracts.client import JSON, Answer, SilentError
from twoloops.platforms.kubernetes.api import Api, explain, own_refusal


@dataclass(frozen=True)
class Endpoint:
    """Where an environment's service answers, with all its routes."""

    api: Api
    path: str  # of the proxy

    @property
    def url(self) -> str:
        """The address, for people; it wants the cluster's login."""
        return self.api.url + self.path

    def reaches(self, path: str) -> bool:
        """Say that every route can be asked."""
        return True

    def connect(self) -> Client:
        """Return a new connection; its first request connects."""
        return Client(self)


class Client:
    """A connection to the API server that is kept open from request to request; not to be shared by threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Keep the address."""
        self._endpoint = endpoint
        self._connection = endpoint.api.connect()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._connection.close()

    def send(self, method: str, path: str, content: bytes | None = None, kind: str = JSON, **headers: str) -> Answer:
        """Send one request and wait for the service's answer, whatever its status.

        Args:
            method: GET or POST.
            path: the route, such as /predict.
            content: the body.
            kind: the body's content type.
            headers: further headers; an underscore stands for a hyphen.

        Raises:
            SilentError: nobody answers, or not in time.
            ProjectError: the login may not send it, or has expired.
        """
        api = self._endpoint.api
        try:
            answer = api.send(method, self._endpoint.path + path, content, kind, self._connection, **headers)
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise SilentError(
                f"{api.url} does not answer {method} {path}: {type(error).__name__} {error}".rstrip(),
                hint="The verb 'status' tells what runs where.",
            ) from error
        return self._own(answer)

    def _own(self, answer: Answer) -> Answer:
        """Return the service's answer. The API server's own are objects of the kind Status.

        Raises:
            SilentError: the API server finds no pod that answers.
            ProjectError: it refuses the request.
        """
        refused = own_refusal(answer)
        if refused is None:
            return answer
        if refused.status in (401, 403):
            raise explain("Asking the service through the API server", refused)
        raise SilentError(
            f"The API server reaches no pod of the service: {refused.message}",
            hint="The verb 'status' tells what runs where.",
        )
