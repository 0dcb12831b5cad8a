"""One change of a state folder at a time, on one machine or on several that share the folder.

A lock of the file system tells the processes of one machine apart, and goes with its process. Not every shared
folder passes such a lock on to other machines. So who holds it also writes holder.json again and again: what
another machine wrote a moment ago, by the folder's own clock, holds as well.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from twoloops.errors import ProjectError
from twoloops.storage import write_json

logger = logging.getLogger(__name__)

HOLDER: Final = "holder.json"
RENEWED_EVERY_SECONDS: Final = 20.0
STALE_SECONDS: Final = 120.0  # without a renewal: the other machine, or its process, is gone


@contextmanager
def hold(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a state folder for the time of the block.

    Args:
        folder: is made if it is missing.
        what: is done meanwhile, for the message to others.

    Raises:
        ProjectError: somebody else holds it, on this machine or on another one.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / HOLDER
    try:
        taken = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout as error:
        raise _is_held(read_holder(holder)) from error
    with taken:
        other = read_holder(holder)
        mine = {"what": what, "pid": os.getpid(), **this_machine()}
        mine["since"] = datetime.now(UTC).isoformat(timespec="seconds")
        if _is_at_work_elsewhere(other, holder, folder):
            raise _is_held(other)
        write_json(holder, mine)
        ended = threading.Event()
        thread = threading.Thread(target=_renew, args=(holder, mine, ended), name="lock", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            if read_holder(holder) == mine:
                write_json(holder, mine | {"ended": datetime.now(UTC).isoformat(timespec="seconds")})


def this_machine() -> dict[str, str]:
    """Return what a note says of the machine that wrote it: its name for people, and what stays when that changes."""
    try:
        number = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        number = ""
    number = number or f"{uuid.getnode():012x}"
    return {"host": socket.gethostname(), "machine": hashlib.sha256(number.encode()).hexdigest()[:12]}


def is_elsewhere(note: dict[str, Any]) -> bool:
    """Say whether a note is another machine's."""
    own = this_machine()["machine"]
    return bool(note.get("machine", own) != own)


def read_holder(holder: Path) -> dict[str, Any]:
    """Return who held the lock last; {}: nobody, or the note was torn."""
    try:
        told = json.loads(holder.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _is_at_work_elsewhere(other: dict[str, Any], holder: Path, folder: Path) -> bool:
    """Say whether another machine holds the lock, although the file system gave it to this one."""
    if not other or "ended" in other or not is_elsewhere(other):
        return False
    # Both times are the folder's own: the clocks of two machines may differ.
    now = folder / f".now-{os.getpid()}"
    now.touch()
    age = now.stat().st_mtime - holder.stat().st_mtime
    now.unlink()
    if age > STALE_SECONDS:
        logger.warning("the lock of %s is taken over: no sign of life for %.0f s", other["host"], age)
    return age <= STALE_SECONDS


def _renew(holder: Path, mine: dict[str, Any], ended: threading.Event) -> None:
    while not ended.wait(RENEWED_EVERY_SECONDS):
        try:
            os.utime(holder)
        except OSError as error:  # a full disk, or a network that is gone: the next time may succeed
            logger.warning("%s cannot be renewed: %s", holder, error)


def _is_held(told: dict[str, Any]) -> ProjectError:
    where = f" on {told.get('host')}" if is_elsewhere(told) else ""
    return ProjectError(
        f"{told.get('what', 'Another deployment')} is under way: process {told.get('pid', 'unknown')}{where}, "
        f"since {told.get('since', 'a moment ago')}.",
        hint="Wait for its end, or interrupt it (Ctrl-C): what it leaves half done, the next run takes up."
        + (f" Without a sign of life it counts as gone after {STALE_SECONDS:.0f} seconds." if where else ""),
    )


def refuse_another_machine(note: Path, environment: str) -> None:
    """Demand that no other machine serves from this state folder: neither would know of the other's service.

    Args:
        note: service.json of the environment.
        environment: its name.

    Raises:
        ProjectError: one was started elsewhere, and not stopped.
    """
    told = read_holder(note)
    if is_elsewhere(told):
        host = told.get("host")
        raise ProjectError(
            f"The service of {environment} was started on {host}, from the same state folder, and not stopped there.",
            hint=f"Run 'stop {environment}' on {host}. If that machine is gone, delete {note}.",
        )
