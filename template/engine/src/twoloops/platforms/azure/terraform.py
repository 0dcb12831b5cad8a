"""Azure's part of the infrastructure: its refusals in words, and what infra/bootstrap has left in the subscription."""

from __future__ import annotations

from collections.abc import Mapping

from twoloops.platforms.azure import deployed, preflight
from twoloops.platforms.azure.account import account, check_made, find_client_id, flow_identity
from twoloops.platforms.azure.registry import tracking_uri
from twoloops.platforms.shared.infrastructure import FlowSettings, TerraformInfrastructure, role_names
from twoloops.platforms.shared.terraform import AGAIN, Refusal

REFUSALS = (
    Refusal(
        r"AADSTS700024|AADSTS70043|token (?:is|has) expired",
        "the login has expired.",
        f"Log in again. {AGAIN}",
    ),
    Refusal(
        r"AADSTS70021[123][^.]*",
        "Azure trusts no token of this job.",
        "infra/bootstrap names the repository and the environment whose jobs are trusted: apply it again.",
    ),
    Refusal(
        r"SubscriptionNotFound|InvalidAuthenticationTokenTenant",
        "the login does not reach the project's subscription.",
        "infra/README.md names the subscription and its tenant.",
    ),
    Refusal(
        r"could not configure AzureCli Authorizer|unable to build authorizer|Please run 'az login'",
        "Terraform finds no login.",
        "Log in, for example with 'az login'; in a flow, the verb 'login' does it.",
    ),
    Refusal(
        r"AuthorizationFailed.*?perform action '(?P<found>[^']+)'|AuthorizationPermissionMismatch",
        "the login may not do that: {found}.",
        "infra/README.md tells which role may do what. A role that was given minutes ago may take some more. " + AGAIN,
    ),
    Refusal(
        r"MissingSubscriptionRegistration.*?namespace '(?P<found>[^']+)'",
        "the subscription is not registered for {found}.",
        "An owner registers it once: 'az provider register --namespace {found}'. " + AGAIN,
    ),
    Refusal(
        r"(?:Vault|Workspace|workspace).{0,80}(?:soft.?deleted|deleted but recoverable)|ConflictError.*deleted state",
        "something of this name was deleted, and Azure still keeps it.",
        "infra/README.md tells how it is recovered or purged. " + AGAIN,
    ),
    Refusal(
        r"(?:StorageAccountAlreadyTaken|AlreadyInUse|NameUnavailable|already taken)",
        "a name that has to be unique in the world is taken.",
        "infra/README.md tells which names are made of what. " + AGAIN,
    ),
    Refusal(
        r"QuotaExceeded|exceeding approved .{0,40}[Qq]uota",
        "a quota of the subscription is used up.",
        "Request an increase in the portal (Quotas), or take another machine: infra/machines.yaml. " + AGAIN,
    ),
)


class AzureInfrastructure(TerraformInfrastructure):
    """Terraform with Azure's provider."""

    refusals = REFUSALS

    def read_flow_settings(self) -> FlowSettings:
        """Return the flows' identities and region, once the login reaches the project's subscription."""
        known = check_made()
        roles = {name: find_client_id(*flow_identity(name)) for name in role_names()}
        return FlowSettings(account().region, roles, tracking_uri(known))

    def check_login(self) -> None:
        """Look whether the login reaches the workspace that all share: who applies sees no other room's roles."""
        check_made()

    def make(self, identifiers: Mapping[str, str], *, ask: bool) -> None:
        """Look whether everything can be made, and apply infra/bootstrap."""
        preflight.check()
        super().make(identifiers, ask=ask)

    def deployed(self, environment: str) -> list[str]:
        """Return in words what deployments have made: an endpoint, and a schedule that scores."""
        return deployed.list_deployed(environment)
