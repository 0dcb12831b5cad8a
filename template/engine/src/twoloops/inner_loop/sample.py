"""A sample of the data that names nobody: what the check of a change reads in place of the data.

Whoever proposes a change writes the code that its check runs. So that code gets no table with people in it: a sample is
made where the data is, is kept beside it, and data/sample.json in git says which one it is.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from twoloops import params as parameters
from twoloops.errors import ProjectError
from twoloops.inner_loop import fetch
from twoloops.inner_loop.train import read_parts
from twoloops.params import Params
from twoloops.paths import RELATIVE, paths
from twoloops.problems import problem
from twoloops.storage import WEB_SCHEMES, read_json, replacing, write_json

ROWS: Final = 5000
SMALLEST: Final = 20  # that data.minimum_rows may demand
REMOTE: Final = "sample"  # of DVC, if there is one: what may read the sample need not read the data
Upload = Callable[[Path, str], None]


def make(params: Params, rows: int, target: str | None, upload: Upload) -> dict[str, Any]:
    """Write a sample of the prepared data, and say in data/sample.json which one it is.

    Whole entities are drawn, by a hash of their keys and the seed: the same data gives the same sample.

    Args:
        params: the checked params.yaml.
        rows: how many, about; all where there are fewer.
        target: the folder of an object store in which the sample is kept. None: a folder `sample` beside a source
            that is a URL, otherwise data/sample, of which DVC keeps it.
        upload: copies a file to a URL.

    Returns:
        What data/sample.json says.

    Raises:
        ProjectError: nothing is prepared, nothing keeps the sample, or it does not keep the contract.
    """
    parts = read_parts()
    chosen = _draw([problem.entities(part) for part in parts], rows, params.seed)
    records = problem.without_people([problem.take(part, places) for part, places in zip(parts, chosen, strict=True)])
    problem.write(records, paths().sample)
    _demand_contract(paths().sample)
    digest = _digest(paths().sample)
    kept = target or (params.data.source.rpartition("/")[0] + "/sample" if "://" in params.data.source else None)
    if kept:
        table = f"{kept.rstrip('/')}/rows-{digest[:16]}.parquet"
        upload(paths().sample, table)
    else:
        table = RELATIVE.sample.as_posix()
        _let_dvc_keep(table)
    record = {"table": table, "sha256": digest, "rows": len(records), "prepared_rows": sum(map(len, parts))}
    write_json(paths().sample_record, record)
    return record


def _draw(entities: list[Any], rows: int, seed: int) -> list[list[int]]:
    """Return the places of the rows of each part that are drawn: all of an entity, or none."""
    counts: dict[str, int] = {}
    for key in (str(key) for part in entities for key in part):
        counts[key] = counts.get(key, 0) + 1
    chosen, total = set[str](), 0
    for key in sorted(counts, key=lambda each: hashlib.sha256(f"{seed} {each}".encode()).digest()):
        if total >= rows:
            break
        chosen.add(key)
        total += counts[key]
    return [np.flatnonzero([str(key) in chosen for key in part]).tolist() for part in entities]


def _demand_contract(path: Path) -> None:
    """Raise a ProjectError unless the sample can be read as the data is."""
    try:
        problem.check(problem.load(str(path)), str(path))
    except ProjectError:
        raise
    except Exception as error:  # the project's own code
        raise ProjectError(
            f"load of problem/data.py cannot read the sample: {type(error).__name__}: {error}",
            hint="A sample has the columns of CONTRACT, but for PERSONAL. Let load leave such a table as it is.",
        ) from error


def _let_dvc_keep(table: str) -> None:
    import yaml
    from dvc.cli import main
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        remotes = Repo(str(paths().root)).config["remote"]
    except NotDvcRepoError as error:
        hint = "Begin with 'uv run dvc init', or name a folder of an object store: 'sample URL'"
        raise ProjectError("Nothing keeps the sample: this is no repository of DVC.", hint=hint) from error
    if main(["add", "--quiet", table]):
        raise ProjectError(f"DVC could not keep {table}.", hint="Its message stands above.")
    if REMOTE in remotes:
        pointer = paths().root / f"{table}.dvc"
        content = yaml.safe_load(pointer.read_text(encoding="utf-8"))
        content["outs"][0]["remote"] = REMOTE
        with replacing(pointer) as new:
            new.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def use(params: Params) -> dict[str, Any]:
    """Bring the sample, and let this checkout's params.yaml name it in place of the data.

    Returns:
        What data/sample.json says of it.

    Raises:
        ProjectError: there is no sample, or it is not the one that data/sample.json names.
    """
    if not paths().sample_record.exists():
        raise ProjectError(
            f"A change under review reads a sample of the data, and there is no {paths().sample_record.name} in data/.",
            hint="Make it where the data is: 'prepare', then 'sample', and commit data/sample.json. Or let changes "
            "read the data itself, with data.changes_read: all in params.yaml; engine/docs/flows.md tells of it.",
        )
    record = dict(read_json(paths().sample_record, "sample"))
    table = str(record["table"])
    if "://" in table:
        _download(table, paths().sample)
    else:
        fetch.fetch(table)
    if _digest(paths().sample) != record["sha256"]:
        raise ProjectError(
            f"{table} is not the sample that data/sample.json names.",
            hint="Make it anew with 'sample', let DVC push it, and commit both files.",
        )
    parameters.change(
        "data",
        {
            "source": RELATIVE.sample.as_posix(),
            "minimum_rows": max(SMALLEST, min(params.data.minimum_rows, record["rows"] // 2)),
            "maximum_age_days": None,  # a sample stays as it is
        },
    )
    paths().frozen_holdout.unlink(missing_ok=True)  # of other rows
    return record


def in_use(source: str) -> bool:
    """Say whether data.source is the sample."""
    return Path(source) == RELATIVE.sample


def _download(table: str, target: Path) -> None:
    from pyarrow import ArrowException, fs

    if table.startswith(WEB_SCHEMES):
        raise ProjectError(f"{table} is a web address.", hint="Keep the sample with DVC, or in an object store.")
    try:
        filesystem, path = fs.FileSystem.from_uri(table)
        with replacing(target) as new, filesystem.open_input_stream(path) as stream, new.open("wb") as file:
            shutil.copyfileobj(stream, file)
    except (OSError, ArrowException) as error:
        raise ProjectError(
            f"The sample {table} cannot be read: {str(error).strip().splitlines()[0]}",
            hint="The identity of a change reads data/sample/ of the project's storage, and nothing else of data/: "
            "engine/docs/flows.md. A change from a fork gets no login: push its branch to this repository.",
        ) from error


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
