"""What the monitor looks at lies in the bucket, and so does what it remembers: a flow's machine forgets both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..outer_loop.monitoring.captures import CAPTURES
from ..outer_loop.monitoring.history import HISTORY
from . import ENVIRONMENTS, bucket, packages
from .account import settings

ENVIRONMENT = ENVIRONMENTS[-1]


def bring_captures() -> int:
    """Bring the captures of the last environment that are not here yet, and return how many files came."""
    home, folder = f"s3://{settings().bucket}/captures/{ENVIRONMENT}", CAPTURES / ENVIRONMENT
    there = {name: size for name, size in bucket.sizes(home).items() if name.endswith(".parquet")}
    new = [name for name, size in there.items() if _size(folder / name) != size]
    bucket.download(home, folder, new)
    return len(new)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


@contextmanager
def remembering() -> Iterator[None]:
    """Bring what the monitor and retrainings remember, and keep what is new of it, also after a failure."""
    if not packages.is_shared():
        yield
        return
    home = f"s3://{settings().bucket}/monitoring"
    if bucket.exists(f"{home}/{HISTORY.name}"):
        bucket.download(home, HISTORY.parent, [HISTORY.name])
    before = HISTORY.read_bytes() if HISTORY.exists() else None
    try:
        yield
    finally:
        if HISTORY.exists() and HISTORY.read_bytes() != before:
            bucket.upload(HISTORY, f"{home}/{HISTORY.name}")


@contextmanager
def at_hand() -> Iterator[None]:
    """Bring all that the monitor needs, and keep what it remembers."""
    with remembering():
        if packages.is_shared():
            bring_captures()
        yield
