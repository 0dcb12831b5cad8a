"""Kubernetes: any cluster, wherever it runs.

What the engine asks of a platform stands here; each function loads the module that does it, because most verbs need
none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from twoloops import config
from twoloops.contracts.platform import IMAGES, INFRASTRUCTURE, LOGIN, PIPELINES, SCORING, Login, Tell

if TYPE_CHECKING:
    from twoloops.contracts.client import Endpoint
    from twoloops.contracts.graph import Graph
    from twoloops.contracts.platform import Infrastructure
    from twoloops.contracts.records import Records
    from twoloops.contracts.release import Deployment, Status, Traffic
    from twoloops.contracts.scan import Scan
    from twoloops.registry import Version

NAME: Final = "Kubernetes"
OFFERS: Final = frozenset({PIPELINES, SCORING, IMAGES, LOGIN, INFRASTRUCTURE})
LATE_SECONDS: Final = 0.0  # the pods themselves are asked
STOPPED: Final = "stopped"


def lasts() -> bool:
    """Say that services stay when a flow's job has ended."""
    return True


def deployment(environment: str) -> Deployment | None:
    """Return what the environment was last told to run, or None."""
    from twoloops.platforms.kubernetes import services

    return services.deployment(environment)


def deploy(environment: str, wanted: Deployment) -> None:
    """Let the environment run `wanted`, and return when it does."""
    from twoloops.platforms.kubernetes import services

    services.deploy(environment, wanted)


def status(environment: str) -> Status | None:
    """Return what the environment's pods say of themselves."""
    from twoloops.platforms.kubernetes import services

    return services.status(environment)


def endpoint(environment: str) -> Endpoint:
    """Return where the environment's service answers."""
    from twoloops.platforms.kubernetes import services

    return services.endpoint(environment)


def traffic(environment: str) -> Mapping[str, Traffic]:
    """Return what the environment's pods have counted for each version."""
    from twoloops.platforms.kubernetes import services

    return services.traffic(environment)


def stop(environment: str) -> bool:
    """End what serves and what scores in the environment, and return whether anything did."""
    from twoloops.platforms.kubernetes.deployed import stop

    return stop(environment)


def remove(environment: str) -> None:
    """Delete the environment's service."""
    from twoloops.platforms.kubernetes import services

    services.remove(environment)


def lock(what: str) -> AbstractContextManager[None]:
    """Let no other deployment, rollback or stop come between."""
    if not config.current().online:
        return nullcontext()
    from twoloops.platforms.kubernetes import lease

    return lease.hold(what)


def follow_champion(version: Version) -> None:
    """Let the schedule score with the version."""
    from twoloops import registry

    if registry.is_shared() and config.current().batch:  # a version of this machine alone is nothing to the cluster
        from twoloops.platforms.kubernetes import scoring

        scoring.schedule(version)


def records() -> Records:
    """Return the notes in the object store: who may write there decides what they are worth, infra/README.md."""
    from twoloops import registry

    if not registry.is_shared():  # versions of this machine alone; no object store is needed
        from twoloops.platforms.shared.notes import Folder

        return Folder()
    from twoloops.platforms.kubernetes import store
    from twoloops.platforms.kubernetes.cluster import home
    from twoloops.platforms.shared.objects import StoredRecords

    return StoredRecords(store, home())


def image(tolerated: Scan) -> str:
    """Return the image that pods run, which may be in any registry: what a scan has found in it, none can be asked.

    The registry itself, or the cluster when it admits a pod, may refuse it: infra/README.md.
    """
    from twoloops.platforms.kubernetes import images
    from twoloops.platforms.shared.images import SERVE

    return images.reference(SERVE)


def captures() -> AbstractContextManager[None]:
    """Bring captures and the monitor's memory from the object store."""
    from twoloops import registry

    if not registry.is_shared():
        return nullcontext()
    from twoloops.platforms.kubernetes import store
    from twoloops.platforms.kubernetes.cluster import home
    from twoloops.platforms.shared.captures import sync_monitoring

    return sync_monitoring(store, home())


def monitor_memory() -> AbstractContextManager[None]:
    """Bring the monitor's memory from the object store."""
    from twoloops import registry

    if not registry.is_shared():
        return nullcontext()
    from twoloops.platforms.kubernetes import store
    from twoloops.platforms.kubernetes.cluster import home
    from twoloops.platforms.shared.captures import sync_memory

    return sync_memory(store, home())


def submit(graph: Graph, tell: Tell) -> None:
    """Run a graph on the cluster."""
    from twoloops.platforms.kubernetes import loop

    loop.submit(graph, tell)


def score(tell: Tell) -> dict[str, Any]:
    """Score as the schedule would."""
    from twoloops.platforms.kubernetes import scoring

    return scoring.run(tell)


def push_images(engine: str | None, tell: Tell) -> dict[str, str]:
    """Build the images and push them to the project's registry."""
    from twoloops.platforms.kubernetes import images

    return images.push(engine, tell)


def audience(role: str) -> str:
    """Return for whom a token has to be: this cluster and no other, whatever the role."""
    from twoloops.platforms.kubernetes.cluster import chosen

    return chosen().cluster


def log_in(login: Login) -> dict[str, str]:
    """Take a role by a code host's token."""
    from twoloops.platforms.kubernetes.login import log_in

    return log_in(login)


def infrastructure() -> Infrastructure:
    """Return what runs Terraform on infra/."""
    from twoloops.platforms.kubernetes.terraform import KubernetesInfrastructure

    return KubernetesInfrastructure()
