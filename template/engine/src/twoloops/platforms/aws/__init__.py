"""AWS, with SageMaker.

What the engine asks of a platform stands here; each function loads the module that does it, because AWS's library
takes long to load and most verbs need none of it.
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

NAME: Final = "AWS"
OFFERS: Final = frozenset({PIPELINES, SCORING, IMAGES, LOGIN, INFRASTRUCTURE})
LATE_SECONDS: Final = 180.0  # CloudWatch has figures by the minute, and takes one or two more
STOPPED: Final = "deleted, because SageMaker has no stop"


def lasts() -> bool:
    """Say that endpoints stay when a flow's job has ended."""
    return True


def deployment(environment: str) -> Deployment | None:
    """Return what the environment was last told to run, or None."""
    from twoloops.platforms.aws import endpoints

    return endpoints.deployment(environment)


def deploy(environment: str, wanted: Deployment) -> None:
    """Let the environment run `wanted`, and return when it does."""
    from twoloops.platforms.aws import endpoints

    endpoints.deploy(environment, wanted)


def status(environment: str) -> Status | None:
    """Return what SageMaker says of the environment's endpoint."""
    from twoloops.platforms.aws import endpoints

    return endpoints.status(environment)


def endpoint(environment: str) -> Endpoint:
    """Return the environment's endpoint."""
    from twoloops.platforms.aws import endpoints

    return endpoints.endpoint(environment)


def traffic(environment: str) -> Mapping[str, Traffic]:
    """Return what CloudWatch has counted for each version."""
    from twoloops.platforms.aws import endpoints

    return endpoints.traffic(environment)


def stop(environment: str) -> bool:
    """Take away what serves and what scores in the environment, and return whether anything was there."""
    from twoloops.platforms.aws.deployed import stop

    return stop(environment)


def remove(environment: str) -> None:
    """Delete the environment's endpoint."""
    from twoloops.platforms.aws import endpoints

    endpoints.remove(environment)


def lock(what: str) -> AbstractContextManager[None]:
    """Let no other deployment, rollback or stop come between."""
    if not config.current().online:
        return nullcontext()
    from twoloops.platforms.aws import endpoints

    return endpoints.lock(what)


def follow_champion(version: Version) -> None:
    """Approve the version's model package, and let the schedule score with it."""
    from twoloops import registry

    if not registry.is_shared():  # a version of this machine alone is nothing to the account
        return
    from twoloops.platforms.aws import packages, scoring

    packages.approve(version)
    if config.current().batch:
        scoring.schedule(version)


def records() -> Records:
    """Return the notes in the bucket: bootstrap/ lets each role write its own, and nobody over one."""
    from twoloops import registry

    if not registry.is_shared():  # versions of this machine alone; no account is needed
        from twoloops.platforms.shared.notes import Folder

        return Folder()
    from twoloops.platforms.aws import bucket
    from twoloops.platforms.aws.account import settings
    from twoloops.platforms.shared.objects import StoredRecords

    return StoredRecords(bucket, settings().home)


def image(tolerated: Scan) -> str:
    """Return the image that endpoints run, which ECR has scanned."""
    from twoloops.platforms.aws import images

    return images.scanned(tolerated)


def captures() -> AbstractContextManager[None]:
    """Bring captures and the monitor's memory from the bucket."""
    from twoloops import registry

    if not registry.is_shared():
        return nullcontext()
    from twoloops.platforms.aws import bucket
    from twoloops.platforms.aws.account import settings
    from twoloops.platforms.shared.captures import sync_monitoring

    return sync_monitoring(bucket, settings().home)


def monitor_memory() -> AbstractContextManager[None]:
    """Bring the monitor's memory from the bucket."""
    from twoloops import registry

    if not registry.is_shared():
        return nullcontext()
    from twoloops.platforms.aws import bucket
    from twoloops.platforms.aws.account import settings
    from twoloops.platforms.shared.captures import sync_memory

    return sync_memory(bucket, settings().home)


def submit(graph: Graph, tell: Tell) -> None:
    """Run a graph as a SageMaker Pipeline."""
    from twoloops.platforms.aws import loop

    loop.submit(graph, tell)


def score(tell: Tell) -> dict[str, Any]:
    """Score as the schedule would."""
    from twoloops.platforms.aws import scoring

    return scoring.run(tell)


def push_images(engine: str | None, tell: Tell) -> dict[str, str]:
    """Build the images and push them to the account's registry."""
    from twoloops.platforms.aws import images

    return images.push(engine, tell)


def audience(role: str) -> str:
    """Return for whom a token has to be: AWS's service of logins, whatever the role."""
    return "sts.amazonaws.com"  # as infra/bootstrap/trust.tf has it


def log_in(login: Login) -> dict[str, str]:
    """Take a role by a code host's token."""
    from twoloops.platforms.aws.login import log_in

    return log_in(login)


def infrastructure() -> Infrastructure:
    """Return what runs Terraform on infra/."""
    from twoloops.platforms.aws.terraform import AwsInfrastructure

    return AwsInfrastructure()
