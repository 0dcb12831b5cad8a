"""The cluster's interface: JSON over HTTPS, and the API server's refusals in words.

Everything goes through the API server, with one login: what is made, a pod's log, and what a service is asked. The
interface is documented at https://kubernetes.io/docs/reference/using-api/api-concepts/.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from twoloops.contracts.client import JSON, Answer
from twoloops.errors import ProjectError

APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
MANAGER = "twoloops"  # whose the fields are that are applied here
TIMEOUT_SECONDS = 30.0
TRIES = 5
PAUSE_SECONDS = 0.5  # before the second try; each further one waits twice as long
PAGE = 500  # objects of one answer
BUSY = {429, 503, 504}
Object = dict[str, Any]


class RefusedError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, content: bytes) -> None:
        """Keep the HTTP status, and what the answer's `Status` object says."""
        said: Mapping[str, Any] = {}
        try:
            read = json.loads(content)
            said = read if isinstance(read, dict) else {}
        except ValueError:
            pass
        self.status = status
        self.reason = str(said.get("reason", ""))
        self.message = str(said.get("message") or content[:300].decode(errors="replace"))
        super().__init__(f"{status} {self.reason}: {self.message}")


@dataclass(frozen=True)
class Api:
    """An API server, and a login there."""

    url: str  # without a slash at its end
    headers: Callable[[bool], Mapping[str, str]]  # that say who asks; True: what is remembered is refused, ask anew
    context: ssl.SSLContext | None = None  # None for plain HTTP

    def connect(self) -> HTTPConnection:
        """Return a new connection; its first request connects."""
        where = urlsplit(self.url)
        if self.context is None:
            return HTTPConnection(where.netloc, timeout=TIMEOUT_SECONDS)
        return HTTPSConnection(where.netloc, timeout=TIMEOUT_SECONDS, context=self.context)

    def send(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        kind: str = JSON,
        connection: HTTPConnection | None = None,
        **headers: str,
    ) -> Answer:
        """Send one request and return the answer, whatever its status. A login that has just expired is renewed.

        Args:
            method: of HTTP.
            path: with its query.
            content: the body.
            kind: the body's content type.
            connection: to be used; without it one is made and closed.
            headers: further ones; an underscore stands for a hyphen.

        Raises:
            OSError: nobody answers.
            HTTPException: what answers does not speak HTTP.
        """
        used = connection or self.connect()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if content is not None:
            sent["Content-Type"] = kind
        try:
            answer = _exchange(used, method, self._path(path), content, {**sent, **self.headers(False)})
            if answer.status == 401:
                answer = _exchange(used, method, self._path(path), content, {**sent, **self.headers(True)})
            return answer
        finally:
            if connection is None:
                used.close()

    def _path(self, path: str) -> str:
        """Return a path as the server is asked for it: its own address may have one too."""
        return urlsplit(self.url).path + path

    def call(self, method: str, path: str, body: Any = None, kind: str = JSON) -> Any:
        """Send one request and return the object that is answered. A server that is busy is asked again.

        Raises:
            RefusedError: the server refuses.
        """
        content = None if body is None else json.dumps(body).encode()
        for number in range(1, TRIES + 1):
            try:
                answer = self.send(method, path, content, kind)
            except (OSError, HTTPException):
                # What only looks can be asked again; of a change nobody knows whether it was made.
                if method != "GET" or number == TRIES:
                    raise
            else:
                if answer.status < 300:
                    return json.loads(answer.content)
                if answer.status not in BUSY or number == TRIES or (answer.status != 429 and method != "GET"):
                    raise RefusedError(answer.status, answer.content)
            time.sleep(PAUSE_SECONDS * 2 ** (number - 1))
        raise AssertionError("the last try returns or raises")

    def find(self, path: str) -> Object | None:
        """Return an object, or None when there is none.

        Raises:
            RefusedError: the server refuses.
        """
        try:
            found: Object = self.call("GET", path)
        except RefusedError as refused:
            if refused.status == 404:
                return None
            raise
        return found

    def list(self, path: str, **labels: str) -> list[Object]:
        """Return the objects of a kind that have these labels.

        Args:
            path: of the kind.
            labels: `a__b` stands for the label `a/b`, and an underscore for a hyphen.
        """
        query = {"limit": str(PAGE)}
        if labels:
            names = {name.replace("__", "/").replace("_", "-"): value for name, value in labels.items()}
            query["labelSelector"] = ",".join(f"{name}={value}" for name, value in names.items())
        found: list[Object] = []
        while True:
            page = self.call("GET", f"{path}?{urlencode(query)}")
            found += page["items"]
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return found

    def create(self, path: str, body: Object) -> bool:
        """Make an object, and return False when there is one of this name already.

        Args:
            path: of the kind.
            body: the object.

        Raises:
            RefusedError: the server refuses.
        """
        try:
            self.call("POST", path, body)
        except RefusedError as refused:
            if refused.reason == "AlreadyExists":
                return False
            raise
        return True

    def apply(self, path: str, body: Object) -> Object:
        """Make an object, or change the fields of it that are ours to what is given."""
        made: Object = self.call("PATCH", f"{path}?fieldManager={MANAGER}&force=true", body, APPLY)
        return made

    def merge(self, path: str, body: Object) -> Object:
        """Change some fields of an object."""
        changed: Object = self.call("PATCH", f"{path}?fieldManager={MANAGER}", body, MERGE)
        return changed

    def delete(self, path: str) -> bool:
        """Delete an object with what belongs to it, and return False when there was none."""
        try:
            self.call("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
        except RefusedError as refused:
            if refused.status == 404:
                return False
            raise
        return True


def _exchange(
    connection: HTTPConnection, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
) -> Answer:
    connection.request(method, path, content, dict(headers))
    answer = connection.getresponse()
    return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


# ------------------------------------------------------------------ where things are


def namespaced(group: str, kind: str, namespace: str, *name: str) -> str:
    """Return the path of the objects of a kind, or of one of them with what is below it.

    Args:
        group: with its version, such as apps/v1; v1 is the core's.
        kind: in the plural, such as deployments.
        namespace: of the objects.
        name: of one, and what is asked below it, such as log.
    """
    root = "/api" if "/" not in group else "/apis"
    return "/".join([root, group, "namespaces", quote(namespace), kind, *map(quote, name)])


# ------------------------------------------------------------------ refusals


def own_refusal(answer: Answer) -> RefusedError | None:
    """Return the API server's own refusal of a request that it was to hand on; None where whoever was asked answered.

    Args:
        answer: to a request by way of the proxy.
    """
    if answer.status < 400:
        return None
    try:
        said = json.loads(answer.content)
    except ValueError:
        return None
    is_own = isinstance(said, dict) and (said.get("kind"), said.get("apiVersion")) == ("Status", "v1")
    return RefusedError(answer.status, answer.content) if is_own else None


@contextmanager
def explain_errors(what: str) -> Iterator[None]:
    """Turn what the API server refuses, or that it does not answer, into an error for people.

    Args:
        what: is done, as in "Making the deployment".

    Raises:
        ProjectError: it refused, or did not answer.
    """
    try:
        yield
    except RefusedError as refused:
        raise explain(what, refused) from refused
    except ssl.SSLError as error:
        raise ProjectError(
            f"{what}: the cluster's certificate is not accepted: {error.reason or error}.",
            hint="certificate-authority-data in the kubeconfig has to be of this cluster's authority.",
        ) from error
    except (OSError, HTTPException) as error:
        raise ProjectError(
            f"{what}: the cluster's API server does not answer: {type(error).__name__} {error}".rstrip(),
            hint="Is this machine connected, by a VPN perhaps? 'kubectl cluster-info' asks the same server.",
        ) from error


def explain(what: str, refused: RefusedError) -> ProjectError:
    """Return a refusal in words.

    Args:
        what: was done.
        refused: what the API server said.
    """
    if refused.status == 401:
        return ProjectError(
            f"{what}: the cluster does not know this login, or it has expired.",
            hint="Log in again, as your platform team tells, and run the same verb again.",
        )
    if "exceeded quota" in refused.message:
        return ProjectError(
            f"{what}: a quota of the namespace is used up: {refused.message}",
            hint="Ask the platform team for more, or take less: infra/machines.yaml.",
        )
    if refused.status == 403:
        return ProjectError(
            f"{what}: the login may not do that: {refused.message}",
            hint="infra/README.md tells which role may do what; infra/bootstrap.sh changes roles.",
        )
    if refused.status == 404:
        return ProjectError(
            f"{what}: the cluster has no such thing: {refused.message}",
            hint="A namespace or an operator is missing, or the cluster is too old: infra/README.md lists both.",
        )
    if refused.status in BUSY:
        return ProjectError(
            f"{what}: the API server asks to come back, still after {TRIES} tries: {refused.message}",
            hint="Run the same verb again in a few minutes: what is done already is not done twice.",
        )
    return ProjectError(
        f"{what}: the cluster refuses it ({refused.status}): {refused.message}",
        hint="infra/README.md tells what refusals mean.",
    )
