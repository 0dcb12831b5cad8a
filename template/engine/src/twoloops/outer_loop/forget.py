"""A person is removed from what the loops have kept: captures, prepared data and results of scoring."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twoloops import config
from twoloops.contracts.captures import ENTITY
from twoloops.errors import ProjectError
from twoloops.params import Params
from twoloops.paths import paths
from twoloops.problem import data
from twoloops.storage import abandoned, replacing

if TYPE_CHECKING:
    import pyarrow as pa

CACHE: Final = ".dvc/cache"  # of DVC: earlier versions of what the steps wrote
PARQUET: Final = b"PAR1"  # so a file begins: https://parquet.apache.org/docs/file-format/
# What no verb can take a person out of; people have to see to it.
BEYOND: Final = (
    "the source of the data: whoever stays there comes back with the next 'prepare' and 'score'",
    "models that learned from the rows, and the registry's records of them: train anew, and retire the old ones",
    "the sample for changes under review, which names nobody and may still hold the rows: make it anew with 'sample'",
    "DVC's remotes, and a cache of DVC in another folder than .dvc/cache",
    "tables that 'predict', 'invoke' or you have written elsewhere, logs, copies and backups",
    "files in an object store: run this where they are, or delete them there, old versions too",
)


def forget(entity: str, params: Params) -> dict[str, Any]:
    """Remove every row about an entity from captures, prepared data and the results of scoring on this machine.

    It can be repeated at any time; files are replaced whole, and one without the entity is not touched.

    Args:
        entity: the key, as text.
        params: `score.target` says where results are.

    Returns:
        The rows that were removed, by kind, and what could not be reached, in words.

    Raises:
        ProjectError: a file cannot be read, or a run of scoring is under way.
    """
    own = paths()
    results = () if "://" in params.score.target else (Path(params.score.target),)
    # What a verb that was killed has left half written: nothing reads it, and somebody may be in it.
    for folder in (own.captures, own.deployments, own.train.parent, *results):
        for path in abandoned(folder):
            shutil.rmtree(path)
    removed = {
        "captures": _forget_in(_find(own.captures, *own.deployments.glob("*/captures")), entity),
        "prepared": _forget_in([path for path in (own.train, own.holdout) if path.exists()], entity),
        "results": _forget_results(params.score.target, entity),
        "cache": _forget_in_cache(config.current().root / CACHE, entity),
    }
    return {"removed": removed, "beyond": list(BEYOND)}


def _find(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.rglob("*.parquet")):
            if not any(part.startswith(".") for part in path.relative_to(folder).parts):  # that is being written
                yield path


def _forget_in(files: Iterable[Path], entity: str) -> int:
    return sum(_remove_rows(path, entity) for path in files)


def _forget_in_cache(folder: Path, entity: str) -> int:
    """Remove each version of a table that holds the entity, and return its rows: a changed one would not be found."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet

    total = 0
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        with path.open("rb") as file:
            if file.read(len(PARQUET)) != PARQUET:
                continue
            file.seek(0)
            try:
                there = parquet.ParquetFile(file)
                names = [name for name in (ENTITY, data.ENTITY) if name in there.schema_arrow.names]
                other = pc.sum(_is_other(there.read(names), entity)).as_py() or 0 if names else there.metadata.num_rows
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(path, error) from error
        rows = there.metadata.num_rows - other
        if rows:
            path.unlink()
            total += rows
    return int(total)


def _unreadable(path: Path, error: Exception) -> ProjectError:
    return ProjectError(
        f"{path} cannot be read, so nobody knows whether the entity is in it: {error}",
        hint="Delete it if it is damaged, then run 'forget' again.",
    )


def _remove_rows(path: Path, entity: str) -> int:
    """Write a file anew without the entity's rows, and return how many there were."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
        kept = table.filter(_is_other(table, entity))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    if kept.num_rows == table.num_rows:
        return 0
    before = path.stat()
    with replacing(path) as new:
        parquet.write_table(kept, new, compression="zstd")  # with the metadata of the table
        new.chmod(before.st_mode & 0o777)
        os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))  # captures expire by it
    return int(table.num_rows - kept.num_rows)


def _is_other(table: pa.Table, entity: str) -> pa.ChunkedArray:
    """Return for each row whether it is about somebody else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    other = pa.chunked_array([pa.repeat(True, table.num_rows)])
    for name in {ENTITY, data.ENTITY} & set(table.column_names):
        same = pc.fill_null(pc.equal(table[name].cast(pa.string()), entity), False)
        other = pc.and_(other, pc.invert(same))
    return other


def _forget_results(target: str, entity: str) -> int:
    """Remove the rows from the results of scoring, and correct what lists their files."""
    from twoloops.scoring.locking import acquire
    from twoloops.scoring.places import Place
    from twoloops.scoring.scorer import FOLDERS, STATE

    if "://" in target or not Path(target).is_dir():
        return 0
    folder, place, total = Path(target), Place.of(target), 0
    with acquire(place, f"forget-{uuid.uuid4().hex[:8]}"):
        for path in _find(*(folder / name for name in FOLDERS)):
            removed = _remove_rows(path, entity)
            if removed:
                name = path.relative_to(folder).as_posix()
                for listing in (folder / "manifest.json", *sorted((folder / STATE).glob("*.json"))):
                    content = place.read_json(listing.relative_to(folder).as_posix())
                    if _correct(content, name, removed, path.stat().st_size):
                        place.write_json(listing.relative_to(folder).as_posix(), content)
            total += removed
    return total


def _correct(content: Any, name: str, removed: int, size: int) -> bool:
    """Correct the rows and the size of a file wherever a document lists it, and say whether it does."""
    if isinstance(content, dict) and content.get("file") == name:
        content |= {"rows": content["rows"] - removed, "bytes": size}
        return True
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return sum(_correct(each, name, removed, size) for each in inner) > 0
