"""What the monitor looks at lies in the bucket, and so does what it remembers: a flow's machine forgets both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twoloops import config
from twoloops.paths import paths
from twoloops.platforms.aws import bucket, packages
from twoloops.platforms.aws.account import settings


def bring_captures() -> int:
    """Bring the captures of the last environment that are not here yet, and return how many files came."""
    home, folder = (
        f"s3://{settings().bucket}/captures/{config.current().last}",
        paths().captures / config.current().last,
    )
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
    if bucket.exists(f"{home}/{paths().history.name}"):
        bucket.download(home, paths().history.parent, [paths().history.name])
    before = paths().history.read_bytes() if paths().history.exists() else None
    try:
        yield
    finally:
        if paths().history.exists() and paths().history.read_bytes() != before:
            bucket.upload(paths().history, f"{home}/{paths().history.name}")


@contextmanager
def at_hand() -> Iterator[None]:
    """Bring all that the monitor needs, and keep what it remembers."""
    with remembering():
        if packages.is_shared():
            bring_captures()
        yield
