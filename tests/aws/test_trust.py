"""Which tokens may take which role: what a code host's file and AWS's file of bootstrap/ say together."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws.harness import ASKED
from tests.support.projects import lay_out
from tests.support.tools import need
from tests.support.trust import Trust, trusts

# By host: who issues the tokens, and how they name the repository.
ISSUERS = {
    "github": ("token.actions.githubusercontent.com", "repo:ml-team@1/churn@2"),
    "gitlab": ("gitlab.com", "project_path:ml-team/churn"),
    "azure_devops": ("vstoken.dev.azure.com/01234567-89ab-cdef-0123-456789abcdef", "sc://ml-team/churn"),
}


@pytest.fixture(params=ISSUERS)
def told(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """Return a code host and Terraform's locals for it; that this needs no provider, shows that they know no cloud."""
    need("terraform")
    folder, alone = tmp_path / "project", tmp_path / "alone"
    lay_out(folder, {"infrastructure": "aws", "ci_provider": request.param, "environments": "dev-, live"})
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
    issuer, repository = ISSUERS[host]
    assert found["issuer"] == issuer
    expected = trusts(host, repository, {"dev-": "dev-c6605", "live": "live"})
    assert {role: Trust(each["audience"], tuple(each["subjects"])) for role, each in found["trust"].items()} == expected
