"""Files and folders on their way to S3 and back: `shared.objects.ObjectStore` for a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from twoloops.platforms.aws.account import client, explain_errors

SCHEME = "s3://"
THERE_ALREADY = "PreconditionFailed"


def split(url: str) -> tuple[str, str]:
    """Return the bucket and the key of a URL such as s3://BUCKET/KEY."""
    bucket, _, key = url.removeprefix(SCHEME).partition("/")
    return bucket, key


def upload(source: Path, url: str) -> None:
    """Copy a file to a URL; what is there is replaced as a whole."""
    bucket, key = split(url)
    with explain_errors(f"Uploading {source}"), source.open("rb") as file:
        client("s3").upload_fileobj(file, bucket, key)


def create(content: bytes, url: str) -> bool:
    """Write a file where none is, in one step; what is there stays. Return whether it was written."""
    bucket, key = split(url)
    try:
        client("s3").put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
    except ClientError as error:
        if error.response["Error"]["Code"] == THERE_ALREADY:
            return False
        with explain_errors(f"Writing {url}"):
            raise
    return True


def upload_bytes(content: bytes, url: str) -> None:
    """Write a small file at a URL."""
    bucket, key = split(url)
    with explain_errors(f"Writing {url}"):
        client("s3").put_object(Bucket=bucket, Key=key, Body=content)


def read_bytes(url: str) -> bytes:
    """Return what a small file holds."""
    bucket, key = split(url)
    with explain_errors(f"Reading {url}"):
        content: bytes = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def exists(url: str) -> bool:
    """Say whether a file is there."""
    bucket, key = split(url)
    with explain_errors(f"Looking for {url}"):
        # Listed, and not asked for: who may not list gets the same answer for "no such file" and for "forbidden".
        found = client("s3").list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    return any(each["Key"] == key for each in found.get("Contents", []))


def sizes(folder: str) -> dict[str, int]:
    """Return what lies below a URL: names from there on, and sizes in bytes."""
    bucket, prefix = split(folder.rstrip("/") + "/")
    with explain_errors(f"Listing {folder}"):
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
        with explain_errors(f"Downloading {folder}/{name}"):
            client("s3").download_file(bucket, prefix + name, str(path))
