"""Files and folders on their way to a storage account and back: `shared.objects.ObjectStore` for a container.

A URL is abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH, which pyarrow, obstore and DVC understand too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import BlobClient, ContainerClient

from twoloops.errors import ProjectError
from twoloops.platforms.azure import rest
from twoloops.platforms.azure.account import account
from twoloops.platforms.azure.rest import explain_errors
from twoloops.storage import replacing

ADDRESS = re.compile(r"abfss://([^@/]+)@([^./]+)\.dfs\.core\.windows\.net/?(.*)")
CHANGES = 20  # tries to change a file that others change as well


def split(url: str) -> tuple[str, str, str]:
    """Return the account, the container and the path of a URL.

    Raises:
        ProjectError: it is another kind of URL.
    """
    found = ADDRESS.fullmatch(url)
    if found is None:
        raise ProjectError(
            f"{url} is no place in a storage account.", hint="It is abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/..."
        )
    container, name, path = found.groups()
    return name, container, path


@lru_cache
def _container(name: str, container: str, tenant: str) -> ContainerClient:
    address = f"https://{name}.blob.core.windows.net"
    return ContainerClient(address, container, credential=rest.credential(tenant))


def _folder(url: str) -> tuple[ContainerClient, str]:
    name, container, path = split(url)
    return _container(name, container, account().tenant), path


def blob(url: str) -> BlobClient:
    """Return the client of one file."""
    container, path = _folder(url)
    return container.get_blob_client(path)


def upload(source: Path, url: str) -> None:
    """Copy a file to a URL; what is there is replaced as a whole."""
    with explain_errors(f"Uploading {source}"), source.open("rb") as file:
        blob(url).upload_blob(file, overwrite=True)


def create(content: bytes, url: str) -> bool:
    """Write a file where none is, in one step; what is there stays. Return whether it was written."""
    with explain_errors(f"Writing {url}"):
        try:
            blob(url).upload_blob(content, overwrite=False)
        except ResourceExistsError:
            return False
    return True


def upload_bytes(content: bytes, url: str) -> None:
    """Write a small file at a URL."""
    with explain_errors(f"Writing {url}"):
        blob(url).upload_blob(content, overwrite=True)


def read_bytes(url: str) -> bytes:
    """Return what a small file holds."""
    with explain_errors(f"Reading {url}"):
        return blob(url).download_blob().readall()


def exists(url: str) -> bool:
    """Say whether a file is there."""
    with explain_errors(f"Looking for {url}"):
        return blob(url).exists()


def sizes(folder: str) -> dict[str, int]:
    """Return what lies below a URL: names from there on, and sizes in bytes."""
    container, prefix = _folder(folder.rstrip("/") + "/")
    with explain_errors(f"Listing {folder}"):
        return {each.name.removeprefix(prefix): each.size for each in container.list_blobs(name_starts_with=prefix)}


def download(folder: str, target: Path, names: list[str]) -> None:
    """Copy files below a URL into a local folder."""
    for name in names:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with explain_errors(f"Downloading {folder}/{name}"), replacing(path) as new, new.open("wb") as file:
            blob(f"{folder}/{name}").download_blob().readinto(file)


def remove(folder: str) -> None:
    """Delete what lies below a URL."""
    container, prefix = _folder(folder.rstrip("/") + "/")
    with explain_errors(f"Deleting what lies in {folder}"):
        for each in list(container.list_blobs(name_starts_with=prefix)):
            container.delete_blob(each.name)


def change_bytes(url: str, change: Callable[[bytes | None], bytes]) -> None:
    """Change a small file so that nobody else's change is lost: it is written only as it was read.

    Args:
        url: the file.
        change: returns the new content for the old one; None: there is none yet. It may be called several times.

    Raises:
        ProjectError: others change it all the time.
    """
    with explain_errors(f"Changing {url}"):
        for _ in range(CHANGES):
            try:
                found = blob(url).download_blob()
                before, tag = found.readall(), found.properties.etag
            except ResourceNotFoundError:
                before, tag = None, None
            after = change(before)
            if after == before:
                return
            try:
                if tag is None:
                    blob(url).upload_blob(after, overwrite=False)
                else:
                    blob(url).upload_blob(
                        after, overwrite=True, etag=tag, match_condition=MatchConditions.IfNotModified
                    )
            except (ResourceModifiedError, ResourceExistsError):
                continue
            return
    raise ProjectError(f"{url} is changed by others all the time.", hint="Run the same verb again.")
