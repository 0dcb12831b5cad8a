"""The project's bucket: files and folders on their way to S3 and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twoloops import artifact
from twoloops.platforms.aws.account import asking, client

SCHEME = "s3://"


def split(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of a URL such as s3://BUCKET/KEY."""
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    return bucket, key


def upload(source: Path, uri: str) -> None:
    """Copy a file to a URL; what is there is replaced as a whole."""
    bucket, key = split(uri)
    with asking(f"Uploading {source}"), source.open("rb") as file:
        client("s3").upload_fileobj(file, bucket, key)


def upload_bytes(content: bytes, uri: str) -> None:
    """Write a small file at a URL."""
    bucket, key = split(uri)
    with asking(f"Writing {uri}"):
        client("s3").put_object(Bucket=bucket, Key=key, Body=content)


def read_bytes(uri: str) -> bytes:
    """Return what a small file holds."""
    bucket, key = split(uri)
    with asking(f"Reading {uri}"):
        content: bytes = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def exists(uri: str) -> bool:
    """Say whether a file is there."""
    bucket, key = split(uri)
    with asking(f"Looking for {uri}"):
        # Listed, and not asked for: who may not list gets the same answer for "no such file" and for "forbidden".
        found = client("s3").list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    return any(each["Key"] == key for each in found.get("Contents", []))


def sizes(folder: str) -> dict[str, int]:
    """Return what lies below a URL: names from there on, and sizes in bytes."""
    bucket, prefix = split(folder.rstrip("/") + "/")
    with asking(f"Listing {folder}"):
        return {each["Key"].removeprefix(prefix): each["Size"] for each in _objects(bucket, prefix)}


def _objects(bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    for page in client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", [])


def download(folder: str, target: Path, names: list[str]) -> None:
    """Copy files below a URL into a local folder."""
    bucket, prefix = split(folder.rstrip("/") + "/")
    for name in names:
        # boto3 writes beside and renames.
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with asking(f"Downloading {folder}/{name}"):
            client("s3").download_file(bucket, prefix + name, str(path))


def model_uri(bucket: str, identity: str) -> str:
    """Return where a model's artifact lies for everything that runs it."""
    return f"{SCHEME}{bucket}/models/{identity}"


def put_model(folder: Path, bucket: str) -> str:
    """Upload an artifact, once, and return where it lies.

    Args:
        folder: the artifact.
        bucket: the project's.
    """
    uri = model_uri(bucket, artifact.identity(folder))
    # The manifest comes last: where it is, the others are.
    names = [*artifact.read_manifest(folder)["files"], artifact.MANIFEST]
    if not exists(f"{uri}/{artifact.MANIFEST}"):
        for name in names:
            upload(folder / name, f"{uri}/{name}")
    return uri
