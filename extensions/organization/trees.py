"""Folders as values: what a build takes and makes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..refusal import Refused


@dataclass(frozen=True)
class File:
    """The content of a file, and whether it can be run."""

    content: bytes
    executable: bool = False

    @property
    def sha256(self) -> str:
        """The hash of the content."""
        return hashlib.sha256(self.content).hexdigest()


Tree = dict[str, File]  # by the path, with slashes


def digest(tree: Mapping[str, File]) -> str:
    """Return one hash for a whole tree: paths, contents and what can be run."""
    lines = (f"{file.sha256} {'x' if file.executable else '-'} {path}\0" for path, file in sorted(tree.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_folder(folder: Path) -> Tree:
    """Read every file of a folder; a folder that does not exist is empty.

    Raises:
        Refused: it holds a symbolic link.
    """
    tree: Tree = {}
    for parent, names, files in os.walk(folder):
        for path in (Path(parent) / name for name in [*names, *files]):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink():
                raise Refused(
                    f"{folder.name}/{name} is a symbolic link, which leads to another place in every project.",
                    "Put the file itself there.",
                )
            if path.is_file():
                tree[name] = File(path.read_bytes(), bool(path.stat().st_mode & 0o111))
    return tree


def write_folder(tree: Mapping[str, File], folder: Path) -> None:
    """Write a tree into a folder that is empty."""
    for name, file in sorted(tree.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(0o755 if file.executable else 0o644)
