"""The rendered Terraform against the provider's schemas, and its own tests with mocks."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from twoloops.platforms.azure.account import Names

from tests.conftest import need
from tests.support.answers import hostile
from tests.support.terraform import Make, demand_no_findings, demand_valid, demand_workspace
from tests.support.twins import twins

EVERYTHING: dict[str, Any] = {"serving_mode": "online_and_batch", "private_network": True}
SUBSCRIPTION = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.usefixtures("providers")
@pytest.mark.parametrize("root", ["bootstrap", "environment"])
def test_valid(root: str, project: Make) -> None:
    demand_valid(project(EVERYTHING), root)


@pytest.mark.slow
@pytest.mark.usefixtures("providers")
@pytest.mark.parametrize("provider", ["github", *twins(["gitlab", "azure_devops"])])
def test_its_own_tests_pass(provider: str, project: Make) -> None:
    answers = {"ci_provider": provider, **EVERYTHING}
    terraform = project(answers)
    terraform.run("", "init", "-input=false")
    said = terraform.run("", "test", env={"TF_WORKSPACE": "production"}).stdout
    assert re.search(r"Success! 1\d passed, 0 failed", said), said
    demand_workspace(terraform)


@pytest.mark.slow
@pytest.mark.twin
@pytest.mark.usefixtures("providers")
def test_its_own_tests_pass_with_batches_alone(project: Make) -> None:
    """One environment alone: it lives with what trains."""
    terraform = project({"serving_mode": "batch"})
    terraform.run("", "init", "-input=false")
    said = terraform.run("", "test", env={"TF_WORKSPACE": "production"}).stdout
    assert "0 failed" in said


@pytest.mark.parametrize(
    ("package", "environments"),
    [
        ("churn", ("staging", "production")),
        ("churn", ("production",)),
        ("staging", ("staging", "production")),
        ("churn", ("shared", "state", "production")),
        ("customer_churn_of_the_year", ("dev", "pre-production-eu", "a--b", "c-", "production")),
        ("spending_by_it", ("s", "p")),
    ],
)
def test_names_are_those_of_the_verbs(package: str, environments: tuple[str, ...], project: Make) -> None:
    """Nothing tells the verbs what Terraform has made: they compute the same names."""
    need("terraform")
    terraform = project({"package_name": package, "azure_subscription": SUBSCRIPTION})
    terraform.run("project", "init")
    terraform.run("project", "apply", "-auto-approve", f"-var=environments={json.dumps(environments)}")
    told = json.loads(terraform.run("project", "output", "-json", plain=True).stdout)
    found = {name: each["value"] for name, each in told.items()}
    names = Names(SUBSCRIPTION, "westeurope", package, environments)
    assert names.project == found["project"]
    assert (names.storage, names.registry) == (found["storage"], found["registry"])
    for name in (None, *environments):
        assert names.group(name).rpartition("/")[2] == found["groups"][name or "SHARED"]
        assert names.workspace(name).rpartition("/")[2] == found["workspaces"][name or "SHARED"]
        assert names.vault(name) == found["vaults"][name or "SHARED"]
        identity = names.identity("ci-deploy", name).rpartition("/")[2]
        assert identity == f"{found['identities'][name or 'SHARED']}-ci-deploy"
    ground = (terraform.folder / "bootstrap/main.tf").read_text(encoding="utf-8")
    assert '"log-${module.project.project}"' in ground
    assert names.logs == f"{names.group()}/providers/Microsoft.OperationalInsights/workspaces/log-{found['project']}"
    endpoints = {name: names.endpoint(name) for name in environments}
    assert endpoints == found["endpoints"]
    # https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
    workspaces = [names.workspace(name).rpartition("/")[2] for name in (None, *environments)]
    for text, longest in [*((each, 32) for each in endpoints.values()), *((each, 33) for each in workspaces)]:
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", text), text
        assert len(text) <= longest, text
    assert re.fullmatch(r"[a-z0-9]{3,24}", names.storage)
    assert len(set(endpoints.values())) == len(environments)
    backend = (terraform.folder / "state.tfbackend").read_text(encoding="utf-8")
    assert f'storage_account_name = "{names.storage}"' in backend


def test_hostile_answers_arrive_as_they_were_given(project: Make) -> None:
    answers = hostile("github")
    text = (project(answers).folder / "project/variables.tf").read_text(encoding="utf-8")
    for variable in ("owner", "contact", "repository"):
        assert f'  default     = "{answers[variable]}"' in text.split(f'variable "{variable}" {{')[1].split("\n}")[0]


@pytest.mark.slow
def test_checkov_finds_nothing_and_no_exception_is_left_over(project: Make) -> None:
    """Every exception stands in its place with a reason; without them, checkov finds exactly what they excuse."""
    demand_no_findings(project(EVERYTHING).folder, least=40)
