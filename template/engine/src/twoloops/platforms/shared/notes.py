"""Notes of deployments on this machine: files beside what is deployed.

Whoever may write there owns the machine's state, and with it what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from twoloops.contracts.records import decode, encode, new_name
from twoloops.paths import paths
from twoloops.storage import replacing

READ_ONLY: Final = 0o444


class Folder:
    """`contracts.records.Records` in a folder of this machine."""

    def __init__(self) -> None:
        """Find where they lie."""
        self._root = paths().deployments / ".records"  # no environment is called so

    def add(self, folder: str, content: Mapping[str, Any]) -> None:
        """Keep a note; it is on the disk when this returns."""
        with replacing(self._root / folder / new_name()) as new:
            new.write_bytes(encode(content))
            new.chmod(READ_ONLY)

    def read(self, folder: str) -> list[dict[str, Any]]:
        """Return the notes of a folder and of those below it, each folder's oldest first."""
        # What begins with a dot, a process that was killed has left half done.
        paths = sorted(path for path in (self._root / folder).rglob("*.json") if not path.parent.name.startswith("."))
        return list(decode((str(path), path.read_bytes()) for path in paths))
