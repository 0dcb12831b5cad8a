"""A subscription on the emulator, with azurite beside it, which has what infra/ makes; without Terraform.

What Terraform makes is tested with Terraform. Here it stands for a subscription whose infrastructure is applied.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from twoloops.platforms.azure import preflight

from commands.rendering import TEMPLATE
from tests.support.tools import DEMANDED

from . import edge
from .state import LEARNING, REGION, SUBSCRIPTION, TENANT, Json

AZURITE = TEMPLATE / ".tools/node_modules/.bin/azurite-blob"
ISSUER = "https://token.example"
CLIENT = "33333333-3333-3333-3333-333333333333"
SUBJECT = "repo:ml-team/churn:environment:production"
AUDIENCE = "api://AzureADTokenExchange"


def demand_azurite() -> None:
    """Skip the test where azurite is not installed; CI skips none."""
    if not AZURITE.exists():
        message = f"{AZURITE} is missing: .ci/run tells how azurite is installed"
        if DEMANDED:
            pytest.fail(message)
        pytest.skip(message)


def assertion(subject: str = SUBJECT, *, issuer: str = ISSUER, audience: str = AUDIENCE, seconds: int = 600) -> str:
    """Return a code host's token of a job; nobody has signed it."""
    claims = {"iss": issuer, "sub": subject, "aud": audience, "exp": int(time.time()) + seconds}
    parts = (b'{"alg":"RS256"}', json.dumps(claims).encode(), b"unsigned")
    return ".".join(base64.urlsafe_b64encode(each).decode().rstrip("=") for each in parts)


class EmulatedSubscription:
    """A subscription on the emulator."""

    def __init__(self, environment: dict[str, str], plain_port: int, folder: Path, tracking_port: int) -> None:
        """Keep the environment in which programs find the emulator, and where a server of MLflow is to be."""
        self.environment, self._control = environment, f"http://127.0.0.1:{plain_port}/-control"
        self._folder, self._tracking_port = folder, tracking_port

    def tell(self, **content: Any) -> Json:
        """Tell the emulator what a test wants, and return what it knows."""
        request = urllib.request.Request(  # noqa: S310
            self._control, json.dumps(content).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            found: Json = json.load(answer)
        return found

    def control(self, **settings: Any) -> None:
        """Set how the emulator behaves: the fields of state.Control."""
        self.tell(control=settings)

    def refuse(self, action: str, status: int, code: str, message: str = "It is refused.", times: int = 100) -> None:
        """Let the next calls of an action be refused."""
        fault = {"action": action, "status": status, "code": code, "message": message, "times": times}
        self.control(refuse=[fault])

    def make(self, names: Any, roles: dict[str, str]) -> None:
        """Make what infra/ makes, as far as the verbs meet it.

        Args:
            names: `account.Names` of the project.
            roles: client identifiers by the paths of identities.
        """
        resources: dict[str, Json] = {}
        store = {"datastoreType": "AzureBlob", "accountName": names.storage, "containerName": "project"}
        for room in (None, *names.environments):
            workspace = names.workspace(room)
            resources[workspace] = {
                "location": REGION,
                "type": f"{LEARNING}/workspaces",
                "properties": {"provisioningState": "Succeeded"},
            }
            resources[f"{workspace}/datastores/project"] = {"properties": store}
            for cluster in ("train", "score"):
                resources[f"{workspace}/computes/{cluster}"] = {"properties": {"computeType": "AmlCompute"}}
        here = f"/subscriptions/{names.subscription}/providers"
        for provider in preflight.PROVIDERS:
            resources[f"{here}/{provider}"] = {"registrationState": "Registered"}
        resources[f"{here}/Microsoft.Authorization/permissions"] = {"value": [{"actions": ["*"], "notActions": []}]}
        machines = {"Standard_D4s_v5": "DSv5", "Standard_D2as_v4": "DASv4", "Standard_D2as_v5": "DASv5"}
        sizes = [
            {"name": name, "family": f"standard{family}Family", "vCPUs": int(name[10])}
            for name, family in machines.items()
        ]
        limits = [
            {
                "name": {
                    "value": f"standard{family}Family",
                    "localizedValue": f"Standard {family} Family Cluster {kind}",
                },
                "limit": limit,
                "currentValue": 0,
            }
            for family in machines.values()
            for kind, limit in (("Dedicated vCPUs", 100), ("Low Priority vCPUs", 0))
        ]
        resources[f"{here}/{LEARNING}/locations/{REGION}/vmSizes"] = {"value": sizes}
        resources[f"{here}/{LEARNING}/locations/{REGION}/usages"] = {"value": limits}
        for path, client in roles.items():
            resources[path] = {"properties": {"clientId": client, "principalId": client}}
        self.tell(resources=resources)
        address = f"https://{names.storage}.blob.core.windows.net/project"
        token = self.storage_token()
        made = requests.put(
            address,
            params={"restype": "container"},
            headers={"Authorization": f"Bearer {token}", "x-ms-version": "2023-11-03"},
            proxies={"https": self.environment["HTTPS_PROXY"]},
            verify=self.environment["REQUESTS_CA_BUNDLE"],
            timeout=10,
        )
        assert made.status_code in (201, 409), made.text

    @contextmanager
    def tracking(self) -> Iterator[None]:
        """Let workspaces be MLflow's servers: one that is real, behind all of them."""
        command = [sys.executable, "-m", "tests.support.azure.tracking", str(self._tracking_port), str(self._folder)]
        with (self._folder / "tracking.log").open("wb") as log:
            server = subprocess.Popen(command, cwd=TEMPLATE, stdout=log, stderr=log)
        try:
            _wait_for([server], [self._tracking_port])
            yield
        finally:
            server.terminate()
            server.wait(30)

    def storage_token(self) -> str:
        """Return a token with which tests look into the storage."""
        from .state import mint

        return mint("a test", "https://storage.azure.com")


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def emulated_subscription(folder: Path, account: str, **environment: str) -> Iterator[EmulatedSubscription]:
    """Give a subscription on an emulator of its own; somebody is logged in to it by a code host's token.

    Args:
        folder: for certificates, logs and what is stored.
        account: the storage account.
        environment: of containers.
    """
    edge.make_certificates(folder)
    secure, plain, proxy, storage, tracking = _free_ports(5)
    (folder / "token").write_text(assertion(), encoding="utf-8")
    authority = str(folder / "ca.pem")
    edge_variables = {
        "HTTPS_PROXY": f"http://127.0.0.1:{proxy}",
        "NO_PROXY": "localhost",
        "REQUESTS_CA_BUNDLE": authority,
        "SSL_CERT_FILE": authority,
    }
    login = {
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_FEDERATED_TOKEN_FILE": str(folder / "token"),
    }
    key = base64.b64encode(b"unused, for all logins are tokens").decode()
    store = [
        *(str(AZURITE), "--blobPort", str(storage), "--location", str(folder / "storage"), "--oauth", "basic"),
        *("--cert", str(folder / "server.pem"), "--key", str(folder / "server.key"), "--skipApiVersionCheck"),
        *("--silent", "--disableTelemetry"),
    ]
    words = [str(folder), *map(str, (secure, plain, proxy, storage))]
    with (folder / "log").open("wb") as log:
        started = [
            subprocess.Popen(store, env=os.environ | {"AZURITE_ACCOUNTS": f"{account}:{key}"}, stdout=log, stderr=log),
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.azure.emulator", *words],
                cwd=TEMPLATE,
                env=os.environ | edge_variables | environment | {"EMULATOR_TRACKING_PORT": str(tracking)},
                stdout=log,
                stderr=log,
            ),
        ]
    found = EmulatedSubscription(edge_variables | login, plain, folder, tracking)
    try:
        _wait_for(started, [storage, secure, plain, proxy])
        trusted = {"client_id": CLIENT, "issuer": ISSUER, "subject": SUBJECT, "audience": AUDIENCE}
        found.tell(trusted=[trusted])
        yield found
    finally:
        for each in started:
            each.terminate()
        for each in started:
            each.wait(30)


def _wait_for(started: list[subprocess.Popen[bytes]], ports: list[int]) -> None:
    deadline = time.monotonic() + 300  # MLflow loads for a minute where others work too
    for port in ports:
        while True:
            assert all(each.poll() is None for each in started), "the emulator, or azurite, has ended"
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert time.monotonic() < deadline, f"nothing listens at {port}"
            time.sleep(0.1)


__all__ = ["SUBSCRIPTION", "TENANT", "EmulatedSubscription", "assertion", "emulated_subscription"]
