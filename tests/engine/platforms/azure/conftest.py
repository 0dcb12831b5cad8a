"""A subscription on the emulator for the tests of this room, and a login to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twoloops.platforms.azure import account, blobs, rest

from tests.conftest import DEMANDED
from tests.engine.support.project import original
from tests.support.azure.roles import read_roles
from tests.support.azure.state import REGION, SUBSCRIPTION, TENANT
from tests.support.azure.subscription import AZURITE, CLIENT, EmulatedSubscription, emulated_subscription

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


def rights() -> list[dict[str, Any]]:
    """Return the rights that Terraform gives to the flows that train and deploy; the login here has those of all."""
    roles = read_roles()
    found = [{"scope": NAMES.workspace(), "actions": [*roles["train"], *roles["register"]]}]
    found += [{"scope": NAMES.workspace(each), "actions": roles["deploy"]} for each in NAMES.environments]
    # Managed Identity Operator, and Reader, at identities.
    reads = ["Microsoft.ManagedIdentity/userAssignedIdentities/read"]
    found += [{"scope": NAMES.group(each), "actions": reads} for each in (None, *NAMES.environments)]
    found.append({"scope": f"/subscriptions/{SUBSCRIPTION}/", "actions": roles["operations"]})
    return [each | {"who": CLIENT} for each in found]


def identities() -> dict[str, str]:
    """Return a number for each identity that infra/ makes."""
    paths = [NAMES.identity("training"), *(NAMES.identity("serving", each) for each in NAMES.environments)]
    return {path: f"00000000-0000-0000-0000-{number:012}" for number, path in enumerate(paths)}


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a link to the project that the emulator's containers are made of."""
    path = tmp_path_factory.mktemp("emulator") / "project"
    path.symlink_to(original("classification"))
    return path


@pytest.fixture(scope="module")
def emulated(link: Path) -> Iterator[EmulatedSubscription]:
    """Return a subscription in which everything is made."""
    if not AZURITE.exists():
        message = f"{AZURITE} is missing: .ci/run tells how azurite is installed"
        if DEMANDED:
            pytest.fail(message)
        pytest.skip(message)
    package = str(original("classification") / "src")
    with emulated_subscription(link.parent, NAMES.storage, runs=True, PYTHONPATH=package) as found:
        serve = [sys.executable, "-m", "twoloops", "serve"]
        found.control(command=serve, folder=str(link), python=sys.executable, rights=rights())
        found.make(NAMES, identities())
        yield found


@pytest.fixture
def logged_in(emulated: EmulatedSubscription, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedSubscription]:
    """Let this process be logged in to the subscription."""
    for name, value in emulated.environment.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    yield emulated
    forget_clients()
