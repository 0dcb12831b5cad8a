"""Where files live, and how they are read and written: whole or not at all."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twoloops.errors import ProjectError

logger = logging.getLogger(__name__)

WEB_SCHEMES = ("http://", "https://")


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; put it in the target's place only if all went well.

    Works for a file and for a folder. When the block raises, the target is as it was before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        new = Path(folder) / target.name
        yield new
        # First the content, then the name: else a power loss leaves the new name with nothing in it.
        for path in [new, *(new.rglob("*") if new.is_dir() else [])]:
            sync(path)
        if target.is_dir():
            # A folder cannot be replaced in one step: the old one waits in the temporary folder.
            target.rename(Path(folder) / "previous")
        new.replace(target)
        sync(target.parent)
    logger.debug("wrote %s", target)


def sync(path: Path) -> None:
    """Wait until the disk has what was written to a file or a folder."""
    if os.name == "nt":  # there no folder can be opened, and a file only to write
        return
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_json(target: Path, content: Any) -> None:
    """Write `content` as indented JSON with a final newline, atomically."""
    with replacing(target) as new:
        new.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(source: Path, made_by: str) -> Any:
    """Read a JSON file that the verb `made_by` writes.

    Raises:
        ProjectError: the file is missing or is not JSON; the hint names the verb.
    """
    require(source, made_by)
    try:
        return json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ProjectError(f"{source} is not valid JSON: {error}", hint=f"Make it anew with {made_by!r}.") from error


def require(source: Path, made_by: str) -> None:
    """Raise a ProjectError that names the verb `made_by` when `source` does not exist."""
    if not source.exists():
        raise ProjectError(f"{source} does not exist.", hint=f"Run the verb {made_by!r} first: it writes this.")
