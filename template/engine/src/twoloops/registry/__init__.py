"""Where models are registered: runs are tracked, versions are kept, aliases say which one is champion.

Without a server all of it lies in two places beside params.yaml (or in PROJECT_STATE): mlflow.db and
mlruns/. Set MLFLOW_TRACKING_URI to use a server instead. Runs are MLflow's everywhere. Versions and aliases are kept by
MLflow too, unless somebody else serves the address: `contracts.registry` tells how.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from twoloops import config, plugins
from twoloops.contracts.registry import ARTIFACT, IDENTITY, JUDGED, Registry
from twoloops.contracts.registry import REFITTED as REFITTED
from twoloops.contracts.registry import Version as Version
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.registry import mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

CHAMPION = "champion"
CHALLENGER = "challenger"
COMPARED_WITH = "compared_with"  # tag of a version: the champion in its verdict, by number
NONE = "none"  # in tags that name a champion: there was none
MANIFEST = "manifest.json"  # of the artifact: its SHA-256 is the identity
MLFLOW_SCHEMES = ("sqlite", "https", "http", "file")  # nobody else serves these


def model_name() -> str:
    """Return the name of the experiment and of the registered model."""
    return config.current().package


def tracking_uri() -> str:
    """Return where runs and models are kept."""
    return server() or mlflow.local_address(paths().database)


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


def _registry(model: str | None = None) -> Registry:
    """Return the registry of a model, without it the project's own."""
    uri = tracking_uri()
    scheme = uri.partition(":")[0]
    connect = mlflow.MlflowRegistry if scheme in MLFLOW_SCHEMES else plugins.find_any("registries", scheme)
    return cast(Registry, (connect or mlflow.MlflowRegistry)(uri, model or model_name()))


def make_ahead() -> None:
    """Begin to make the local registry in another process, if there is none.

    It takes seconds: MLflow is large, and its database grows by a hundred migrations. `run` lets
    them pass while the data is checked and the model is fitted.
    """
    if is_empty():
        mlflow.make_ahead(tracking_uri())


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
    kept = _registry()
    with mlflow.connection(kept.server) as client:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.utils.time import get_current_time_millis

        run = client.create_run(_experiment(client))
        now = get_current_time_millis()
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
            params=[Param(name, str(value)) for name, value in params.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        kept.store_files(run.info.run_id, files)
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
    return None if is_empty() else _registry().find(alias)


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
    version = _registry().get(number)
    if identity and version.tags.get(IDENTITY) != identity:
        raise ProjectError(
            f"Version {number} is the artifact {version.tags.get(IDENTITY, 'none')[:12]} now, and {identity[:12]} is "
            "what was tried and approved.",
            hint="Somebody has changed the registry. Train and register the model again.",
        )
    return version


def add_files(run_id: str, files: Mapping[Path, str]) -> None:
    """Add to what a run keeps.

    Args:
        run_id: the run's identifier.
        files: local files and folders, and the run's folder that each goes into.
    """
    _registry().store_files(run_id, files)


def create_version(run_id: str, tags: Mapping[str, str], folder: str = ARTIFACT) -> Version:
    """Register an artifact of a run as a new version.

    Args:
        run_id: the run's identifier.
        tags: of the version.
        folder: of the run, that holds the artifact.
    """
    made = _registry().create_version(run_id, tags, folder)
    logger.info("version %s of %s is registered, from the run %s", made.number, model_name(), run_id)
    return made


def find_version(tag: str, value: str) -> Version | None:
    """Return the newest version whose tag has this value, or None."""
    return None if is_empty() else _registry().find_version(tag, value)


def count_models(tag: str, value: str, identity: str) -> int:
    """Return how many other models were judged in runs whose tag has this value; beyond 1,000 it says 1,000.

    Args:
        tag: such as holdout_version.
        value: what it says.
        identity: of the model that does not count.
    """
    if is_empty():
        return 0
    with mlflow.connection(_registry().server) as client:
        experiment = client.get_experiment_by_name(model_name())
        if experiment is None:
            return 0
        found = client.search_runs([experiment.experiment_id], f"tags.{tag} = '{value}'", max_results=1000)
        return len({run.data.tags.get(IDENTITY) for run in found} - {None, identity})


def set_tag(version: Version, tag: str, value: str) -> None:
    """Record something about a version that was learnt after it was registered."""
    _registry().set_tag(version.number, tag, value)


def set_alias(alias: str, version: Version) -> None:
    """Let an alias name this version."""
    _registry().set_alias(alias, version.number)
    logger.info("version %s of %s is %s", version.number, model_name(), alias)


def remove_alias(alias: str) -> None:
    """Let an alias name no version."""
    _registry().remove_alias(alias)
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
    name, alias, number = _parse_uri(uri)
    kept = _registry(name)
    version = kept.find(alias) if alias else kept.get(number)
    if version is None:
        raise ProjectError(f"No version of {name} has the alias {alias!r}.", hint="Run the verb 'run' first.")
    expected = identity or version.tags.get(IDENTITY)
    with tempfile.TemporaryDirectory(prefix=f"{model_name()}-") as folder:
        copy = kept.download(version.number, Path(folder))
        _require(expected, copy, version.number)
        yield copy


@contextmanager
def download_judged(version: Version) -> Iterator[Path]:
    """Give a temporary folder with a copy of the artifact that the verdict on a version is about.

    It is the version itself, unless that was refitted after its verdict.
    """
    with tempfile.TemporaryDirectory(prefix=f"{model_name()}-") as folder:
        copy = _registry().download_judged(version, Path(folder))
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


def _parse_uri(uri: str) -> tuple[str, str, str]:
    """Return the name, and the alias or the number, of the version that an address means."""
    parts = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
    if parts is None:
        raise ProjectError(
            f"{uri} is no address of a registered model.",
            hint="It is models:/NAME/VERSION or models:/NAME@ALIAS, such as models:/churn@champion.",
        )
    name, alias, number = parts.groups()
    return name, alias or "", number or ""
