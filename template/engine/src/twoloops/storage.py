"""Where files live, and how they are read and written: whole or not at all."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from twoloops.errors import ProjectError

logger = logging.getLogger(__name__)

WEB_SCHEMES = ("http://", "https://")
TEMPORARY = re.compile(r"\..+-[a-z0-9_]{8}")  # names of the folders in which `replacing` writes


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; put it in the target's place only if all went well.

    Works for a file and for a folder. When the block raises, the target is as it was before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder, _held(Path(folder)):
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


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Lock a temporary folder: the lock goes with the process, however that ends."""
    if os.name == "nt":  # there no folder can be opened
        yield
        return
    import fcntl

    opened = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a disk without locks
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(opened)


def abandoned(folder: Path) -> Iterator[Path]:
    """Yield the temporary folders of `replacing` below a folder whose process was ended before it was done.

    Left out are those that hold what a folder was before, which may be its only copy.
    """
    if os.name == "nt":
        return
    import fcntl

    for path in sorted(each for each in folder.rglob(".*") if TEMPORARY.fullmatch(each.name) and each.is_dir()):
        if (path / "previous").exists():
            continue
        opened = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # somebody writes
        finally:
            os.close(opened)
        yield path


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
