"""One change at a time: a Lease of the project's own namespace, which its holder renews while it works.

https://kubernetes.io/docs/concepts/architecture/leases/
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any
from uuid import uuid4

from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes.api import Api, RefusedError, explain_errors, namespaced
from twoloops.platforms.kubernetes.cluster import api, name

GROUP, KIND, LEASE = "coordination.k8s.io/v1", "leases", "deployment"
SECONDS = 60  # after which a holder that has not renewed it is taken for dead
RENEW_SECONDS = 15.0


@contextmanager
def hold(what: str) -> Iterator[None]:
    """Let nobody else change what runs meanwhile.

    Args:
        what: is done, for whoever is refused.

    Raises:
        ProjectError: somebody else changes it.
    """
    server, path = api(), namespaced(GROUP, KIND, name(), LEASE)
    me = f"{what} by {_who()} ({uuid4().hex[:8]})"
    with explain_errors("Taking the lock of deployments"):
        _take(server, path, me)
    ended = threading.Event()
    keeper = threading.Thread(target=_renew, args=(server, path, me, ended), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        # Left as it is, it is free after a minute.
        with suppress(RefusedError, OSError, HTTPException):
            if _holder(server.find(path)) == me:
                server.merge(path, {"spec": {"holderIdentity": None}})


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user has no name
        user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}"


def _take(server: Api, path: str, me: str) -> None:
    now = datetime.now(UTC)
    spec = {
        "holderIdentity": me,
        "leaseDurationSeconds": SECONDS,
        "acquireTime": _time(now),
        "renewTime": _time(now),
    }
    lease = {"apiVersion": GROUP, "kind": "Lease", "metadata": {"name": LEASE}, "spec": spec}
    found = server.find(path)
    if found is None:
        if server.create(path.rpartition("/")[0], lease):
            return
        found = server.find(path)
    if found:
        _check_free(found, now)
    try:
        # With its version: who is faster wins, and the other is refused.
        server.call("PUT", path, {**lease, "metadata": (found or lease)["metadata"]})
    except RefusedError as refused:
        if refused.status != 409:
            raise
        raise _held(server.find(path)) from refused


def _check_free(found: dict[str, Any], now: datetime) -> None:
    spec = found.get("spec", {})
    if not spec.get("holderIdentity"):
        return
    renewed = datetime.fromisoformat(spec["renewTime"]) if spec.get("renewTime") else now
    if now - renewed < timedelta(seconds=spec.get("leaseDurationSeconds", SECONDS)):
        raise _held(found)


def _held(found: dict[str, Any] | None) -> ProjectError:
    spec = (found or {}).get("spec", {})
    return ProjectError(
        f"Another change is under way: {_holder(found) or 'somebody'}, since "
        f"{spec.get('acquireTime', 'a moment ago')}.",
        hint=f"Wait for its end. If that process is dead, the lock is free {SECONDS} seconds after it.",
    )


def _holder(found: dict[str, Any] | None) -> str | None:
    return ((found or {}).get("spec") or {}).get("holderIdentity")


def _renew(server: Api, path: str, me: str, ended: threading.Event) -> None:
    """Renew the lease until it is given back, or is another's."""
    while not ended.wait(RENEW_SECONDS):
        with suppress(RefusedError, OSError, HTTPException):  # the next time may go well
            if _holder(server.find(path)) != me:
                return
            server.merge(path, {"spec": {"renewTime": _time(datetime.now(UTC))}})


def _time(moment: datetime) -> str:
    """Return a MicroTime of the API: always six digits of seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
