"""MLflow: runs are tracked, models are registered, aliases say which one is champion.

Without a server all of it lies in two places beside params.yaml (or in PROJECT_STATE): mlflow.db and
mlruns/. Set MLFLOW_TRACKING_URI to use a server instead.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import re
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

from twoloops import config
from twoloops.errors import ProjectError, explain_disk
from twoloops.paths import paths
from twoloops.storage import sync

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

CHAMPION = "champion"
CHALLENGER = "challenger"
COMPARED_WITH = "compared_with"  # tag of a version: the champion in its verdict, by number
NONE = "none"  # in tags that name a champion: there was none
# Two tries tell that a server is gone (MLflow's own default takes minutes); nothing is sent to anybody else.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
IDENTITY = "model_identity"  # tag of a version: its artifact's
JUDGED = "judged_identity"  # tag of a version: that of the artifact which its verdict is about
MANIFEST = "manifest.json"  # of the artifact: its SHA-256 is the identity
MEANT_BY_URLS = {"?", "%"}
ARTIFACT = "model"  # the folder of a run that holds the model artifact, as it was judged
REFITTED = "refitted"  # the folder with the same recipe, fitted on the holdout too


@dataclass(frozen=True)
class Version:
    """A registered model version."""

    number: str
    run_id: str
    tags: Mapping[str, str]
    registered_at: str  # ISO 8601, UTC

    @property
    def uri(self) -> str:
        """The address that `Predictor.load` takes."""
        return f"models:/{model_name()}/{self.number}"


def model_name() -> str:
    """Return the name of the experiment and of the registered model."""
    return config.current().package


def tracking_uri() -> str:
    """Return where runs and models are kept."""
    return server() or _local()


def _local(database: Path | None = None) -> str:
    path = (database or paths().database).absolute().as_posix()
    if not MEANT_BY_URLS & set(path):
        return f"sqlite:///{path}"
    from sqlalchemy.engine import make_url

    # What means something in a URL, such as ? and %, is quoted. SQLAlchemy 2.1 reads that, before it only SQLite did.
    if make_url("sqlite:///%3F").database == "?":
        return f"sqlite:///{quote(path)}"
    return f"sqlite:///file:{quote(path)}?uri=true"


def server() -> str:
    """Return the server's address, empty when there is none: so a flow passes a variable that nobody has set."""
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def is_shared() -> bool:
    """Say whether models are registered with a server: a file of this machine is its owner's business alone."""
    return not tracking_uri().startswith("sqlite:")


def lasts() -> bool:
    """Say whether the registry is still there when a flow's job has ended."""
    return bool(server()) or paths().lasts


def place() -> str:
    """Return what tells this registry from another one: the same models may be registered in several."""
    if not lasts():
        return "beside params.yaml"
    return hashlib.sha256(tracking_uri().rpartition("@")[2].encode()).hexdigest()[:12]


def is_empty() -> bool:
    """Say at once, without loading MLflow, that the local registry has not been made yet."""
    return not server() and not paths().database.exists()


@contextmanager
def _connection() -> Iterator[MlflowClient]:
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
            yield _client(tracking_uri())
    # MLflow makes its tables without a word around what the database says.
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        if isinstance(error, OSError) and (disk := explain_disk(error)):
            raise disk from error
        if server():
            who = "tracking server"
            hint = "Check MLFLOW_TRACKING_URI, your login and that the server runs; then run the same verb again."
        else:
            who = "registry"
            hint = "See that the disk has room and that the file can be written; then run the same verb again."
        raise ProjectError(
            f"The {who} at {tracking_uri()} did not do what was asked: {str(error).splitlines()[0]}", hint=hint
        ) from error


_making: subprocess.Popen[bytes] | None = None


def make_ahead() -> None:
    """Begin to make the local registry in another process, if there is none.

    It takes seconds: MLflow is large, and its database grows by a hundred migrations. `run` lets
    them pass while the data is checked and the model is fitted.
    """
    global _making  # noqa: PLW0603 - one registry, made once
    if is_empty():
        command = [sys.executable, "-c", f"from {__name__} import _client, tracking_uri; _client(tracking_uri())"]
        _making = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@lru_cache
def _client(uri: str) -> MlflowClient:
    logger.debug("the registry is %s", uri.rpartition("@")[2])  # what stands before @ may be a password
    if _making:
        _making.wait()
    import mlflow

    # Making the local database would print each of its hundred migrations.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # What the database refuses is told once, in words: this one would print how it came about before.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    if is_empty():
        _make(paths().database)
    # Not mlflow.set_tracking_uri: it sets the variable for the whole process, which may work for two projects.
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def _make(database: Path) -> None:
    """Make an empty registry, whole or not at all: half of its migrations could neither be used nor made again."""
    import mlflow

    database.parent.mkdir(parents=True, exist_ok=True)
    opened, name = tempfile.mkstemp(prefix=f"{database.name}-", dir=database.parent)
    os.close(opened)
    try:
        uri = _local(Path(name))
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


def log_run(
    params: Mapping[str, Any], metrics: Mapping[str, float], tags: Mapping[str, str], files: Mapping[Path, str]
) -> str:
    """Record one trained and judged model, green or red, and return the run's identifier.

    Args:
        params: the flat parameters.
        metrics: numbers by name.
        tags: lineage and verdict.
        files: local files and folders, and the run's folder that each goes into.
    """
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.utils.time import get_current_time_millis

    with _connection() as client:
        run = client.create_run(_experiment(client))
        now = get_current_time_millis()
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
            params=[Param(name, str(value)) for name, value in params.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        _log_files(client, run.info.run_id, files)
        client.set_terminated(run.info.run_id)
        return str(run.info.run_id)


def _experiment(client: MlflowClient) -> str:
    existing = client.get_experiment_by_name(model_name())
    if existing:
        return str(existing.experiment_id)
    local = None if server() else paths().mlruns.absolute().as_uri()
    return str(client.create_experiment(model_name(), artifact_location=local))


def find(alias: str) -> Version | None:
    """Return the version that has the alias, or None."""
    if is_empty():
        return None
    with _connection() as client:
        number = _number(client, model_name(), alias)
        return _version(client.get_model_version(model_name(), number)) if number else None


def _number(client: MlflowClient, model: str, alias: str) -> str | None:
    """Return the number of the version that has the alias, or None."""
    # Not get_model_version_by_alias: whether a missing one is an error or None depends on the store.
    models = client.search_registered_models(filter_string=f"name = '{model}'")
    number = models[0].aliases.get(alias) if models else None
    return str(number) if number else None


def has_models() -> bool:
    """Say whether a model is champion or challenger."""
    return find(CHAMPION) is not None or find(CHALLENGER) is not None


def find_in_use() -> Version:
    """Return the champion, or the challenger as long as there is no champion.

    Raises:
        ProjectError: nothing is registered.
    """
    version = find(CHAMPION) or find(CHALLENGER)
    if version is None:
        raise ProjectError("No model is registered yet.", hint="Run the verb 'run' first.")
    return version


def get(number: str) -> Version:
    """Return a version by its number.

    Args:
        number: 4, or 4@IDENTITY: then it must still be that artifact. So jobs of a flow tell each other which one
            they mean, across an approval that takes days.

    Raises:
        ProjectError: there is no such version, or it is another artifact now.
    """
    number, _, identity = number.partition("@")
    if is_empty():
        raise ProjectError("No model is registered yet.", hint="Run the verb 'run' first.")
    with _connection() as client:
        version = _version(client.get_model_version(model_name(), number))
    if identity and version.tags.get(IDENTITY) != identity:
        raise ProjectError(
            f"Version {number} is the artifact {version.tags.get(IDENTITY, 'none')[:12]} now, and {identity[:12]} is "
            "what was tried and approved.",
            hint="Somebody has changed the registry. Train and register the model again.",
        )
    return version


def _version(found: Any) -> Version:
    created = datetime.fromtimestamp(found.creation_timestamp / 1000, tz=UTC)
    return Version(str(found.version), found.run_id, dict(found.tags), created.isoformat(timespec="seconds"))


def add_files(run_id: str, files: Mapping[Path, str]) -> None:
    """Add to what a run keeps.

    Args:
        run_id: the run's identifier.
        files: local files and folders, and the run's folder that each goes into.
    """
    with _connection() as client:
        _log_files(client, run_id, files)


def _log_files(client: MlflowClient, run_id: str, files: Mapping[Path, str]) -> None:
    for path, place in files.items():
        log = client.log_artifacts if path.is_dir() else client.log_artifact
        log(run_id, str(path), place)


def create_version(run_id: str, tags: Mapping[str, str], folder: str = ARTIFACT) -> Version:
    """Register an artifact of a run as a new version.

    Args:
        run_id: the run's identifier.
        tags: of the version.
        folder: of the run, that holds the artifact.
    """
    with _connection() as client:
        if not client.search_registered_models(filter_string=f"name = '{model_name()}'"):
            client.create_registered_model(model_name())
        source = f"{client.get_run(run_id).info.artifact_uri}/{folder}"
        made = _version(client.create_model_version(model_name(), source, run_id, tags=dict(tags)))
    logger.info("version %s of %s is registered, from %s", made.number, model_name(), source)
    return made


def find_version(tag: str, value: str) -> Version | None:
    """Return the newest version whose tag has this value, or None."""
    if is_empty():
        return None
    with _connection() as client:
        found = client.search_model_versions(f"name = '{model_name()}'", max_results=1000)
        matching = [version for version in found if version.tags.get(tag) == value]
        return _version(max(matching, key=lambda version: int(version.version))) if matching else None


def count_models(tag: str, value: str, identity: str) -> int:
    """Return how many other models were judged in runs whose tag has this value; beyond 1,000 it says 1,000.

    Args:
        tag: such as holdout_version.
        value: what it says.
        identity: of the model that does not count.
    """
    if is_empty():
        return 0
    with _connection() as client:
        experiment = client.get_experiment_by_name(model_name())
        if experiment is None:
            return 0
        found = client.search_runs([experiment.experiment_id], f"tags.{tag} = '{value}'", max_results=1000)
        return len({run.data.tags.get("model_identity") for run in found} - {None, identity})


def set_tag(version: Version, tag: str, value: str) -> None:
    """Record something about a version that was learnt after it was registered."""
    with _connection() as client:
        client.set_model_version_tag(model_name(), version.number, tag, value)


def set_alias(alias: str, version: Version) -> None:
    """Let an alias name this version."""
    with _connection() as client:
        client.set_registered_model_alias(model_name(), alias, version.number)
    logger.info("version %s of %s is %s", version.number, model_name(), alias)


def remove_alias(alias: str) -> None:
    """Let an alias name no version."""
    with _connection() as client:
        client.delete_registered_model_alias(model_name(), alias)
    logger.info("no version of %s is %s any more", model_name(), alias)


@contextmanager
def download(uri: str, identity: str | None = None) -> Iterator[Path]:
    """Give a temporary folder with a copy of a registered artifact.

    Args:
        uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        identity: of the artifact that it must be; without it, the one that was registered.

    Raises:
        ProjectError: there is no such version, the server cannot be reached, or it has another artifact.
    """
    if is_empty():
        raise ProjectError(f"{uri}: no model is registered yet.", hint="Run the verb 'run' first.")
    with tempfile.TemporaryDirectory(prefix=f"{model_name()}-") as folder:
        with _connection() as client:
            from mlflow.artifacts import download_artifacts

            # By the address of the files: for one of a registered model, MLflow asks the process's own registry.
            name, number = _parse_uri(client, uri)
            source, where = client.get_model_version_download_uri(name, number), tracking_uri()
            expected = identity or client.get_model_version(name, number).tags.get(IDENTITY)
            logger.debug("%s is copied from %s", uri, source)
            copy = Path(download_artifacts(source, dst_path=folder, tracking_uri=where, registry_uri=where))
        _require(expected, copy, number)
        yield copy


@contextmanager
def download_judged(version: Version) -> Iterator[Path]:
    """Give a temporary folder with a copy of the artifact that the verdict on a version is about.

    It is the version itself, unless that was refitted after its verdict.
    """
    with tempfile.TemporaryDirectory(prefix=f"{model_name()}-") as folder:
        with _connection() as client:
            from mlflow.artifacts import download_artifacts

            source, where = f"{client.get_run(version.run_id).info.artifact_uri}/{ARTIFACT}", tracking_uri()
            copy = Path(download_artifacts(source, dst_path=folder, tracking_uri=where, registry_uri=where))
        _require(version.tags.get(JUDGED), copy, version.number)
        yield copy


def _require(expected: str | None, copy: Path, number: str) -> None:
    """Refuse a copy of the registry's files that is not what was registered; their manifest is checked on loading."""
    found = hashlib.sha256((copy / MANIFEST).read_bytes()).hexdigest() if (copy / MANIFEST).is_file() else "none"
    if expected is not None and expected != found:
        raise ProjectError(
            f"Version {number} is the artifact {expected[:12]}, but the registry holds {found[:12]}.",
            hint="Somebody has changed the registry's files. Train and register the model again.",
        )


def _parse_uri(client: MlflowClient, uri: str) -> tuple[str, str]:
    """Return the name and the number of the version that an address means."""
    parts = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
    if parts is None:
        raise ProjectError(
            f"{uri} is no address of a registered model.",
            hint="It is models:/NAME/VERSION or models:/NAME@ALIAS, such as models:/churn@champion.",
        )
    name, alias, number = parts.groups()
    number = number or _number(client, name, alias)
    if number is None:
        raise ProjectError(f"No version of {name} has the alias {alias!r}.", hint="Run the verb 'run' first.")
    return name, number
