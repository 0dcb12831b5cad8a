"""The cluster's part of the infrastructure: its refusals in words, and what infra/bootstrap has left there."""

from __future__ import annotations

from twoloops.platforms.kubernetes import deployed, kubeconfig
from twoloops.platforms.kubernetes.cluster import chosen, settings
from twoloops.platforms.kubernetes.login import AUTHORITY
from twoloops.platforms.shared.infrastructure import FlowSettings, TerraformInfrastructure
from twoloops.platforms.shared.terraform import AGAIN, Refusal

REFUSALS = (
    Refusal(r"Unauthorized", "the cluster does not know this login, or it has expired.", f"Log in again. {AGAIN}"),
    Refusal(
        r"is forbidden: (?P<found>.{1,300})",
        "the login may not do that: {found}",
        "infra/README.md tells which role may do what. " + AGAIN,
    ),
    Refusal(
        r"no matches for kind \"(?P<found>\w+)\"",
        "the cluster has no {found}: the operator that brings it is missing.",
        "infra/README.md tells how the platform team installs it. " + AGAIN,
    ),
    Refusal(
        r"connection refused|no such host|i/o timeout",
        "the cluster's API server does not answer.",
        f"Is this machine connected? {AGAIN}",
    ),
)


class KubernetesInfrastructure(TerraformInfrastructure):
    """Terraform with the providers of Kubernetes and Helm."""

    refusals = REFUSALS

    def read_flow_settings(self) -> FlowSettings:
        """Return the flows' roles, and in the region's place the address of the cluster."""
        known = settings()
        return FlowSettings(chosen().cluster, known.roles, known.tracking_uri)

    def variables(self) -> dict[str, str]:
        """Return the variables that the flows read, with the authority of the cluster's certificate."""
        found = super().variables()
        authority = kubeconfig.authority(chosen().cluster)
        return found | ({AUTHORITY: authority} if authority else {})

    def variable_names(self) -> list[str]:
        """Return the names of the variables, whether there is a cluster or not."""
        return [*super().variable_names(), AUTHORITY]

    def deployed(self, environment: str) -> list[str]:
        """Return in words what deployments have made: a service, and a schedule that scores."""
        return deployed.list_deployed(environment)
