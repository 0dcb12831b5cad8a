"""The cluster: what the project chose of it, who is logged in, and what bootstrap/ has left to know."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes import kubeconfig
from twoloops.platforms.kubernetes.api import Api, explain_errors, namespaced
from twoloops.platforms.shared.infrastructure import MissingSettingsError

SETTINGS, KEY = "settings", "settings.json"  # a ConfigMap of the project's own namespace, as infra/bootstrap makes it


class Chosen(BaseModel):
    """`[tool.twoloops.kubernetes]`: what the project chose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Plain HTTP is for a cluster on this machine, which a proxy of kubectl may show.
    cluster: str = Field(pattern=r"^(https://[^/\s@]+|http://127\.0\.0\.1:[0-9]+)(/[^\s@?#]*)?$")
    object_store: str = Field(pattern=r"^(s3|gs|az|abfs)://[^/\s@]+(/[^\s@?#]*[^/\s])?$")
    image_repository: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+$")
    serving_platform: Literal["deployment", "kserve"] = "deployment"
    pipelines: Literal["jobs", "kubeflow"] = "jobs"


class Settings(BaseModel):
    """What bootstrap/ has made, as the ConfigMap `settings` says; nothing of it is secret."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    environments: dict[str, str]  # the namespace of each
    tracking_uri: str | None = None
    pod_environment: dict[str, str] = {}  # of every pod, such as AWS_ENDPOINT_URL
    image_pull_secret: str | None = None
    queue: str | None = None  # of Kueue, in which jobs wait
    kubeflow: str | None = None  # NAMESPACE/SERVICE:PORT of the interface of Kubeflow Pipelines
    roles: dict[str, str] = {}  # of the flows: the service account of each, as NAMESPACE/NAME


def chosen() -> Chosen:
    """Return what the project chose.

    Raises:
        ProjectError: a key is missing, unknown, or has a value that is not allowed.
    """
    found = config.current()
    try:
        return Chosen.model_validate(dict(found.platform_settings))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, each['loc'])) or 'the table'}: {each['msg']}" for each in error.errors()]
        raise ProjectError(
            f"[tool.twoloops.kubernetes] in {found.root / config.FILE} is not valid:\n"
            + "\n".join(f"  - {line}" for line in lines),
            hint="It has cluster, the address of the API server; object_store, such as s3://BUCKET/FOLDER; and "
            "image_repository, such as registry.example.com/team/name.",
        ) from error


def home() -> str:
    """Return the project's place in the object store, a URL."""
    return chosen().object_store


def name() -> str:
    """Return what the project is called in the cluster: its own namespace, its service, its images' command."""
    return config.current().package.replace("_", "-")


def api() -> Api:
    """Return the project's cluster, with a login of this machine.

    Raises:
        ProjectError: there is none.
    """
    return _api(chosen().cluster, os.environ.get(kubeconfig.VARIABLE, ""))


@lru_cache
def _api(server: str, files: str) -> Api:
    return kubeconfig.load(server)


def settings() -> Settings:
    """Return what bootstrap/ has made.

    Raises:
        ProjectError: nobody is logged in, or bootstrap/ has not been applied.
    """
    return _settings(api(), name())


@lru_cache
def _settings(server: Api, project: str) -> Settings:
    with explain_errors(f"Reading the ConfigMap {SETTINGS} of the namespace {project}"):
        found = server.find(namespaced("v1", "configmaps", project, SETTINGS))
    hint = f"An administrator makes it with 'uv run {config.current().package} bootstrap': infra/README.md."
    if found is None:
        raise MissingSettingsError(
            f"The cluster has no ConfigMap {SETTINGS} in the namespace {project} yet.", hint=hint
        )
    try:
        return Settings.model_validate_json(found.get("data", {}).get(KEY, ""))
    except ValidationError as error:
        first = error.errors()[0]
        raise ProjectError(
            f"The ConfigMap {SETTINGS} of the namespace {project} is not what this project's bootstrap writes: "
            f"{'.'.join(map(str, first['loc'])) or KEY}: {first['msg']}.",
            hint=hint,
        ) from error


def forget() -> None:
    """Forget logins and settings: what follows asks again."""
    _api.cache_clear()
    _settings.cache_clear()


def namespace(environment: str) -> str:
    """Return an environment's namespace.

    Raises:
        ProjectError: the project has no such environment, or bootstrap/ does not know it yet.
    """
    config.current().check_environment(environment)
    names = settings().environments
    if environment not in names:
        raise ProjectError(
            f"The cluster has no namespace for {environment!r}, only for {', '.join(names)}.",
            hint="infra/bootstrap has been applied before it was added: apply it again, as infra/README.md tells.",
        )
    return names[environment]
