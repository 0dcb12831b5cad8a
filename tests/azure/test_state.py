"""Terraform's state on Azure's storage, for real: azurite, reached by Azure's own names, with a flow's login."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import need
from tests.support.azure.state import SUBSCRIPTION, TENANT
from tests.support.azure.subscription import CLIENT, EmulatedSubscription, demand_azurite, emulated_subscription
from tests.support.terraform import layer

ACCOUNT = "stchurn000000"
ROOT = """
output "environment" {
  value = terraform.workspace
}
"""


@pytest.fixture
def subscription(tmp_path: Path) -> Iterator[EmulatedSubscription]:
    """Return a subscription that has the container of the state, and nothing else."""
    demand_azurite()
    folder = tmp_path / "emulator"
    folder.mkdir()
    with emulated_subscription(folder, ACCOUNT) as found:
        made = requests.put(
            f"https://{ACCOUNT}.blob.core.windows.net/state",
            params={"restype": "container"},
            headers={"Authorization": f"Bearer {found.storage_token()}", "x-ms-version": "2023-11-03"},
            proxies={"https": found.environment["HTTPS_PROXY"]},
            verify=found.environment["REQUESTS_CA_BUNDLE"],
            timeout=10,
        )
        assert made.status_code == 201, made.text
        yield found


def test_a_state_is_kept_for_each_environment_and_locked(subscription: EmulatedSubscription, tmp_path: Path) -> None:
    need("terraform")
    root = tmp_path / "root"
    root.mkdir()
    text = (layer("azure") / "environment/versions.tf").read_text(encoding="utf-8")
    backend = text[text.index('  backend "azurerm"') : text.index("# Nothing is registered")]
    (root / "main.tf").write_text(f"terraform {{\n{backend}{ROOT}", encoding="utf-8")
    (tmp_path / "state.tfbackend").write_text(f'storage_account_name = "{ACCOUNT}"\n', encoding="utf-8")
    login = {
        "ARM_TENANT_ID": TENANT,
        "ARM_CLIENT_ID": CLIENT,
        "ARM_SUBSCRIPTION_ID": SUBSCRIPTION,
        "ARM_USE_OIDC": "true",
        "ARM_OIDC_TOKEN_FILE_PATH": subscription.environment["AZURE_FEDERATED_TOKEN_FILE"],
        "CHECKPOINT_DISABLE": "1",
    }

    def run(*words: str, workspace: str | None = "production") -> subprocess.CompletedProcess[str]:
        own = os.environ | subscription.environment | login | ({"TF_WORKSPACE": workspace} if workspace else {})
        command = ["terraform", *words, "-no-color"]
        return subprocess.run(command, cwd=root, env=own, capture_output=True, text=True, check=False)

    def do(*words: str, workspace: str | None = "production") -> str:
        done = run(*words, workspace=workspace)
        assert done.returncode == 0, done.stderr
        return done.stdout

    do("init", "-input=false", "-reconfigure", "-backend-config=../state.tfbackend", workspace=None)
    for name in ("staging", "production"):
        do("workspace", "select", "-or-create=true", name, workspace=None)  # as bootstrap.sh
        do("apply", "-auto-approve", workspace=name)
    assert do("output", "-raw", "environment") == "production"
    asked = requests.Session()
    asked.trust_env = False  # or a bundle of this machine comes before the one below
    asked.headers.update({"Authorization": f"Bearer {subscription.storage_token()}", "x-ms-version": "2023-11-03"})
    asked.proxies = {"https": subscription.environment["HTTPS_PROXY"]}
    asked.verify = subscription.environment["REQUESTS_CA_BUNDLE"]
    base = f"https://{ACCOUNT}.blob.core.windows.net/state"
    listed = asked.get(base, params={"restype": "container", "comp": "list"}, timeout=10).text
    # As the right of an environment to write its own state names it: bootstrap/identities.tf.
    assert "<Name>environment.tfstateenv:production</Name>" in listed
    lease = {"x-ms-lease-action": "acquire", "x-ms-lease-duration": "-1"}
    state = f"{base}/environment.tfstateenv:production"
    taken = asked.put(state, params={"comp": "lease"}, headers=lease, timeout=10)
    assert taken.status_code == 201, taken.text
    refused = run("apply", "-auto-approve")
    assert refused.returncode == 1
    assert "Error acquiring the state lock" in refused.stderr
    do("apply", "-auto-approve", workspace="staging")  # another environment goes on
