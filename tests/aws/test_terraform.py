"""The rendered Terraform against the real provider's schemas, and its own tests with mocks."""

from __future__ import annotations

import re

import pytest

from tests.support.answers import hostile
from tests.support.aws.harness import EVERYTHING
from tests.support.terraform import Make, demand_no_findings, demand_valid, demand_workspace

pytestmark = pytest.mark.usefixtures("providers")


@pytest.mark.parametrize("root", ["bootstrap", "environment"])
def test_valid(root: str, project: Make) -> None:
    demand_valid(project(EVERYTHING), root)


@pytest.mark.slow
def test_its_own_tests_pass(project: Make) -> None:
    answers = hostile("github", **EVERYTHING, aws_region="ap-southeast-1")
    terraform = project(answers)
    terraform.run("", "init", "-input=false")
    said = terraform.run("", "test", env={"TF_WORKSPACE": answers["environments"].split(", ")[-1]}).stdout
    assert re.search(r"Success! [3-9]\d passed, 0 failed", said), said


@pytest.mark.slow
def test_its_own_tests_pass_with_batches_alone(project: Make) -> None:
    terraform = project({"serving_mode": "batch", "ci_provider": "azure_devops"})
    terraform.run("", "init", "-input=false")
    chosen = [f"-filter=tests/{name}.tftest.hcl" for name in ("bootstrap", "environment")]
    assert "0 failed" in terraform.run("", "test", *chosen, env={"TF_WORKSPACE": "production"}).stdout


@pytest.mark.slow
def test_a_workspace_that_is_no_environment_is_refused(project: Make) -> None:
    demand_workspace(project({}))


@pytest.mark.slow
def test_checkov_finds_nothing_and_no_exception_is_left_over(project: Make) -> None:
    """Every exception stands in its place with a reason; without them, checkov finds exactly what they excuse."""
    demand_no_findings(project(EVERYTHING).folder, least=200)
