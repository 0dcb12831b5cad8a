"""Tables in files: Parquet and CSV, at local paths and URLs."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from twoloops.errors import ProjectError
from twoloops.storage import WEB_SCHEMES, replacing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30


def read_table(source: str | Path) -> pd.DataFrame:
    """Read a Parquet or CSV table from a path or a URL.

    Args:
        source: a local path, or a URL with the scheme s3, gs, abfss, http or https. A folder of
            Parquet files is read as one table. Credentials come from the environment, as the
            cloud's own tools find them (for another S3 endpoint: AWS_ENDPOINT_URL).

    Returns:
        The table with the types that the file declares (Parquet) or that its text suggests (CSV);
        the contract turns them into the expected ones.

    Raises:
        ProjectError: the source is missing, unreachable, empty, truncated or of another kind.
    """
    import pyarrow as pa

    place = str(source)
    hint = (
        "A table is a Parquet or CSV file, at a local path or a URL. For training, data.source in params.yaml names it."
    )
    try:
        table = _read(place)
    except FileNotFoundError as error:
        raise ProjectError(f"There is no data at {place}.", hint=hint) from error
    except pa.ArrowInvalid as error:
        raise ProjectError(f"{place} cannot be read as a table: {_first_line(error)}", hint=hint) from error
    except (OSError, pa.ArrowException) as error:
        raise ProjectError(f"{place} cannot be reached: {_first_line(error)}", hint=hint) from error
    if table.num_rows == 0:
        raise ProjectError(f"{place} holds no rows.", hint=hint)
    logger.info("read %s rows of %s columns from %s", table.num_rows, table.num_columns, place)
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _read(place: str) -> pa.Table:
    from pyarrow import fs
    from pyarrow import parquet as pq

    as_csv = place.partition("?")[0].lower().endswith((".csv", ".csv.gz"))
    if place.startswith(WEB_SCHEMES):
        with _download(place) as file:
            return _read_csv(file) if as_csv else pq.read_table(file)
    if "://" in place:
        filesystem, path = fs.FileSystem.from_uri(place)
    else:
        filesystem, path = fs.LocalFileSystem(), place
    if as_csv:
        with filesystem.open_input_stream(path, compression="gzip" if path.lower().endswith(".gz") else None) as stream:
            return _read_csv(stream)
    return pq.read_table(path, filesystem=filesystem)


def _read_csv(stream: Any) -> pa.Table:
    from pyarrow import csv

    # An empty field is a missing value in a text column too.
    return csv.read_csv(stream, convert_options=csv.ConvertOptions(strings_can_be_null=True))


@contextmanager
def _download(url: str) -> Iterator[IO[bytes]]:
    """Stream a web address into a temporary file: Parquet readers need to seek."""
    from urllib.request import urlopen

    with urlopen(url, timeout=TIMEOUT_SECONDS) as answer, tempfile.TemporaryFile() as file:  # noqa: S310 - http(s) only
        shutil.copyfileobj(answer, file)
        file.seek(0)
        yield file


def write_table(target: Path, frame: pd.DataFrame) -> None:
    """Write `frame` as CSV when the name ends in .csv, else as Parquet, atomically."""
    with replacing(target) as new:
        if target.suffix == ".csv":
            frame.to_csv(new, index=False)
        else:
            frame.to_parquet(new, index=False)


def data_version(frame: pd.DataFrame) -> str:
    """Return a SHA-256 of a table's column names and values, whatever file it lay in."""
    from pandas.util import hash_pandas_object

    digest = hashlib.sha256("\x1f".join(map(str, frame.columns)).encode())
    digest.update(hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()
