"""Which tokens may take which identity: what a code host's file and Azure's of bootstrap/ say together, and Entra."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from twoloops.contracts.platform import Login, role_variable
from twoloops.errors import ProjectError
from twoloops.platforms import azure
from twoloops.platforms.azure import rest

from tests.support.azure.state import SUBSCRIPTION, TENANT
from tests.support.azure.subscription import EmulatedSubscription, assertion, demand_azurite, emulated_subscription
from tests.support.projects import lay_out
from tests.support.terraform import ASKED
from tests.support.trust import read_trust

EXCHANGE = "api://AzureADTokenExchange"
# By host: who issues the tokens, how they name the repository, and how the jobs of main and of an environment.
MAIN, LIVE = "main", "live"
ISSUERS = {
    "github": (
        "https://token.actions.githubusercontent.com",
        {
            "plan": ("repo:ml-team@1/churn@2:pull_request", EXCHANGE),
            "train": ("repo:ml-team@1/churn@2:ref:refs/heads/main", EXCHANGE),
            "apply-live": ("repo:ml-team@1/churn@2:environment:live", EXCHANGE),
            "deploy-live": ("repo:ml-team@1/churn@2:environment:live", EXCHANGE),
            "deploy-dev": ("repo:ml-team@1/churn@2:environment:dev", EXCHANGE),
        },
    ),
    "gitlab": (
        "https://gitlab.com",
        {
            role: ("project_path:ml-team/churn:ref_type:branch:ref:main", f"{EXCHANGE}/{role}")
            for role in ("plan", "train", "apply-live", "deploy-live", "deploy-dev")
        },
    ),
    "azure_devops": (
        "https://vstoken.dev.azure.com/01234567-89ab-cdef-0123-456789abcdef",
        {
            role: (f"sc://ml-team/churn/churn-{role}", EXCHANGE)
            for role in ("plan", "train", "apply-live", "deploy-live", "deploy-dev")
        },
    ),
}


@pytest.fixture(scope="module")
def subscription(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedSubscription]:
    """Return a subscription on the emulator."""
    demand_azurite()
    with emulated_subscription(tmp_path_factory.mktemp("emulator"), "stchurn000000") as found:
        yield found


@pytest.mark.parametrize("host", ISSUERS)
def test_a_job_takes_its_own_role_and_no_other(
    host: str, subscription: EmulatedSubscription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    answers = {"azure_subscription": SUBSCRIPTION, "azure_tenant": TENANT, "ci_provider": host}
    lay_out(project, {"infrastructure": "azure", "environments": "dev, live", **answers})
    found = read_trust(project, ASKED[host], tmp_path / "alone")
    issuer, tokens = ISSUERS[host]
    assert f"https://{found['issuer']}" == issuer
    # Of this host alone: the emulator keeps whom it has been told to trust.
    clients = {role: str(uuid.uuid4()) for role in sorted(found["trust"])}
    monkeypatch.chdir(project)
    for name, value in subscription.environment.items():
        monkeypatch.setenv(name, value)
    rest.credential.cache_clear()
    # What azurerm_federated_identity_credential makes of it: modules/identity.
    subscription.tell(
        trusted=[
            {"client_id": clients[role], "issuer": issuer, "subject": subject, "audience": trust["audience"]}
            for role, trust in found["trust"].items()
            for subject in trust["subjects"]
        ]
    )
    variables = {role_variable(role): client for role, client in clients.items()}

    def take(role: str, token: tuple[str, str]) -> bool:
        said = assertion(token[0], issuer=issuer, audience=token[1])
        try:
            azure.log_in(Login(role, said, variables, "a-run", 900, tmp_path))
        except ProjectError as error:
            if "trusts no token of this job" in str(error):
                return False
            raise
        return True

    taken = {(role, of) for role in tokens for of, token in tokens.items() if take(role, token)}
    # GitHub's tokens name the environment of a job, and not what the job does in it.
    alike = {("apply-live", "deploy-live"), ("deploy-live", "apply-live"), ("plan", "train")}
    assert taken == {(role, role) for role in tokens} | (alike if host == "github" else set())
    for role, (subject, audience) in tokens.items():
        assert not take(role, (subject.replace("churn", "churm"), audience)), "a repository of a like name"
