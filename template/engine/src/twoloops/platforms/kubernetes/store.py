"""Files in the project's object store, of whatever cloud: `shared.objects.ObjectStore` by obstore.

Login and address come from the environment, as each cloud's own tools find them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore, from_url

from twoloops.errors import ProjectError

SECONDS = timedelta(seconds=60)


@lru_cache
def _store(bucket: str, endpoint: str) -> ObjectStore:
    return from_url(
        bucket,
        # A cloud's own addresses are encrypted; one that is not was set on purpose, as an emulator's is.
        client_options={"timeout": SECONDS, "allow_http": endpoint.startswith("http://")},
        retry_config={"max_retries": 5, "retry_timeout": SECONDS},
    )


def _place(url: str) -> tuple[ObjectStore, str]:
    """Return the store of a URL, and the name in it."""
    parts = urlsplit(url)
    return _store(f"{parts.scheme}://{parts.netloc}", os.environ.get("AWS_ENDPOINT_URL", "")), parts.path.strip("/")


@contextmanager
def _explain_errors(what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ProjectError(
            f"{what}: it is not there.", hint="Has somebody deleted it? 'run' makes it again."
        ) from error
    except (BaseError, OSError) as error:
        raise ProjectError(
            f"{what}: the object store refuses it, or does not answer: {str(error)[:500]}",
            hint="Its login and address come from the environment, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL; "
            "in a pod, from its service account. infra/README.md tells more.",
        ) from error


def upload(source: Path, url: str) -> None:
    """Copy a file to a URL; what is there is replaced as a whole."""
    store, name = _place(url)
    with _explain_errors(f"Uploading {source}"):
        obstore.put(store, name, source)


def create(content: bytes, url: str) -> bool:
    """Write a file where none is, in one step; what is there stays. Return whether it was written."""
    store, name = _place(url)
    with _explain_errors(f"Writing {url}"):
        try:
            obstore.put(store, name, content, mode="create")
        except AlreadyExistsError:
            return False
    return True


def upload_bytes(content: bytes, url: str) -> None:
    """Write a small file at a URL."""
    store, name = _place(url)
    with _explain_errors(f"Writing {url}"):
        obstore.put(store, name, content)


def read_bytes(url: str) -> bytes:
    """Return what a small file holds."""
    store, name = _place(url)
    with _explain_errors(f"Reading {url}"):
        return bytes(obstore.get(store, name).bytes())


def exists(url: str) -> bool:
    """Say whether a file is there."""
    store, name = _place(url)
    with _explain_errors(f"Looking for {url}"):
        try:
            obstore.head(store, name)
        except FileNotFoundError:
            return False
    return True


def sizes(folder: str) -> dict[str, int]:
    """Return what lies below a URL: names from there on, and sizes in bytes."""
    store, name = _place(folder)
    prefix = f"{name}/" if name else ""
    with _explain_errors(f"Looking into {folder}"):
        found = [each for page in obstore.list(store, prefix=prefix or None) for each in page]
    return {each["path"].removeprefix(prefix): each["size"] for each in found}


def download(folder: str, target: Path, names: list[str]) -> None:
    """Copy files below a URL into a local folder."""
    store, name = _place(folder)
    for each in names:
        path = target / each
        path.parent.mkdir(parents=True, exist_ok=True)
        with _explain_errors(f"Downloading {folder}/{each}"), path.open("wb") as file:
            for chunk in obstore.get(store, f"{name}/{each}" if name else each):
                file.write(chunk)
