"""The rendered Terraform against the real provider's schemas, and its own tests with mocks."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import UV
from tests.support.answers import hostile
from tests.support.aws.harness import EVERYTHING

from .conftest import Make

pytestmark = pytest.mark.usefixtures("providers")
# In an environment of its own: it wants older versions of what the template's commands need.
CHECKOV = (UV, "tool", "run", "--from", "checkov>=3.2,<4", "checkov")


@pytest.mark.parametrize("root", ["bootstrap", "environment"])
def test_valid(root: str, project: Make) -> None:
    terraform = project(EVERYTHING)
    terraform.run(root, "init", "-backend=false", "-input=false")
    said = json.loads(terraform.run(root, "validate", "-json").stdout)
    assert said["valid"], said
    assert said["warning_count"] == 0, said


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
    terraform = project({})
    terraform.run("", "init", "-input=false")
    said = terraform.run("", "test", "-filter=tests/environment.tftest.hcl", code=1, env={"TF_WORKSPACE": "elsewhere"})
    assert "The workspace elsewhere is no environment." in said.stdout + said.stderr


def checkov(folder: Path) -> set[tuple[str, str]]:
    """Return what checkov finds, as file and rule."""
    command = [*CHECKOV, "--directory", ".", "--framework=terraform", "--skip-download", "--output=json"]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    results = json.loads(finished.stdout)["results"]
    assert len(results["passed_checks"]) > 200
    return {(found["file_path"].lstrip("/"), found["check_id"]) for found in results["failed_checks"]}


@pytest.mark.slow
def test_checkov_finds_nothing_and_no_exception_is_left_over(project: Make) -> None:
    """Every exception stands in its place with a reason; without them, checkov finds exactly what they excuse."""
    folder = project(EVERYTHING).folder
    assert checkov(folder) == set()
    excused = set()
    for path in folder.rglob("*.tf"):
        text = path.read_text(encoding="utf-8")
        for check, reason in re.findall(r"#checkov:skip=(\w+)(?:: (.+))?", text):
            assert reason, f"{path}: {check} has no reason"
            excused.add((path.relative_to(folder).as_posix(), check))
        path.write_text(re.sub(r".*#checkov:skip=.*\n", "", text), encoding="utf-8")
    assert checkov(folder) == excused
