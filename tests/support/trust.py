"""Which tokens of a code host may take which role: what a project's Terraform says, and what AWS's has to say."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .tools import need

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


def read_trust(project: Path, given: Mapping[str, str], alone: Path) -> dict[str, Any]:
    """Return Terraform's locals about trust; that this needs no provider, shows that they know no cloud.

    Args:
        project: the folder of a rendered project.
        given: what bootstrap/ asks for.
        alone: a folder to make, for what knows no cloud.
    """
    need("terraform")
    alone.mkdir()
    for name in ("code_host.tf", "trust.tf"):
        shutil.copy(project / "infra/bootstrap" / name, alone)
    shutil.copytree(project / "infra/project", alone / "project")
    (alone / "main.tf").write_text('module "project" {\n  source = "./project"\n}\n', encoding="utf-8")

    def terraform(*words: str, said: str = "") -> str:
        command = ["terraform", *words]
        return subprocess.run(command, cwd=alone, input=said, capture_output=True, text=True, check=True).stdout

    terraform("init", "-input=false")
    assert not (alone / ".terraform.lock.hcl").exists()
    options = [f"-var={name}={value}" for name, value in given.items()]
    answer = terraform("console", *options, said="jsonencode({ issuer = local.issuer, trust = local.trust })")
    found: dict[str, Any] = json.loads(json.loads(answer))
    return found


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
