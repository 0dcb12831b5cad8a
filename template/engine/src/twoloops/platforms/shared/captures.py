"""What the monitor looks at lies in the object store, and so does its memory: a flow's machine forgets both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twoloops import config
from twoloops.paths import paths
from twoloops.platforms.shared.objects import ObjectStore


def download_captures(store: ObjectStore, home: str) -> int:
    """Download the captures of the last environment that are not here yet, and return how many files came.

    Args:
        store: the object store.
        home: the project's place there.
    """
    last = config.current().last
    there, folder = f"{home}/captures/{last}", paths().captures / last
    sizes = {name: size for name, size in store.sizes(there).items() if name.endswith(".parquet")}
    new = [name for name, size in sizes.items() if _size(folder / name) != size]
    store.download(there, folder, new)
    return len(new)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


@contextmanager
def sync_memory(store: ObjectStore, home: str) -> Iterator[None]:
    """Download the memory of the monitor and of retrainings, and upload it when it has changed, also after a failure.

    Args:
        store: the object store.
        home: the project's place there.
    """
    there, history = f"{home}/monitoring", paths().history
    if store.exists(f"{there}/{history.name}"):
        store.download(there, history.parent, [history.name])
    before = history.read_bytes() if history.exists() else None
    try:
        yield
    finally:
        if history.exists() and history.read_bytes() != before:
            store.upload(history, f"{there}/{history.name}")


@contextmanager
def sync_monitoring(store: ObjectStore, home: str) -> Iterator[None]:
    """Download all that the monitor needs, and keep what it remembers.

    Args:
        store: the object store.
        home: the project's place there.
    """
    with sync_memory(store, home):
        download_captures(store, home)
        yield
