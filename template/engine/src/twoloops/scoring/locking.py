"""One run at a time into one target.

A file, lock.json, says who is at work, and is renewed while the work goes on. It holds on a disk and
in an object store alike. Few stores can write a file only if there is none, so two runs that start
within the same moment may both believe that they have it: each therefore looks again before it
publishes, and the one whose lock was overwritten stops. No run writes into another's files.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from twoloops.errors import ProjectError
from twoloops.scoring.places import Place

logger = logging.getLogger(__name__)

LOCK = "lock.json"
RENEWED_EVERY_SECONDS: Final = 20.0
STALE_SECONDS: Final = 300.0  # without a renewal: its run is gone, or stands still
_mine: set[str] = set()  # the runs of this process


class Lock:
    """The right to work in a target, while it is renewed."""

    def __init__(self, target: Place, run: str) -> None:
        """Keep where, and the run's name; `acquire` takes the lock."""
        self._target = target
        self._run = run
        self._started = _now()
        self._renewed = 0.0

    def take(self) -> None:
        """Take the lock, or that of a run that is gone.

        Raises:
            ProjectError: another run is at work.
        """
        other = self._target.read_json(LOCK)
        if other is not None and not _is_stale(other):
            raise ProjectError(
                f"Another run writes into {self._target.uri}: process {other['pid']} on {other['host']}, "
                f"since {other['started_at']}.",
                hint=f"Wait until it ends. If it is surely gone, delete {self._target.uri}/{LOCK}; "
                f"without a sign of life it counts as gone after {STALE_SECONDS:.0f} seconds.",
            )
        if other is not None:
            logger.info("the lock of run %s on %s is taken over: its process is gone", other["run"], other["host"])
        self._write()
        self.confirm()
        logger.debug("run %s has the lock of %s", self._run, self._target.uri)

    def _write(self) -> None:
        self._renewed = time.monotonic()
        content = {"run": self._run, "host": socket.gethostname(), "pid": os.getpid()}
        self._target.write_json(LOCK, content | {"started_at": self._started, "renewed_at": _now()})

    def renew(self) -> None:
        """Give a sign of life, if the last one is not new; cheap, so call it often."""
        if time.monotonic() - self._renewed > RENEWED_EVERY_SECONDS:
            self.confirm()
            self._write()

    def confirm(self) -> None:
        """Make sure that no other run has taken the lock.

        Raises:
            ProjectError: one has.
        """
        found = self._target.read_json(LOCK)
        if found is None or found.get("run") != self._run:
            raise ProjectError(
                f"Another run has taken over {self._target.uri}; this one stops and publishes nothing.",
                hint="Look at what the other run does. What is scored already is not scored again.",
            )


@contextmanager
def acquire(target: Place, run: str) -> Iterator[Lock]:
    """Hold the lock of a target for the time of the block.

    Raises:
        ProjectError: another run is at work.
    """
    lock = Lock(target, run)
    _mine.add(run)
    try:
        lock.take()
        yield lock
    finally:
        _mine.remove(run)
        if (target.read_json(LOCK) or {}).get("run") == run:
            target.remove(LOCK)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _is_stale(lock: dict[str, Any]) -> bool:
    age = datetime.now(UTC) - datetime.fromisoformat(lock["renewed_at"])
    if age.total_seconds() > STALE_SECONDS:
        return True
    return lock["host"] == socket.gethostname() and not _is_alive(int(lock["pid"]), lock["run"])


def _is_alive(pid: int, run: str) -> bool:
    if pid == os.getpid():
        return run in _mine  # else a process of the same number had it, before a container was started anew
    if sys.platform == "win32":
        return True  # there, asking would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
