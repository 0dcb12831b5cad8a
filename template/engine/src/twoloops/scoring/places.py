"""Folders on a disk or in an object store, by one interface."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from twoloops.errors import ProjectError
from twoloops.storage import WEB_SCHEMES, replacing

HINT = (
    "It is a local path, or a URL with the scheme s3, gs or abfss; the cloud's own tools tell whether you may use it."
)


@dataclass(frozen=True)
class Place:
    """A folder, or a file, and the filesystem that it is in."""

    uri: str  # as the user wrote it
    filesystem: fs.FileSystem
    path: str

    @classmethod
    def of(cls, uri: str) -> Place:
        """Find the filesystem of a path or a URL.

        Raises:
            ProjectError: the scheme is unknown, or the store cannot be reached.
        """
        if uri.startswith(WEB_SCHEMES):
            raise ProjectError(f"{uri} is a web address: rows cannot be streamed from it.", hint=HINT)
        with translate_errors(uri):
            if "://" in uri:
                filesystem, path = fs.FileSystem.from_uri(uri)
            else:
                filesystem, path = fs.LocalFileSystem(), Path(uri).resolve().as_posix()
            return cls(uri, filesystem, path.rstrip("/"))

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk."""
        return self.filesystem.type_name == "local"

    @property
    def address(self) -> str:
        """What finds it again, from any working folder."""
        return self.path if self.is_local else self.uri

    def overlaps(self, other: Place) -> bool:
        """Whether one lies inside the other, or both are the same."""
        one, two = f"{self.path}/", f"{other.path}/"
        return self.filesystem.equals(other.filesystem) and (one.startswith(two) or two.startswith(one))

    def list_files(self, folder: str) -> dict[str, int]:
        """Return the files in one of its folders: name (with the folder's) and size in bytes."""
        with translate_errors(self.uri):
            selector = fs.FileSelector(f"{self.path}/{folder}", allow_not_found=True)
            found = self.filesystem.get_file_info(selector)
        return {f"{folder}/{each.base_name}": each.size for each in found if each.type == fs.FileType.File}

    def remove(self, name: str) -> None:
        """Delete a file of it, if there is one."""
        with translate_errors(self.uri), suppress(FileNotFoundError):
            self.filesystem.delete_file(f"{self.path}/{name}")

    def read_json(self, name: str) -> Any:
        """Return the content of a JSON file of it; None when there is none, or it is no JSON."""
        with translate_errors(self.uri):
            try:
                with self.filesystem.open_input_stream(f"{self.path}/{name}") as stream:
                    content = stream.read()
            except FileNotFoundError:
                return None
        try:
            return json.loads(content)
        except ValueError:
            return None

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file of it, whole or not at all."""
        with self.writing(name) as sink:
            sink.write((json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n").encode())

    @contextmanager
    def writing(self, name: str) -> Iterator[pa.NativeFile]:
        """Open a new file of it that appears as a whole when the block ends.

        On a disk it is written beside and renamed. An object appears when its upload is completed,
        which happens at the end.
        """
        with translate_errors(self.uri):
            if self.is_local:
                with replacing(Path(self.path, name)) as new, pa.OSFile(str(new), "wb") as sink:
                    yield sink
            else:
                with self.filesystem.open_output_stream(f"{self.path}/{name}") as sink:
                    yield sink


def upload(file: Path, uri: str) -> None:
    """Copy a file to a path or a URL.

    Raises:
        ProjectError: the store cannot be reached, or does not take it.
    """
    folder, _, name = uri.rpartition("/")
    with Place.of(folder).writing(name) as sink:
        sink.write(file.read_bytes())


@contextmanager
def translate_errors(place: str) -> Iterator[None]:
    """Turn what can go wrong on the way to a place into an error for people."""
    try:
        yield
    except FileNotFoundError as error:
        raise ProjectError(f"There is nothing at {place}.", hint=HINT) from error
    except (OSError, pa.ArrowException) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ProjectError(f"{place} cannot be used: {first}", hint=HINT) from error
