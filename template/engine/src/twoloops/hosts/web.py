"""JSON over HTTPS, as the interfaces of code hosts speak it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from twoloops.errors import ProjectError

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30
# Tried again: a host that is busy says so with these, and often when to come back (Retry-After).
BUSY = (429, 502, 503, 504)
REDIRECTS = 3  # are followed, on the same host
KEEP_METHOD = (307, 308)  # redirects that what is no GET may follow
MEANINGS = {
    401: "the login is missing, wrong or expired",
    403: "the login may not do this",
    404: "there is no such thing, or the login may not see it",
}


class HostError(ProjectError):
    """The code host refused, or could not be reached; `status` is its HTTP status, 0 without an answer."""

    def __init__(self, message: str, status: int, *, hint: str = "") -> None:
        """Keep the message, the status and the way out."""
        super().__init__(message, hint=hint)
        self.status = status


class Client:
    """Requests to one interface with one login."""

    def __init__(self, name: str, root: str, headers: Mapping[str, str], hint: str) -> None:
        """Keep where to ask and as whom.

        Args:
            name: of the host, for messages.
            root: the address that all paths begin with.
            headers: of each request, the login among them.
            hint: what to do when the login does not suffice.
        """
        self._name = name
        self._root = root.rstrip("/")
        self._hint = hint
        self._session = requests.Session()
        self._session.headers.update(headers)
        self._session.auth = lambda request: request  # the headers have the login: none from a .netrc
        # Not POST: had the host done it and only its answer been lost, it would be done twice.
        methods = {"GET", "PUT", "PATCH", "DELETE"}
        retry = Retry(
            total=3, backoff_factor=0.5, status_forcelist=BUSY, allowed_methods=methods, raise_on_status=False
        )
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def get(self, path: str, **query: str | int) -> Any:
        """Return what lies at `path`."""
        return self.ask("GET", path, query=query)

    def find(self, path: str, **query: str | int) -> Any | None:
        """Return what lies at `path`, or None when there is nothing."""
        try:
            return self.get(path, **query)
        except HostError as error:
            if error.status == 404:
                return None
            raise

    def pages(self, path: str, *, key: str | None = None, **query: str | int) -> Iterator[Any]:
        """Yield the entries of a list, page after page, as long as the host names a next one.

        Args:
            path: of the list.
            key: under which an answer keeps its entries; None: the answer is the list.
            query: further conditions.
        """
        address: str | None = path
        while address:
            answer = self._send("GET", address, query=query)
            content = answer.json()
            yield from content[key] if key else content
            following = answer.links.get("next", {}).get("url")
            address, query = self._on_the_same_host(answer, following) if following else None, {}

    def ask(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        query: Mapping[str, str | int] | None = None,
        kind: str = "",
    ) -> Any:
        """Send a request and return the answer's JSON, or None when it has none.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: below the root, or a whole address that the host itself gave.
            content: sent as JSON.
            query: of the address.
            kind: the content's media type, where it is not application/json.

        Raises:
            HostError: the host refused, or could not be reached.
        """
        answer = self._send(method, path, content, query=query, kind=kind)
        return answer.json() if answer.content else None

    def _send(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        query: Mapping[str, str | int] | None = None,
        kind: str = "",
    ) -> requests.Response:
        address = path if "://" in path else f"{self._root}/{path.lstrip('/')}"
        headers = {"Content-Type": kind} if kind else None
        try:
            answer = self._session.request(
                method,
                address,
                params=dict(query or {}),
                json=content,
                headers=headers,
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
            )
            for _ in range(REDIRECTS):
                if not answer.is_redirect or (method != "GET" and answer.status_code not in KEEP_METHOD):
                    break
                address = self._on_the_same_host(answer, answer.headers["Location"])
                answer = self._session.request(
                    method, address, json=content, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False
                )
        except requests.RequestException as error:
            raise HostError(
                f"{self._name} at {self._root} does not answer: {type(error).__name__}.",
                0,
                hint="Check the network, then run the same verb again: what is done already is not done twice.",
            ) from error
        logger.debug("%s %s: %s answers %s", method, address.partition("?")[0], self._name, answer.status_code)
        if answer.ok and not answer.is_redirect:
            return answer
        meaning = MEANINGS.get(answer.status_code, "it refuses")
        asked = f"{method} {path.partition('?')[0]}"
        raise HostError(
            f"{self._name} answers {answer.status_code} to {asked}, {meaning}: {_reason(answer)}",
            answer.status_code,
            hint=self._hint if answer.status_code in MEANINGS else "",
        )

    def _on_the_same_host(self, answer: requests.Response, address: str) -> str:
        """Return the whole address to which an answer points: the login goes there, and so to no other host.

        Raises:
            HostError: it is on another host, or without encryption where the answer came with it.
        """
        target = urljoin(answer.url, address)
        if _origin(target) != _origin(answer.url):
            raise HostError(
                f"{self._name} at {self._root} points to another host, {_origin(target)}: the login is not sent there.",
                answer.status_code,
                hint=self._hint,
            )
        return target


def _origin(address: str) -> str:
    """Return scheme, host and port of an address."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or {'http': 80, 'https': 443}.get(parts.scheme)}"


def _reason(answer: requests.Response) -> str:
    """Return what the host says of its refusal, in one line."""
    try:
        content = answer.json()
    except ValueError:
        content = answer.text
    if isinstance(content, dict):
        content = content.get("message") or content.get("error") or content
    return " ".join(str(content).split())[:300] or "no reason given"
