"""The flows of a project on Azure take their roles: each code host's own tokens, against the trust of infra/bootstrap.

Real are the verbs `bootstrap` and `login`, the flows' order and conditions, and what Terraform makes of trust. The
emulator is Entra. A stand-in is in the place of the other verbs; tests/azure runs those.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from twoloops.platforms.azure.account import Names

from tests.support.azure.roles import flow_rights
from tests.support.azure.state import REGION, SUBSCRIPTION, TENANT
from tests.support.azure.subscription import EmulatedSubscription, demand_azurite, emulated_subscription
from tests.support.trust import read_trust

from .hosts import BY_HAND, HOSTS, SCHEDULE
from .project import FlowProject, begin

# What a host's flows do on a cloud, test_cloud.py shows, and which tokens are trusted, tests/azure/test_trust.py.
pytestmark = [pytest.mark.slow, pytest.mark.twin]
ANSWERS: dict[str, Any] = {
    "infrastructure": "azure",
    "serving_mode": "online_and_batch",
    "azure_subscription": SUBSCRIPTION,
    "azure_tenant": TENANT,
}
NAMES = Names(SUBSCRIPTION, REGION, "churn", ("staging", "production"))
TUNED = "infra/environment/environments.auto.tfvars"
LOGINS = {
    "train": ["train", "deploy/staging", "deploy/production"],
    "monitor": ["train"],
    "infrastructure": ["plan", "apply/staging", "plan", "apply/production"],
}


def trust(project: FlowProject, subscription: EmulatedSubscription, login: Mapping[str, str], folder: Path) -> None:
    """Let Entra trust what infra/bootstrap would have it trust, for the repository as the code host knows it."""
    code = "import json; from twoloops.hosts import host; print(json.dumps(host.identifiers()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.folder,
        env=project.environment(**login),
        capture_output=True,
        text=True,
        check=True,
    )
    found = read_trust(project.folder, json.loads(done.stdout), folder)
    clients, _, _ = flow_rights(NAMES)
    subscription.tell(
        trusted=[
            {
                "client_id": clients[role],
                "issuer": f"https://{found['issuer']}",
                "subject": subject,
                "audience": said["audience"],
            }
            for role, said in found["trust"].items()
            for subject in said["subjects"]
        ]
    )


@pytest.mark.parametrize("provider", HOSTS)
def test_each_flow_takes_its_roles(provider: str, tmp_path: Path) -> None:
    demand_azurite()
    project = begin(tmp_path / "churn", provider, real=("login",), **ANSWERS)
    (tmp_path / "emulator").mkdir()
    with (
        emulated_subscription(tmp_path / "emulator", NAMES.storage) as subscription,
        HOSTS[provider].around(project) as code_host,
    ):
        clients, paths, _ = flow_rights(NAMES)
        subscription.make(NAMES, paths)
        # A machine of the code host has a way to the cloud, and no login.
        way = {name: value for name, value in subscription.environment.items() if not name.startswith("AZURE_")}
        way["NO_PROXY"] = "localhost,127.0.0.1"
        project.installed |= way
        with code_host.owner() as login:
            trust(project, subscription, login, tmp_path / "alone")
            owner: dict[str, Any] = {**subscription.environment, **project.installed, **login}
            project.verb("bootstrap", "--yes", **owner)

        def logins() -> list[str]:
            """Return the roles that were taken since the last call; one that is taken again at once counts as one."""
            names = {client: role for role, client in clients.items()}
            asked = subscription.tell(forget=True)["calls"]
            taken = [names[each["who"]] for each in asked if each["action"] == "login" and each["who"] in names]
            return [name for name, _ in groupby(taken)]

        logins()
        for flow, expected in LOGINS.items():
            told = code_host.run(flow, SCHEDULE if flow == "monitor" else BY_HAND)
            assert told.succeeded, told.log
            assert logins() == expected
        project.edit("README.md", "# Churn", "# Churn, changed")
        project.edit(TUNED, "error_percent        = 1 ", "error_percent        = 2 ")
        told = code_host.change()
        assert told.succeeded, told.log
        if provider == "gitlab":
            # A change's branch has any name, and Azure compares to the letter.
            assert "No login to Azure: Taking the role plan: Azure trusts no token of this job" in told.log
        assert logins() == ([] if provider == "gitlab" else ["plan"])
        with code_host.mixed_up():
            told = code_host.run("infrastructure")
        assert not told.succeeded
        assert "Azure trusts no token of this job" in told.log
        assert logins() == []
