"""The versions that a release was proved with: names and versions alone, no hosts and no hashes.

`RECORD` is a file of the engine. From it Copier writes a new project's uv.lock, which names versions and says nothing
of where they come from: uv takes these for its first resolution, and completes the file. From then on the file is its
owner's. docs/decisions/0019-versions.md says why it is done so.
"""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.version import Version

from .rendering import clean_environment, render

RECORD = "template/engine/src/twoloops/proved.txt"
HEAD = """\
# The versions that this release was proved with; a new project's first resolution takes them.
# Also a file of constraints, for whoever installs the engine elsewhere: uv pip install twoloops -c proved.txt
"""


def read(template: Path) -> dict[str, str]:
    """Return the recorded versions by the packages' names."""
    lines = (template / RECORD).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def write(template: Path, versions: Mapping[str, str]) -> None:
    """Write the record, sorted by names."""
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    (template / RECORD).write_text(HEAD + "".join(lines), encoding="utf-8")


def find_newest(template: Path) -> dict[str, str]:
    """Resolve what a project of the template may need, all extras of the engine, without the record.

    Where the oldest Python cannot have what the newest has, the older version is returned: every Python can have it.

    Raises:
        subprocess.CalledProcessError: uv finds no solution; it has printed why.
    """
    with TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        render(project, {}, template)
        (project / "uv.lock").unlink()
        subprocess.run(["uv", "lock", "--quiet"], cwd=project, env=clean_environment(), check=True)
        return read_lock(project / "uv.lock")


def read_lock(path: Path) -> dict[str, str]:
    """Return the versions of a uv.lock that come from a registry; of several of one package the oldest."""
    found: dict[str, str] = {}
    for package in tomllib.loads(path.read_text(encoding="utf-8"))["package"]:
        if "registry" in package["source"]:
            known = [found[package["name"]]] if package["name"] in found else []
            found[package["name"]] = min([package["version"], *known], key=Version)
    return found


def find_differences(versions: Mapping[str, str]) -> list[str]:
    """Return in words where what is installed here is not what the record says; what is not installed is no matter."""
    installed = {each.metadata["Name"].lower().replace("_", "-"): each.version for each in metadata.distributions()}
    return [
        f"{name} is {installed[name]}, and the record says {version}"
        for name, version in versions.items()
        if installed.get(name, version) != version
    ]
