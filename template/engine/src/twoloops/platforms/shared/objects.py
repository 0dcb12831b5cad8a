"""Files in a cloud's object store: what every store does, and how a model's artifact lies there.

Names of files are given as URLs, such as s3://BUCKET/KEY. The project's place in the store is its `home`, a URL too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from twoloops import artifact, registry
from twoloops.contracts.records import decode, encode, new_name
from twoloops.contracts.release import Release
from twoloops.errors import ProjectError


class ObjectStore(Protocol):
    """A cloud's object store, in words that every one of them understands; a module or an object."""

    def upload(self, source: Path, url: str) -> None:
        """Copy a file to a URL; what is there is replaced as a whole."""

    def create(self, content: bytes, url: str) -> bool:
        """Write a file where none is, in one step; what is there stays. Return whether it was written."""

    def upload_bytes(self, content: bytes, url: str) -> None:
        """Write a small file at a URL."""

    def read_bytes(self, url: str) -> bytes:
        """Return what a small file holds."""

    def exists(self, url: str) -> bool:
        """Say whether a file is there."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Return what lies below a URL: names from there on, and sizes in bytes."""

    def download(self, folder: str, target: Path, names: list[str]) -> None:
        """Copy files below a URL into a local folder."""


def model_url(home: str, identity: str) -> str:
    """Return where a model's artifact lies for everything that runs it."""
    return f"{home}/models/{identity}"


def upload_model(store: ObjectStore, home: str, folder: Path) -> str:
    """Upload an artifact, once, and return its folder's URL.

    Args:
        store: the object store.
        home: the project's place there.
        folder: the artifact.
    """
    found = artifact.read(folder)
    url = model_url(home, found.identity)
    # The manifest comes last: where it is, the others are.
    names = sorted(found.files, key=lambda name: name == artifact.MANIFEST)
    if not store.exists(f"{url}/{artifact.MANIFEST}"):
        for name in names:
            # Never over what is there: a service may have begun to load it. Whoever loads checks every byte.
            store.create(found.files[name], f"{url}/{name}")
    return url


class StoredRecords:
    """Notes of deployments in a cloud's object store, which lets nobody write over one."""

    def __init__(self, store: ObjectStore, home: str) -> None:
        """Keep the store and the project's place there."""
        self._store = store
        self._home = f"{home}/records"

    def add(self, folder: str, content: Mapping[str, Any]) -> None:
        """Keep a note."""
        url = f"{self._home}/{folder}/{new_name()}"
        if not self._store.create(encode(content), url):
            raise ProjectError(f"There is a note at {url} already.", hint="Run the same verb again.")

    def read(self, folder: str) -> list[dict[str, Any]]:
        """Return the notes of a folder and of those below it, each folder's oldest first."""
        urls = [f"{self._home}/{folder}/{name}" for name in sorted(self._store.sizes(f"{self._home}/{folder}"))]
        return list(decode((url, self._store.read_bytes(url)) for url in urls))


def store_release(store: ObjectStore, home: str, release: Release) -> str:
    """Return the URL of a release's artifact, and put it there if it is not.

    Args:
        store: the object store.
        home: the project's place there.
        release: a registered version.

    Raises:
        ProjectError: it cannot be had or stored, or the registry holds another one.
    """
    url = model_url(home, release.identity)
    if not store.exists(f"{url}/{artifact.MANIFEST}"):
        with registry.download(release.uri, release.identity) as copy:
            upload_model(store, home, copy)
    return url
