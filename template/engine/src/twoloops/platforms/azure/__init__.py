"""Azure, with Azure Machine Learning.

What the engine asks of a platform stands here; each function loads the module that does it, because Azure's libraries
take long to load and most verbs need none of it.
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

NAME: Final = "Azure"
SCHEME: Final = "azureml"  # of a workspace's address as a registry: an entry point of `twoloops.registries`
OFFERS: Final = frozenset({PIPELINES, SCORING, IMAGES, LOGIN, INFRASTRUCTURE})
LATE_SECONDS: Final = 45.0  # services tell their counts every 15 seconds: endpoints.COUNTED_SECONDS
STOPPED: Final = "its machines are gone, and its address stays"


def lasts() -> bool:
    """Say that endpoints stay when a flow's job has ended."""
    return True


def deployment(environment: str) -> Deployment | None:
    """Return what the environment was last told to run, or None."""
    from twoloops.platforms.azure import endpoints

    return endpoints.deployment(environment)


def deploy(environment: str, wanted: Deployment) -> None:
    """Let the environment run `wanted`, and return when it does."""
    from twoloops.platforms.azure import endpoints

    endpoints.deploy(environment, wanted)


def status(environment: str) -> Status | None:
    """Return what Azure ML says of the environment's endpoint."""
    from twoloops.platforms.azure import endpoints

    return endpoints.status(environment)


def endpoint(environment: str) -> Endpoint:
    """Return the environment's endpoint."""
    from twoloops.platforms.azure import endpoints

    return endpoints.endpoint(environment)


def traffic(environment: str) -> Mapping[str, Traffic]:
    """Return what the services have counted for each version."""
    from twoloops.platforms.azure import endpoints

    return endpoints.traffic(environment)


def stop(environment: str) -> bool:
    """Take away what serves and what scores in the environment, and return whether anything was there."""
    from twoloops.platforms.azure.deployed import stop

    return stop(environment)


def remove(environment: str) -> None:
    """Delete the environment's endpoint."""
    from twoloops.platforms.azure import endpoints

    endpoints.remove(environment)


def lock(what: str) -> AbstractContextManager[None]:
    """Let no other deployment, rollback or stop come between."""
    if not config.current().online:
        return nullcontext()
    from twoloops.platforms.azure import endpoints

    return endpoints.lock(what)


def follow_champion(version: Version) -> None:
    """Let the schedule score with the version."""
    from twoloops import registry

    # A version of this machine alone is nothing to the subscription.
    if registry.is_shared() and config.current().batch:
        from twoloops.platforms.azure import scoring

        scoring.schedule(version)


def records() -> Records:
    """Return the notes in the container: bootstrap/ lets each role write its own, and delete none."""
    from twoloops import registry

    if not registry.is_shared():  # versions of this machine alone; no subscription is needed
        from twoloops.platforms.shared.notes import Folder

        return Folder()
    from twoloops.platforms.azure import blobs
    from twoloops.platforms.azure.account import check_made
    from twoloops.platforms.shared.objects import StoredRecords

    return StoredRecords(blobs, check_made().home)


def image(tolerated: Scan) -> str:
    """Return the image that endpoints run. Azure's registry scans none by itself, so `tolerated` decides nothing here.

    Args:
        tolerated: what may be found. Defender for Cloud, a plan of the subscription, tells its findings elsewhere.

    Raises:
        ProjectError: nobody has pushed it.
    """
    from twoloops.platforms.azure import images

    return images.reference(images.SERVE)


def captures() -> AbstractContextManager[None]:
    """Bring captures and the monitor's memory from the container."""
    from twoloops import registry

    if not registry.is_shared():
        return nullcontext()
    from twoloops.platforms.azure import blobs
    from twoloops.platforms.azure.account import check_made
    from twoloops.platforms.shared.captures import sync_monitoring

    return sync_monitoring(blobs, check_made().home)


def monitor_memory() -> AbstractContextManager[None]:
    """Bring the monitor's memory from the container."""
    from twoloops import registry

    if not registry.is_shared():
        return nullcontext()
    from twoloops.platforms.azure import blobs
    from twoloops.platforms.azure.account import check_made
    from twoloops.platforms.shared.captures import sync_memory

    return sync_memory(blobs, check_made().home)


def submit(graph: Graph, tell: Tell) -> None:
    """Run a graph as a pipeline job of Azure ML."""
    from twoloops.platforms.azure import loop

    loop.submit(graph, tell)


def score(tell: Tell) -> dict[str, Any]:
    """Score as the schedule would."""
    from twoloops.platforms.azure import scoring

    return scoring.run(tell)


def push_images(engine: str | None, tell: Tell) -> dict[str, str]:
    """Build the images and push them to the subscription's registry."""
    from twoloops.platforms.azure import images

    return images.push(engine, tell)


def audience(role: str) -> str:
    """Return for whom a token has to be: Azure's exchange of tokens, whatever the role."""
    return "api://AzureADTokenExchange"  # as infra/bootstrap/trust.tf has it


def log_in(login: Login) -> dict[str, str]:
    """Take a role by a code host's token."""
    from twoloops.platforms.azure.login import log_in

    return log_in(login)


def infrastructure() -> Infrastructure:
    """Return what runs Terraform on infra/."""
    from twoloops.platforms.azure.terraform import AzureInfrastructure

    return AzureInfrastructure()
