"""Which tokens may take which role: what a code host's file and AWS's file of bootstrap/ say together."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from commands.rendering import render
from tests.support.tools import need

from .harness import ASKED

ROLE = "arn:aws:iam::123456789012:role/churn--"
GITHUB = "repo:ml-team@1/churn@2:"
GITLAB = "project_path:ml-team/churn:ref_type:branch:ref:"
AZURE = "sc://ml-team/churn/churn-"
ANYONE, FIXED = "sts.amazonaws.com", "api://AzureADTokenExchange"
# By host: who issues the tokens, and for each role for whom one has to be and whose it may be.
TRUST: dict[str, tuple[str, dict[str, tuple[str, list[str]]]]] = {
    "github": (
        "token.actions.githubusercontent.com",
        {
            "plan": (ANYONE, [f"{GITHUB}pull_request", f"{GITHUB}ref:refs/heads/main"]),
            "train": (ANYONE, [f"{GITHUB}ref:refs/heads/main"]),
            "apply/dev-": (ANYONE, [f"{GITHUB}environment:dev-"]),
            "deploy/dev-": (ANYONE, [f"{GITHUB}environment:dev-"]),
            "apply/live": (ANYONE, [f"{GITHUB}environment:live"]),
            "deploy/live": (ANYONE, [f"{GITHUB}environment:live"]),
        },
    ),
    "gitlab": (
        "gitlab.com",
        {
            "plan": (f"{ROLE}ci-plan", [f"{GITLAB}*"]),
            "train": (f"{ROLE}ci-train", [f"{GITLAB}main"]),
            "apply/dev-": (f"{ROLE}dev-c6605--apply", [f"{GITLAB}main"]),
            "deploy/dev-": (f"{ROLE}dev-c6605--deploy", [f"{GITLAB}main"]),
            "apply/live": (f"{ROLE}live--apply", [f"{GITLAB}main"]),
            "deploy/live": (f"{ROLE}live--deploy", [f"{GITLAB}main"]),
        },
    ),
    "azure_devops": (
        "vstoken.dev.azure.com/01234567-89ab-cdef-0123-456789abcdef",
        {
            "plan": (FIXED, [f"{AZURE}plan"]),
            "train": (FIXED, [f"{AZURE}train"]),
            "apply/dev-": (FIXED, [f"{AZURE}apply-dev-"]),
            "deploy/dev-": (FIXED, [f"{AZURE}deploy-dev-"]),
            "apply/live": (FIXED, [f"{AZURE}apply-live"]),
            "deploy/live": (FIXED, [f"{AZURE}deploy-live"]),
        },
    ),
}


@pytest.fixture(params=TRUST)
def told(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """Return a code host and Terraform's locals for it; that this needs no provider, shows that they know no cloud."""
    need("terraform")
    folder, alone = tmp_path / "project", tmp_path / "alone"
    render(folder, {"infrastructure": "aws", "ci_provider": request.param, "environments": "dev-, live"})
    alone.mkdir()
    for name in ("code_host.tf", "trust.tf"):
        shutil.copy(folder / "infra/bootstrap" / name, alone)
    shutil.copytree(folder / "infra/project", alone / "project")
    (alone / "main.tf").write_text('module "project" {\n  source = "./project"\n}\n', encoding="utf-8")

    def terraform(*words: str, said: str = "") -> str:
        command = ["terraform", *words]
        return subprocess.run(command, cwd=alone, input=said, capture_output=True, text=True, check=True).stdout

    terraform("init", "-input=false")
    assert not (alone / ".terraform.lock.hcl").exists()
    given = [f"-var={name}={value}" for name, value in ASKED[request.param].items()]
    answer = terraform("console", *given, said="jsonencode({ issuer = local.issuer, trust = local.trust })")
    return request.param, json.loads(json.loads(answer))


def test_each_role_trusts_the_tokens_of_its_jobs_alone(told: tuple[str, dict[str, Any]]) -> None:
    host, found = told
    issuer, trust = TRUST[host]
    assert found["issuer"] == issuer
    assert {role: (each["audience"], each["subjects"]) for role, each in found["trust"].items()} == trust
