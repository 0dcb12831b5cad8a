"""What the files of a project on AWS say, without an account and without an emulator."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest

from commands.rendering import TEMPLATE, render
from tests.conftest import need
from tests.support.answers import HOSTILE_REPOSITORIES, hostile
from tests.support.aws.harness import APPLIED, EVERYTHING
from tests.support.terraform import Make, layer

FOLDER = TEMPLATE / "template"

# What the test of the emulator does not apply and destroy for real (harness.APPLIED), each with the reason why the
# emulator cannot have it, and a test with mocks for each; there are none.
MOCKED: dict[str, str] = {}
# Data sources that ask what the emulator does not know; the tests with mocks cover them.
ASKED_OF_MOCKS = {
    "aws_iam_principal_policy_simulation": "moto has no iam:SimulatePrincipalPolicy",
    "aws_iam_session_context": "asked together with the simulation",
    "aws_caller_identity": "asked together with the simulation",
    "aws_servicequotas_service_quota": "moto knows the quotas of VPC alone",
}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"serving_mode": "batch"},
    EVERYTHING,
    *[{"ci_provider": provider} for provider in ("gitlab", "azure_devops")],
    *[hostile(provider, aws_account="000000000001", aws_region="ap-southeast-1") for provider in HOSTILE_REPOSITORIES],
]
# What may know AWS: its own layers, and of the engine its own room and the lists of extras and of versions.
OWN = (
    *("{{ layer.infra_aws", "engine/src/twoloops/platforms/aws/"),
    *("engine/pyproject.toml", "engine/README.md", "engine/src/twoloops/proved.txt"),
)

LAYER = layer("aws")


def sources() -> list[Path]:
    return [path for path in LAYER.rglob("*.tf*") if "tests" not in path.parts]


@pytest.mark.parametrize("number", range(len(VARIANTS)))
def test_files_are_formatted_and_parse(number: int, project: Make) -> None:
    terraform = project(VARIANTS[number])
    subprocess.run([need("terraform"), "fmt", "-recursive", "-check", "-diff"], cwd=terraform.folder, check=True)
    subprocess.run(["sh", "-n", "bootstrap.sh"], cwd=terraform.folder, check=True)
    assert not list(terraform.folder.rglob(".terraform.lock.hcl"))
    for name in ("project/variables.tf", "environment/environments.auto.tfvars", "state.tfbackend"):
        hcl2.loads((terraform.folder / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("provider", HOSTILE_REPOSITORIES)
def test_answers_arrive_as_they_were_given(provider: str, project: Make) -> None:
    answers = hostile(provider)
    text = (project(answers).folder / "project/variables.tf").read_text(encoding="utf-8")
    for variable, value in {
        "name": answers["package_name"],
        "owner": answers["owner"],
        "contact": answers["contact"],
        "repository": answers["repository"],
    }.items():
        assert f'  default     = "{value}"' in text.split(f'variable "{variable}" {{')[1].split("\n}")[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"aws_account": "1234-5678-9012"}, "12 digits"),
        ({"aws_account": "١٢٣٤٥٦٧٨٩٠١٢"}, "12 digits"),
        ({"aws_region": "cn-north-1"}, "China and GovCloud are not supported"),
        ({"aws_region": "us-gov-west-1"}, "China and GovCloud are not supported"),
        ({"aws_region": "eu-west-1\n"}, "commercial regions"),
    ],
)
def test_a_wrong_account_or_region_is_refused_in_words(answer: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        render(tmp_path / "project", {"infrastructure": "aws", **answer})
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("kind", ["variable", "output"])
def test_variables_and_outputs_are_described_and_typed(kind: str) -> None:
    found = 0
    for path in [*sources(), *FOLDER.glob("{{ layer.ci_*_remote }}/infra/**/*.tf")]:
        for block in re.findall(
            rf'^{kind} "(\w+)" \{{\n(.*?)^\}}', path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            assert re.search(r'^  description = ".+\."$', block[1], re.MULTILINE), f"{path}: {block[0]}"
            assert kind == "output" or re.search(r"^  type +=", block[1], re.MULTILINE), f"{path}: {block[0]}"
            found += 1
    assert found > 40


def test_every_resource_is_applied_or_mocked() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in sources())
    used = set(re.findall(r'^resource "(\w+)"', text, re.MULTILINE))
    assert used == APPLIED | set(MOCKED)
    assert not APPLIED & set(MOCKED)
    assert set(ASKED_OF_MOCKS) <= set(re.findall(r'^data "(\w+)"', text, re.MULTILINE))


def test_every_folder_is_explained() -> None:
    page = (LAYER / "README.md.jinja").read_text(encoding="utf-8")
    for folder in [*LAYER.iterdir(), *(LAYER / "modules").iterdir()]:
        if folder.is_dir() and folder.name != "modules":
            assert f"`{folder.relative_to(LAYER)}{'' if folder.parent.name == 'modules' else '/'}`" in page, folder


def test_no_other_layer_knows_this_cloud() -> None:
    """SageMaker's routes are a protocol of the service, which serves it wherever it runs."""
    cloud = re.compile(r"\bAWS\b|\baws[_ -]|\bboto3\b|amazonaws|\binfra_aws\b")
    for path in FOLDER.rglob("*"):
        if path.is_file() and path.suffix != ".pyc" and not str(path.relative_to(FOLDER)).startswith(OWN):
            for line in path.read_text(encoding="utf-8").splitlines():
                assert not cloud.search(line), f"{path}: {line}"


def test_providers_are_pinned_and_only_one_is_needed() -> None:
    for path in TEMPLATE.glob("template/{{ layer.infra_aws }}/infra/**/versions.tf"):
        text = path.read_text(encoding="utf-8")
        pins = re.findall(r'^ {6}(?:source|version) += "(.+)"', text, re.MULTILINE)
        assert pins == ([] if path.parent.name == "project" else ["hashicorp/aws", "~> 5.100"])
        assert 'required_version = ">= 1.11, < 2"' in text


MODES = pytest.mark.parametrize("mode", ["online", "batch", "online_and_batch"])


@MODES
def test_each_alarm_has_its_section_in_the_runbooks(mode: str, project: Make) -> None:
    folder = project({"serving_mode": mode}).folder.parent
    page = (folder / "docs/runbooks.md").read_text(encoding="utf-8")
    (alarms,) = folder.glob("infra/modules/monitoring/main.tf")
    names = re.findall(r'alarm_name += "\$\{var\.name\}--(.+)"', alarms.read_text(encoding="utf-8"))
    each = {name.replace("${each.key}", variant) for name in names for variant in ("stable", "canary")}
    here = {name for name in each if ("online" if name.split("-")[0] in ("stable", "canary") else "batch") in mode}
    headings = re.findall(r"^### (.+)$", page, re.MULTILINE)
    assert {name for heading in headings for name in heading.split(" and ")} - here == {headings[-1]}
    assert here <= {name for heading in headings for name in heading.split(" and ")}
    code = "".join(path.read_text(encoding="utf-8") for path in (FOLDER / "engine/src/twoloops/verbs").glob("*.py"))
    for verb in re.findall(r"uv run churn (\w+)", page):
        assert f"\ndef {verb}(" in code, verb


@MODES
def test_no_page_tells_of_the_stack_of_one_machine(mode: str, project: Make) -> None:
    folder = project({"serving_mode": mode}).folder.parent
    assert not (folder / "compose.yaml").exists()
    assert not (folder / "monitoring").exists()
    for page in [folder / "README.md", *(folder / "docs").glob("*.md")]:
        found = re.findall(
            r"compose\.yaml|docker compose|Grafana|Alertmanager|monitoring/alerts", page.read_text("utf-8")
        )
        assert not found, f"{page.name}: {found}"
