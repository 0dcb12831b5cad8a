"""Captures of a service whose disk does not last: the same files, brought to an object store.

A file is written to the disk first, as everywhere, and deleted there when the store has it. While the
store does not take files they wait on the disk, and are tried again with every file that follows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import obstore
from arro3.io import read_parquet
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from twoloops import plugins
from twoloops.service.capture import DROPPED_TOLD, Capture
from twoloops.service.log import log

WAITING_FILES: Final = 100  # so many may wait for the store; beyond, the oldest are dropped
REQUEST_SECONDS: Final = 20  # with all its tries: the thread that uploads also writes


def uploading(url: str) -> Callable[..., Capture]:
    """Return what captures and brings the files to a folder in an object store (s3, gs, abfss)."""
    return partial(Uploading, store=store(url))


def store(url: str) -> ObjectStore:
    """Return the store; its login and address come from the environment, as its cloud's own tools find them.

    Where obstore's own ways find no login, a platform gives one: an entry point of the group `twoloops.credentials`.
    """
    seconds = timedelta(seconds=REQUEST_SECONDS)
    provider = plugins.find_any("credentials", url.partition("://")[0])
    login = provider() if provider else None
    return from_url(
        url,
        **({"credential_provider": login} if login else {}),
        client_options={
            "timeout": seconds,
            # S3's own addresses are encrypted; one that is not was set on purpose, as an emulator's is.
            "allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"),
        },
        retry_config={"max_retries": 3, "retry_timeout": seconds},
    )


class Uploading(Capture):
    """Keeps what it is given in files that go on to an object store."""

    def __init__(self, folder: Path, *given: Any, store: ObjectStore, **settings: Any) -> None:
        """Prepare the folder.

        Args:
            folder: on the disk.
            given: as `Capture` takes it.
            store: the folder in the object store.
            settings: as `Capture` takes them.
        """
        self._store = store
        self._refusing = False
        super().__init__(folder, *given, **settings)

    def write(self) -> None:
        """Write what waits, and bring every file of the folder to the store."""
        super().write()
        waiting = sorted(self.folder.glob("*.parquet"))
        for place, path in enumerate(waiting):
            try:
                obstore.put(self._store, path.name, path)
                path.unlink()
            except (BaseError, OSError) as error:
                self._wait(waiting[place:], error)
                return
        if waiting and self._refusing:
            self._refusing = False
            log("captures are uploaded again")

    def _wait(self, files: list[Path], error: Exception) -> None:
        """Leave the files for the next time, but never more than the disk can bear."""
        if not self._refusing:
            self._refusing = True
            log("captures cannot be uploaded", waiting=len(files), error=f"{type(error).__name__}: {error}")
        for path in files[:-WAITING_FILES]:
            rows = sum(batch.num_rows for batch in read_parquet(path))
            path.unlink()
            self._counters[DROPPED_TOLD] -= rows  # they are to be told: the next file does
            self._dropped.inc(rows)
