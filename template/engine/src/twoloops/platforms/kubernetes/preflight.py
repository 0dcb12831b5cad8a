"""What a cluster has to have, looked at before anything is made: its version, and the kinds that operators bring.

Each is asked of the API server's own list of groups, which everybody who is logged in may read:
https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api.
"""

from __future__ import annotations

from dataclasses import dataclass

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes.api import Api, explain_errors
from twoloops.platforms.kubernetes.cluster import api, chosen

AT_LEAST = (1, 27)  # schedules with a time zone
DOCUMENTATION = "infra/README.md says how the platform team installs it."


@dataclass(frozen=True)
class Need:
    """A group of kinds that the project uses."""

    group: str  # with the least version that has them
    brought_by: str
    instead: str  # what the project does without


def needs(*, monitors: bool) -> list[Need]:
    """Return what the project uses beside Kubernetes' own kinds.

    Args:
        monitors: whether the environment has alerts.
    """
    found = []
    if monitors:
        instead = "set monitors = false in infra/environment/environments.auto.tfvars"
        found.append(Need("monitoring.coreos.com/v1", "the Prometheus Operator", instead))
    if config.current().online and chosen().serving_platform == "kserve":
        instead = "'update-template --answer with_kserve=false'"
        found.append(Need("serving.kserve.io/v1beta1", "KServe", instead))
    return found


def check(*, monitors: bool) -> None:
    """Look whether the cluster has what the project uses.

    Args:
        monitors: whether the environment has alerts.

    Raises:
        ProjectError: it is too old, or an operator is missing; all of them are named.
    """
    server = api()
    with explain_errors("Looking what the cluster has"):
        version, groups = _version(server), _groups(server)
    if version < AT_LEAST:
        raise ProjectError(
            f"The cluster runs Kubernetes {'.'.join(map(str, version))}, and has to run "
            f"{'.'.join(map(str, AT_LEAST))} or newer.",
            hint="Ask the platform team when it is updated.",
        )
    missing = [each for each in needs(monitors=monitors) if each.group not in groups]
    if missing:
        lines = [f"  - {each.brought_by}, which brings {each.group}. Without it: {each.instead}" for each in missing]
        raise ProjectError("The cluster lacks what this project uses:\n" + "\n".join(lines), hint=DOCUMENTATION)


def _version(server: Api) -> tuple[int, int]:
    said = server.call("GET", "/version")
    # Clouds write 27+ for what they have repaired.
    return int(said["major"]), int("".join(each for each in said["minor"] if each.isdigit()))


def _groups(server: Api) -> set[str]:
    listed = server.call("GET", "/apis")
    return {each["groupVersion"] for group in listed["groups"] for each in group["versions"]}
