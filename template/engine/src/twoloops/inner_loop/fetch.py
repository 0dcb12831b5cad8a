"""The data comes to where the inner loop runs: a job of a flow starts with what is in git, and data is not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from twoloops.errors import ProjectError

HERE = "here"
URL = "a URL, read where it is"
PULLED = "from DVC's remote"
SIMULATED = "simulated"
SIMULATED_FILE = "simulated.parquet"  # only data that is called so is ever simulated here


def fetch(source: str) -> str:
    """Make sure that the data is here, or say where it has to come from.

    Args:
        source: data.source of params.yaml.

    Returns:
        HERE, URL, PULLED, or SIMULATED when it still has to be simulated.

    Raises:
        ProjectError: DVC cannot bring it, or nothing says where it comes from.
    """
    path = Path(source)
    if "://" in source:
        return URL
    pointer = path.with_name(f"{path.name}.dvc")
    if pointer.exists():
        # Also where the file exists: it may be of another commit.
        _pull(pointer)
        return PULLED
    if path.exists():
        return HERE
    if path.name == SIMULATED_FILE:
        return SIMULATED
    raise ProjectError(
        f"{source} is not here, and nothing says where it comes from.",
        hint=f"Let DVC keep it ('uv run dvc add {source}', a remote, 'uv run dvc push') and commit {pointer.name}; "
        "or let data.source name a URL.",
    )


def pull(sources: Iterable[str]) -> None:
    """Bring of other files that steps read those that DVC keeps; what git has is here.

    Args:
        sources: their paths.

    Raises:
        ProjectError: DVC cannot bring one.
    """
    for source in sources:
        pointer = Path(f"{source}.dvc")
        if "://" not in source and pointer.exists():
            _pull(pointer)


def _pull(pointer: Path) -> None:
    from dvc.cli import main

    if main(["pull", "--quiet", str(pointer)]):
        raise ProjectError(
            f"DVC could not bring what {pointer} names; its message stands above.",
            hint="Check the remote ('uv run dvc remote list'), that this machine may read it, and that the data was "
            "pushed ('uv run dvc push'). A change from a fork gets no secrets: push its branch to this repository.",
        )
