"""AWS's part of the infrastructure: its refusals in words, and what infra/bootstrap has left in the account."""

from __future__ import annotations

from twoloops.platforms.aws import deployed
from twoloops.platforms.aws.account import account, settings
from twoloops.platforms.shared.infrastructure import FlowSettings, TerraformInfrastructure
from twoloops.platforms.shared.terraform import AGAIN, Refusal

REFUSALS = (
    Refusal(
        r"AWS account ID not allowed: (?P<found>\d+)",
        "the login is of the account {found}, and not of the project's.",
        "infra/README.md names the account.",
    ),
    Refusal(
        r"ExpiredToken|RequestExpired|security token .* is expired",
        "the login has expired.",
        f"Log in again. {AGAIN}",
    ),
    Refusal(
        r"No valid credential sources found(?:.*?Error: (?P<found>.{1,300}))?",
        "Terraform finds no login: {found}",
        "Log in; in a flow, the verb 'bootstrap' sets the roles.",
    ),
    Refusal(
        r"AccessDenied|AuthorizationError|not authorized to perform: (?P<found>[\w:]+)",
        "the login may not do that: {found}.",
        "infra/README.md tells which role may do what. " + AGAIN,
    ),
)


class AwsInfrastructure(TerraformInfrastructure):
    """Terraform with AWS's provider."""

    refusals = REFUSALS

    def read_flow_settings(self) -> FlowSettings:
        """Return the flows' roles and region, once the login is of the project's account."""
        known = settings()
        return FlowSettings(account().region, known.flow_role_arns, known.tracking_uri)

    def deployed(self, environment: str) -> list[str]:
        """Return in words what deployments have made: an endpoint, and a pipeline that scores."""
        return deployed.list_deployed(environment)
