"""Whether the engine is what its release says: the digest of each file, listed in the manifest that a release carries.

Standard library alone: this must work when nothing else does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MANIFEST: Final = "MANIFEST"
SIGNERS: Final = "SIGNERS"  # an organization that publishes the template in its own name has others
HEAD: Final = "# twoloops"
# What tools leave in a folder of sources, and no release has.
LEFT_BY_TOOLS: Final = frozenset(
    {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv", "build", "dist"}
)


@dataclass(frozen=True)
class Manifest:
    """The files of a release."""

    version: str
    digests: Mapping[str, str]  # SHA-256 in hexadecimal digits by the path below the engine's folder, as POSIX has it


def digest(path: Path) -> str:
    """Return the SHA-256 of a file as git keeps it: with LF at the ends of lines, whatever the checkout has."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def digests(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """Return the digest of each file by its path below `folder`."""
    return {path.relative_to(folder).as_posix(): digest(path) for path in files}


def find_files(folder: Path) -> list[Path]:
    """Return the files of an engine's folder, without its manifest, its signers and what tools leave there."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path not in (folder / MANIFEST, folder / SIGNERS)
        and not _is_left_by_tools(path.relative_to(folder))
    )


def _is_left_by_tools(path: Path) -> bool:
    return path.suffix == ".pyc" or any(
        part in LEFT_BY_TOOLS or part.endswith(".egg-info") or part == ".DS_Store" for part in path.parts
    )


def as_text(version: str, content: Mapping[str, str]) -> str:
    """Return a manifest as it stands in its file; `sha256sum --check` reads it, too."""
    return "".join([f"{HEAD} {version}\n", *(f"{content[name]}  {name}\n" for name in sorted(content))])


def read(folder: Path) -> Manifest | None:
    """Return the manifest of an engine's folder; None: it has none, so it is no release.

    Raises:
        ValueError: it is no manifest; the message says where.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    head, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    pairs = [line.split("  ", 1) for line in lines]
    if not head.startswith(f"{HEAD} ") or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{path} is not a manifest of the engine.")
    return Manifest(head.removeprefix(HEAD).strip(), {name: value for value, name in pairs})


def find_differences(folder: Path, manifest: Manifest) -> dict[str, list[str]]:
    """Return the paths that are `changed`, `missing` and `added` against the manifest; each list may be empty."""
    found = digests(folder, find_files(folder))
    return {
        "changed": [name for name in sorted(found) if found[name] != manifest.digests.get(name, found[name])],
        "missing": sorted(manifest.digests.keys() - found.keys()),
        "added": sorted(found.keys() - manifest.digests.keys()),
    }
