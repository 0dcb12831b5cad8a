"""Which tokens may take which role: what a code host's file and AWS's file of bootstrap/ say together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.projects import lay_out
from tests.support.terraform import ASKED
from tests.support.trust import Trust, read_trust, trusts

# By host: who issues the tokens, and how they name the repository.
ISSUERS = {
    "github": ("token.actions.githubusercontent.com", "repo:ml-team@1/churn@2"),
    "gitlab": ("gitlab.com", "project_path:ml-team/churn"),
    "azure_devops": ("vstoken.dev.azure.com/01234567-89ab-cdef-0123-456789abcdef", "sc://ml-team/churn"),
}


@pytest.fixture(params=ISSUERS)
def told(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """Return a code host and Terraform's locals for it."""
    folder = tmp_path / "project"
    lay_out(folder, {"infrastructure": "aws", "ci_provider": request.param, "environments": "dev-, live"})
    return request.param, read_trust(folder, ASKED[request.param], tmp_path / "alone")


def test_each_role_trusts_the_tokens_of_its_jobs_alone(told: tuple[str, dict[str, Any]]) -> None:
    host, found = told
    issuer, repository = ISSUERS[host]
    assert found["issuer"] == issuer
    expected = trusts(host, repository, {"dev-": "dev-c6605", "live": "live"})
    assert {role: Trust(each["audience"], tuple(each["subjects"])) for role, each in found["trust"].items()} == expected
