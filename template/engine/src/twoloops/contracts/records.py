"""Notes of deployments: small, and written once."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

logger = logging.getLogger(__name__)


class Records(Protocol):
    """Small notes that are written once: nothing changes or removes one.

    What is decided by them is not decided by a tag or an alias of the registry, which whoever trains may move.
    """

    def add(self, folder: str, content: Mapping[str, Any]) -> None:
        """Keep a note.

        Args:
            folder: what the note is about, as words with slashes; who may write there may differ from folder to folder.
            content: what is noted, as JSON takes it.
        """

    def read(self, folder: str) -> list[dict[str, Any]]:
        """Return the notes of a folder and of those below it, each folder's oldest first."""


def new_name() -> str:
    """Return a name that no other note has, and that sorts by the time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}.json"


def encode(content: Mapping[str, Any]) -> bytes:
    """Return a note as it is kept."""
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"


def decode(notes: Iterable[tuple[str, bytes]]) -> Iterator[dict[str, Any]]:
    """Yield what notes say, each given with where it lies. A torn one proves nothing, and is left out."""
    for where, content in notes:
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if isinstance(found, dict):
            yield found
        else:
            logger.warning("%s is torn, and counts as not there", where)
