"""What the cache is made of: names for its folders, and contents that are there whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast


def short_digest(text: str) -> str:
    """Return a name for something in the cache."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:20]


@contextmanager
def made_beside(target: Path) -> Iterator[Path]:
    """Yield a new folder beside the target, which becomes the target unless something goes wrong."""
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=target.parent))
    try:
        yield unfinished
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


@contextmanager
def written_whole(file: Path) -> Iterator[TextIO]:
    """Yield a stream whose text becomes the file's content in the end: a reader finds the old content or the new."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, encoding="utf-8", delete=False) as unfinished:
        try:
            yield cast(TextIO, unfinished)
        except BaseException:
            Path(unfinished.name).unlink()
            raise
    # A temporary file is its maker's alone; what replaces a file is to be read by those who read the file.
    Path(unfinished.name).chmod(0o644)
    Path(unfinished.name).replace(file)
