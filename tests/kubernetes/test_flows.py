"""The flows of a project on Kubernetes, on each code host: those of every cloud, with the cluster's own roles."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.flows.asked import ASKED
from tests.flows.hosts import HOSTS
from tests.support.projects import lay_out
from tests.support.terraform import Terraform
from tests.support.tools import need

CLUSTER = "https://cluster.example.com:6443"
ANSWERS = {"infrastructure": "kubernetes", "kubernetes_cluster": CLUSTER, "serving_mode": "online_and_batch"}
# Names that both Terraform and the flows must shorten, or write in another way.
AWKWARD = {"package_name": "a_" + "b" * 37, "environments": "a--b, dev-, " + "p" * 20}
FLOWS = (".github", ".gitlab", ".gitlab-ci.yml", "azure-pipelines")
OF_A_HOST = {"azure_devops": {"organization_id": "01234567-89ab-cdef-0123-456789abcdef"}, "gitlab": {}}
OF_A_HOST["github"] = {"owner_id": "11", "repository_id": "22"}


def flows(folder: Path) -> dict[str, str]:
    """Return the files of the flows."""
    paths = [path for name in FLOWS for path in (folder / name, *(folder / name).rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}


@pytest.mark.slow
@pytest.mark.parametrize("provider", HOSTS)
def test_they_are_those_of_any_cloud(provider: str, tmp_path: Path) -> None:
    """tests/flows runs them, for a project on AWS: no file differs, but for whom GitLab's tokens are."""
    answers = {**ANSWERS, "ci_provider": provider}
    lay_out(tmp_path / "here", answers, engine=False)
    lay_out(tmp_path / "there", {**answers, "infrastructure": "aws"}, engine=False)
    here, there = flows(tmp_path / "here"), flows(tmp_path / "there")
    assert len(here) > 5
    audience = re.compile(r"aud: (arn:aws:iam::[0-9]{12}:role/|https://[^#]*#)")
    count = sum(len(audience.findall(text)) for text in here.values())
    assert count == (6 if provider == "gitlab" else 0)
    assert {name: audience.sub("", text) for name, text in here.items()} == {
        name: audience.sub("", text) for name, text in there.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("provider", HOSTS)
def test_they_ask_for_the_roles_that_terraform_makes(provider: str, tmp_path: Path) -> None:
    need("terraform")
    folder = tmp_path / "project"
    lay_out(folder, {**ANSWERS, "ci_provider": provider, **AWKWARD})
    terraform = Terraform(folder / "infra")
    local = 'terraform {\n  backend "local" {}\n}\n'
    (folder / "infra/bootstrap/first_override.tf").write_text(local, encoding="utf-8")
    terraform.run("bootstrap", "init", "-input=false")
    wanted = "jsonencode({ accounts = module.project.roles, bound = local.bound, subjects = local.subjects })"
    variables = {f"TF_VAR_{name}": value for name, value in OF_A_HOST[provider].items()}
    said = json.loads(json.loads(terraform.ask("bootstrap", wanted, variables)))
    asked = ASKED[provider](folder)
    assert set(asked) == {role.replace("/", "-") for role in said["accounts"]}
    assert len(asked) == 8
    for role, account in said["accounts"].items():
        subjects, bound = said["subjects"][role], said["bound"][role]
        expected = {
            "gitlab": {f"{CLUSTER}#{account}"},
            "github": {subject.partition(":environment:")[2] for subject in subjects},
            "azure_devops": {subject.rpartition("/")[2] for subject in subjects},
        }[provider]
        assert asked[role.replace("/", "-")] == expected
        for each in bound:
            # Nobody has a right by a name that stands for several: a group, where a subject does.
            assert each["name"].startswith("ci:")
            assert "*" not in each["name"]
            if provider == "gitlab" and each["kind"] == "User":
                assert each["name"].endswith(f" for {CLUSTER}#{account}"), "a token of another role is no use"
