"""A subscription on the emulator for the tests of this room, and a login to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from twoloops import registry
from twoloops.contracts.release import Release
from twoloops.platforms import azure
from twoloops.platforms.azure import account, blobs, endpoints, rest
from twoloops.platforms.shared import images
from twoloops.platforms.shared.infrastructure import role_names

from tests.engine.platforms.conformance import Subject
from tests.engine.support.project import RAW, Project, original
from tests.support.azure.roles import flow_rights
from tests.support.azure.state import REGION, SUBSCRIPTION, TENANT
from tests.support.azure.subscription import (
    CLIENT,
    EmulatedSubscription,
    assertion,
    demand_azurite,
    emulated_subscription,
)

NAMES = account.Names(SUBSCRIPTION, REGION, "churn", ("staging", "production"))
CHOSEN = {"subscription": SUBSCRIPTION, "tenant": TENANT, "region": REGION}
MACHINES = """
training: {machine: Standard_D4s_v5, hours: 1}
scoring: {machine: Standard_D4s_v5, hours: 1, schedule: "0 3 * * *"}
serving:
  staging: {machine: Standard_D2as_v5, count: 1}
  production: {machine: Standard_D2as_v5, count: 2}
"""


def forget_clients() -> None:
    """Let no client, and nothing that was read, outlive a test: each has an emulator of its own."""
    for cache in (rest.credential, rest._client, account._check_made, blobs._container):
        cache.cache_clear()


def rights(*roles: str) -> list[dict[str, Any]]:
    """Return the rights that Terraform gives to flows, as the login of the tests has them.

    Args:
        roles: train, or deploy and an environment, such as deploy/production; without any, all of these.
    """
    clients, _, given = flow_rights(NAMES)
    wanted = [clients[each] for each in roles or ("train", *(f"deploy/{each}" for each in NAMES.environments))]
    found = [each | {"who": CLIENT} for each in given if each["who"] in wanted]
    if not roles:  # what an owner sees
        reads = ["Microsoft.ManagedIdentity/userAssignedIdentities/read"]
        groups = [NAMES.group(each) for each in (None, *NAMES.environments)]
        found += [{"who": CLIENT, "scope": group, "actions": reads} for group in groups]
    return [*found, *(each for each in given if each["who"] == clients["training"])]


@pytest.fixture(scope="session")
def link(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a link to the project that the emulator's containers are made of."""
    path = tmp_path_factory.mktemp("emulator") / "project"
    path.symlink_to(original("classification"))
    return path


@pytest.fixture(scope="session")
def emulated(link: Path) -> Iterator[EmulatedSubscription]:
    """Return a subscription in which everything is made."""
    demand_azurite()
    package = str(original("classification") / "src")
    with emulated_subscription(link.parent, NAMES.storage, PYTHONPATH=package) as found:
        serve = [sys.executable, "-m", "twoloops", "serve"]
        found.control(command=serve, folder=str(link), python=sys.executable, rights=rights())
        found.make(NAMES, flow_rights(NAMES)[1])
        yield found


@pytest.fixture(scope="session")
def runs(emulated: EmulatedSubscription) -> Iterator[None]:
    """Let the workspaces have a server of MLflow."""
    with emulated.tracking():
        yield


@pytest.fixture
def logged_in(emulated: EmulatedSubscription, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedSubscription]:
    """Let this process be logged in to the subscription."""
    for name, value in emulated.environment.items():
        monkeypatch.setenv(name, value)
    # A token ends after ten minutes, the tests of a session later.
    Path(emulated.environment["AZURE_FEDERATED_TOKEN_FILE"]).write_text(assertion(), encoding="utf-8")
    forget_clients()
    yield emulated
    forget_clients()


def push_images(subscription: EmulatedSubscription) -> None:
    """Let the registry have the images of the current project's code. Nobody looks into them."""
    tags = {images.tag(kind): f"sha256:{kind.ljust(64, '0')}" for kind in images.KINDS}
    subscription.tell(images={f"{NAMES.registry}.azurecr.io/churn": tags})


@pytest.fixture
def subject(
    promoted: Project, link: Path, logged_in: EmulatedSubscription, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Subject]:
    """Return a project whose platform is Azure. Its registry is a file, and taken for a server's."""
    promoted.configure(platform="azure", azure=CHOSEN)
    for name in set(images.FILES) - {"pyproject.toml", "params.yaml"}:
        (promoted.folder / name).write_text(name, encoding="utf-8")
    (promoted.folder / "infra").mkdir()
    (promoted.folder / "infra/machines.yaml").write_text(MACHINES, encoding="utf-8")
    blobs.remove(f"{NAMES.home}/records")
    blobs.upload(promoted.folder / RAW, f"{NAMES.home}/data/rows.parquet")
    promoted.set(score__source=f"{NAMES.home}/data/rows.parquet")
    roles = {
        NAMES.identity(*account.flow_identity(role)): f"00000000-0000-0000-0001-{number:012}"
        for number, role in enumerate(role_names())
    }
    logged_in.tell(resources={path: {"properties": {"clientId": client}} for path, client in roles.items()})
    push_images(logged_in)
    link.unlink()
    link.symlink_to(promoted.folder)
    monkeypatch.setattr(registry, "is_shared", lambda: True)
    monkeypatch.setattr(endpoints, "COUNTED_SECONDS", 0.3)

    def spoil(release: Release) -> Release:
        logged_in.control(fail_next=["ResourceNotReady", "User container has crashed or terminated."])
        return release

    yield Subject(azure, promoted, spoil, held_by_another())
    for name in NAMES.environments:
        azure.stop(name)


def held_by_another() -> Callable[[], AbstractContextManager[None]]:
    """Return what lets somebody else hold the lock for a while."""

    @contextmanager
    def hold() -> Iterator[None]:
        lease = blobs.blob(f"{NAMES.home}/locks/deployment").acquire_lease(15)
        yield
        lease.release()

    return hold
