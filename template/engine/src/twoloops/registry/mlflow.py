"""MLflow: where runs are tracked, and the registry that comes with it."""

from __future__ import annotations

import glob
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from twoloops.contracts.registry import ARTIFACT, Version
from twoloops.errors import ProjectError, explain_disk
from twoloops.paths import paths
from twoloops.storage import sync

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

# Two tries tell that a server is gone (MLflow's own default takes minutes); nothing is sent to anybody else.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
MEANT_BY_URLS = {"?", "%"}


def local_address(database: Path) -> str:
    """Return the address of a file as a tracking URI."""
    path = database.absolute().as_posix()
    if not MEANT_BY_URLS & set(path):
        return f"sqlite:///{path}"
    from sqlalchemy.engine import make_url

    # What means something in a URL, such as ? and %, is quoted. SQLAlchemy 2.1 reads that, before it only SQLite did.
    if make_url("sqlite:///%3F").database == "?":
        return f"sqlite:///{quote(path)}"
    return f"sqlite:///file:{quote(path)}?uri=true"


@contextmanager
def connection(uri: str) -> Iterator[MlflowClient]:
    """Give a client, and turn what can go wrong on the way to the server into an error for people."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow.exceptions import MlflowException
        from requests.exceptions import RequestException
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:  # as in the image, which has what predicts and no more
        raise ProjectError(
            "The registry cannot be asked here: MLflow is not installed.",
            hint="Name a folder that holds a model, or install the group 'training'.",
        ) from error

    try:
        with _without_stray_folder():
            yield client(uri)
    # MLflow makes its tables without a word around what the database says.
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        if isinstance(error, OSError) and (disk := explain_disk(error)):
            raise disk from error
        if uri.startswith("sqlite:"):
            who = "registry"
            hint = "See that the disk has room and that the file can be written; then run the same verb again."
        else:
            who = "tracking server"
            hint = "Check MLFLOW_TRACKING_URI, your login and that the server runs; then run the same verb again."
        raise ProjectError(
            f"The {who} at {uri} did not do what was asked: {str(error).splitlines()[0]}", hint=hint
        ) from error


_making: subprocess.Popen[bytes] | None = None


def make_ahead(uri: str) -> None:
    """Begin to make a local registry in another process."""
    global _making  # noqa: PLW0603 - one registry, made once
    command = [sys.executable, "-c", f"from {__name__} import client; client({uri!r})"]
    _making = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@lru_cache
def client(uri: str) -> MlflowClient:
    """Return MLflow's client of a server or of a local file, which is made if it is not there."""
    logger.debug("the registry is %s", uri.rpartition("@")[2])  # what stands before @ may be a password
    if _making:
        _making.wait()
    import mlflow

    # Making the local database would print each of its hundred migrations.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # What the database refuses is told once, in words: this one would print how it came about before.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    if uri.startswith("sqlite:") and not paths().database.exists():
        _make(paths().database)
    # Not mlflow.set_tracking_uri: it sets the variable for the whole process, which may work for two projects.
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def _make(database: Path) -> None:
    """Make an empty registry, whole or not at all: half of its migrations could neither be used nor made again."""
    import mlflow

    database.parent.mkdir(parents=True, exist_ok=True)
    # Not `storage.replacing`: it would put this in the place of one that another verb has made meanwhile, and MLflow
    # would leave the temporary folder's name, quoted, behind.
    opened, name = tempfile.mkstemp(prefix=f"{database.name}-", dir=database.parent)
    os.close(opened)
    try:
        uri = local_address(Path(name))
        mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        sync(Path(name))
        if not database.exists():  # else another verb was quicker, and may have registered already
            Path(name).rename(database)
            sync(database.parent)
    finally:
        for left in database.parent.glob(f"{glob.escape(Path(name).name)}*"):  # SQLite's journal too
            left.unlink(missing_ok=True)


@contextmanager
def _without_stray_folder() -> Iterator[None]:
    """Remove the empty folder that MLflow makes where it takes a quoted address for a path."""
    folder = paths().database.absolute().parent.as_posix()
    stray = Path(quote(folder))
    before = stray.exists() or not MEANT_BY_URLS & set(folder)
    try:
        yield
    finally:
        if not before and stray.is_dir():
            with suppress(OSError):  # not empty: then it is somebody's
                stray.rmdir()


@dataclass(frozen=True)
class MlflowRegistry:
    """`contracts.registry.Registry` for MLflow's own."""

    server: str
    model: str

    def store_files(self, run_id: str, files: Mapping[Path, str]) -> None:
        """Log them as artifacts of the run."""
        with connection(self.server) as asked:
            for path, place in files.items():
                log = asked.log_artifacts if path.is_dir() else asked.log_artifact
                log(run_id, str(path), place)
            _sync(asked.get_run(run_id).info.artifact_uri)

    def find(self, alias: str) -> Version | None:
        """Return the version that has the alias, or None."""
        with connection(self.server) as asked:
            # Not get_model_version_by_alias: whether a missing one is an error or None depends on the store.
            models = asked.search_registered_models(filter_string=f"name = '{self.model}'")
            number = models[0].aliases.get(alias) if models else None
            return _version(asked.get_model_version(self.model, str(number))) if number else None

    def get(self, number: str) -> Version:
        """Return a version by its number."""
        with connection(self.server) as asked:
            return _version(asked.get_model_version(self.model, number))

    def create_version(self, run_id: str, tags: Mapping[str, str], folder: str = ARTIFACT) -> Version:
        """Register an artifact of a run as a new version."""
        with connection(self.server) as asked:
            if not asked.search_registered_models(filter_string=f"name = '{self.model}'"):
                asked.create_registered_model(self.model)
            source = f"{asked.get_run(run_id).info.artifact_uri}/{folder}"
            return _version(asked.create_model_version(self.model, source, run_id, tags=dict(tags)))

    def find_version(self, tag: str, value: str) -> Version | None:
        """Return the newest version whose tag has this value, or None."""
        with connection(self.server) as asked:
            found = asked.search_model_versions(f"name = '{self.model}'", max_results=1000)
            matching = [version for version in found if version.tags.get(tag) == value]
            return _version(max(matching, key=lambda version: int(version.version))) if matching else None

    def set_tag(self, number: str, tag: str, value: str) -> None:
        """Record something about a version."""
        with connection(self.server) as asked:
            asked.set_model_version_tag(self.model, number, tag, value)

    def set_alias(self, alias: str, number: str) -> None:
        """Let an alias name a version."""
        with connection(self.server) as asked:
            asked.set_registered_model_alias(self.model, alias, number)

    def remove_alias(self, alias: str) -> None:
        """Let an alias name no version."""
        with connection(self.server) as asked:
            asked.delete_registered_model_alias(self.model, alias)

    def download(self, number: str, folder: Path) -> Path:
        """Download a version's artifact."""
        with connection(self.server) as asked:
            # By the address of the files: for one of a registered model, MLflow asks the process's own registry.
            return self._download(asked.get_model_version_download_uri(self.model, number), folder)

    def download_judged(self, version: Version, folder: Path) -> Path:
        """Download the artifact that the verdict on a version is about, from its run."""
        with connection(self.server) as asked:
            return self._download(f"{asked.get_run(version.run_id).info.artifact_uri}/{ARTIFACT}", folder)

    def _download(self, source: str, folder: Path) -> Path:
        from mlflow.artifacts import download_artifacts

        logger.debug("%s is copied from %s", self.model, source)
        return Path(
            download_artifacts(source, dst_path=str(folder), tracking_uri=self.server, registry_uri=self.server)
        )


def _sync(uri: str) -> None:
    """Wait until the disk has a run's files, where they are on one: a version would outlive them in a power cut."""
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    if is_local_uri(uri):
        folder = Path(local_file_uri_to_path(uri))
        for path in (*folder.rglob("*"), folder, folder.parent) if folder.exists() else ():  # a run may have no file
            sync(path)


def _version(found: Any) -> Version:
    created = datetime.fromtimestamp(found.creation_timestamp / 1000, tz=UTC)
    return Version(str(found.version), found.run_id, dict(found.tags), created.isoformat(timespec="seconds"))
