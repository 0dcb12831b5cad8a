"""Which tokens of a code host may take which role on AWS: for whom a token has to be, and whom it has to name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

ACCOUNT = "123456789012"
AWS, EXCHANGE = "sts.amazonaws.com", "api://AzureADTokenExchange"


@dataclass(frozen=True)
class Trust:
    """What a token has to say to get a role."""

    audience: str
    subjects: tuple[str, ...]

    def allows(self, claims: Mapping[str, str]) -> bool:
        """Say whether a token with these claims gets the role."""
        return claims["aud"] == self.audience and any(fnmatchcase(claims["sub"], each) for each in self.subjects)


def arn(name: str) -> str:
    """Return what AWS calls a role of the project `churn`."""
    return f"arn:aws:iam::{ACCOUNT}:role/churn--{name}"


def trusts(host: str, repository: str, environments: Mapping[str, str]) -> dict[str, Trust]:
    """Return whom each role of the project `churn` trusts.

    Args:
        host: github, gitlab or azure_devops.
        repository: as tokens of the host name it, such as repo:ml-team@1/churn@2.
        environments: the project's, each with what it is called in the names of roles.
    """
    roles = {"plan": "ci-plan", "train": "ci-train"}
    for name, short in environments.items():
        roles |= {f"{purpose}/{name}": f"{short}--{purpose}" for purpose in ("apply", "deploy")}
    return {role: _trust(host, repository, role, arn(name)) for role, name in roles.items()}


def _trust(host: str, repository: str, role: str, name: str) -> Trust:
    _, _, environment = role.partition("/")
    main = f"{repository}:ref:refs/heads/main"
    if host == "github":
        of_change = {"plan": (f"{repository}:pull_request", main), "train": (main,)}
        return Trust(AWS, of_change.get(role) or (f"{repository}:environment:{environment}",))
    if host == "gitlab":
        return Trust(name, (f"{repository}:ref_type:branch:ref:{'*' if role == 'plan' else 'main'}",))
    return Trust(EXCHANGE, (f"{repository}/churn-{role.replace('/', '-')}",))
