"""The cluster's part of the infrastructure: its refusals in words, and what infra/bootstrap has left there."""

from __future__ import annotations

import os
import re

from twoloops import config
from twoloops.contracts.platform import Plan
from twoloops.paths import paths
from twoloops.platforms.kubernetes import deployed, kubeconfig, preflight
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


def _monitors(environment: str) -> bool:
    """Say whether an environment is to have alerts, as its settings say; the block of each ends with a brace."""
    path = paths().infrastructure / "environment/environments.auto.tfvars"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    block = re.search(rf'^\s*"?{re.escape(environment)}"?\s*=\s*{{(.*?)^\s*}}', text, re.DOTALL | re.MULTILINE)
    return not (block and re.search(r"^\s*monitors\s*=\s*false\b", block[1], re.MULTILINE))


class KubernetesInfrastructure(TerraformInfrastructure):
    """Terraform with the providers of Kubernetes and Helm."""

    refusals = REFUSALS

    def plan(self, environment: str) -> Plan:
        """Look whether the cluster has what the project uses, then what would change."""
        config.current().check_environment(environment)
        preflight.check(monitors=_monitors(environment))
        return super().plan(environment)

    def login_variables(self) -> dict[str, str]:
        """Return the kubeconfig and its context in the providers' own variables: they do not read kubectl's."""
        files = os.environ.get(kubeconfig.VARIABLE) or str(kubeconfig.DEFAULT.expanduser())
        context = kubeconfig.context(chosen().cluster)
        return {"KUBE_CONFIG_PATHS": files, **({"KUBE_CTX": context} if context else {})}

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
