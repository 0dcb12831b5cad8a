"""What a service has counted, brought to an object store: for platforms that let nobody ask a service for its metrics.

A thread asks the service itself, as Prometheus would, and replaces one file of this process, every few seconds.
"""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from typing import Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from twoloops.service.log import log
from twoloops.service.uploading import store

PLACE: Final = "SERVE_COUNTERS"  # the URL of the folder in an object store; without it nothing is brought
SECONDS: Final = "SERVE_COUNTERS_SECONDS"
USUAL_SECONDS: Final = 15.0
TIMEOUT_SECONDS: Final = 5.0


class Telling:
    """Brings the counts of the service at a port of this machine to an object store, until it is told to stop."""

    def __init__(self, place: ObjectStore, port: int, seconds: float) -> None:
        """Prepare it.

        Args:
            place: the folder in the object store.
            port: at which the service answers.
            seconds: between two times.
        """
        self._place, self._port, self._seconds = place, port, seconds
        self._name = f"{uuid.uuid4().hex}.prom"
        self._stopping = threading.Event()
        self._silent = False
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine
        self._thread = threading.Thread(target=self._run, name="telling", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; the file stays, for what was counted has been answered."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            self.tell()

    def tell(self) -> None:
        """Bring the counts as they are now."""
        try:
            with self._opener.open(f"http://127.0.0.1:{self._port}/metrics", timeout=TIMEOUT_SECONDS) as answer:
                obstore.put(self._place, self._name, answer.read())
        except (BaseError, OSError, urllib.error.URLError) as error:
            if not self._silent:
                self._silent = True
                log("counts cannot be brought", error=f"{type(error).__name__}: {error}")
            return
        self._silent = False


def telling(port: int, environment: Mapping[str, str] = os.environ) -> Telling | None:
    """Return what brings the counts, or None where nobody asked for it.

    Args:
        port: at which the service answers.
        environment: the environment's variables.
    """
    if not environment.get(PLACE):
        return None
    return Telling(store(environment[PLACE]), port, float(environment.get(SECONDS, USUAL_SECONDS)))
