"""What the files of a project on Azure say, without a subscription and without an emulator."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml
from twoloops import config
from twoloops.platforms.azure import machines

from commands.rendering import TEMPLATE
from tests.conftest import need
from tests.flows.hosts.azure_devops import expanded, steps_of
from tests.support.answers import hostile
from tests.support.terraform import Make, layer

FOLDER = TEMPLATE / "template"
LAYERS = [layer("azure"), layer("azure_private")]
LAYER = LAYERS[0]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"serving_mode": "batch", "ci_provider": "gitlab"},
    {"serving_mode": "online_and_batch", "private_network": True},
    hostile("azure_devops", azure_region="southeastasia"),
]
# What may know Azure's cloud: its own layer, and of the engine its own room, the lists of extras and of versions, and
# what serves protocols of other services.
OWN = (
    *("{{ layer.infra_azure", "engine/src/twoloops/platforms/azure/", "engine/src/twoloops/service/"),
    *("engine/pyproject.toml", "engine/README.md", "engine/src/twoloops/proved.txt"),
    *("engine/src/twoloops/problems/tabular/", "engine/docs/"),
)
MODES = pytest.mark.parametrize("mode", ["online", "batch", "online_and_batch"])


@pytest.mark.parametrize("number", range(len(VARIANTS)))
def test_files_are_formatted_and_parse(number: int, project: Make) -> None:
    terraform = project(VARIANTS[number])
    subprocess.run([need("terraform"), "fmt", "-recursive", "-check", "-diff"], cwd=terraform.folder, check=True)
    subprocess.run(["sh", "-n", "bootstrap.sh"], cwd=terraform.folder, check=True)
    for name in ("project/variables.tf", "environment/environments.auto.tfvars", "state.tfbackend"):
        hcl2.loads((terraform.folder / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"azure_subscription": "churn"}, "32 hexadecimal digits"),
        ({"azure_subscription": "ABCDEF00-0000-0000-0000-000000000000"}, "in lower case"),
        ({"azure_tenant": "00000000-0000-0000-0000-000000000000\n"}, "az account show"),
        ({"azure_region": "West Europe"}, "public regions"),
        ({"azure_region": "chinaeast2"}, "China and Government are not supported"),
        ({"azure_region": "usgovvirginia"}, "China and Government are not supported"),
    ],
)
def test_a_wrong_answer_is_refused_in_words(answer: dict[str, Any], words: str, project: Make) -> None:
    with pytest.raises(ValueError, match=words):
        project(answer)


@MODES
def test_the_machines_are_what_the_verbs_read(mode: str, project: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project({"serving_mode": mode, "environments": "dev, live"}).folder.parent
    monkeypatch.chdir(folder)
    found = machines.load()
    assert set(found.serving) == (set(config.current().environments) if "online" in mode else set())
    assert (found.scoring is not None) == ("batch" in mode)
    assert found.training.limit == "PT14400S"
    assert config.current().platform == "azure"
    assert set(config.current().platform_settings) == {"subscription", "tenant", "region", "private_network"}


@MODES
@pytest.mark.parametrize("private", [False, True])
def test_the_cost_page_counts_what_is_made(
    mode: str, private: bool, project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"serving_mode": mode, "environments": "dev, test, live", "private_network": private}
    folder = project(answers).folder.parent
    monkeypatch.chdir(folder)
    page = (folder / "docs/cost.md").read_text(encoding="utf-8")
    found, count = machines.load(), len(config.current().environments)
    hours = 730 * sum(each.count for each in found.serving.values())
    assert (f"**{hours:d} hours" in page) == ("online" in mode)
    named = set(re.findall(r"^\| \w[\w ]* \| `(Standard_\w+)`", page, re.MULTILINE))
    jobs = {each.machine for each in (found.training, found.scoring) if each}
    assert named == jobs | {each.machine for each in found.serving.values()}
    assert ("private endpoints" in page) == private
    if private:
        # network.tf: two for all, three for each workspace; and the way from its own network to the data.
        text = (folder / "infra/bootstrap/network.tf").read_text(encoding="utf-8")
        shared, services = re.findall(r"\{ id = module\.\w+\.id,", text), re.search(r"in \[(.+)\] :", text)
        assert services is not None
        rooms = count + 1 if count > 1 else 1
        endpoints = len(shared) + rooms * (len(services[1].split(",")) + 1)
        assert f"{endpoints} x 730" in page
        zones = (folder / "infra/modules/network/main.tf").read_text(encoding="utf-8").count('"privatelink.')
        assert f"| private DNS zones | {zones} zones" in page


def test_every_folder_is_explained() -> None:
    page = (LAYER / "README.md.jinja").read_text(encoding="utf-8")
    for folder in [each for place in LAYERS for each in (*place.iterdir(), *(place / "modules").iterdir())]:
        if folder.is_dir() and folder.name != "modules":
            named = f"modules/{folder.name}" if folder.parent.name == "modules" else f"{folder.name}/"
            assert f"`{named}`" in page, folder


@pytest.mark.parametrize("private", [False, True])
def test_a_network_is_there_where_it_was_chosen(private: bool, project: Make) -> None:
    """A project holds nothing that its answers do not use; what its pages and files name is there."""
    folder = project({"private_network": private}).folder
    assert (folder / "modules/network").exists() == (folder / "bootstrap/network.tf").exists() == private
    rest = [path for path in folder.rglob("*") if path.suffix in (".tf", ".hcl", ".md") and path.name != "network.tf"]
    named = [path.name for path in rest if re.search(r"modules/network`|module\.network", path.read_text("utf-8"))]
    assert named == (["README.md"] if private else [])


def test_no_other_layer_knows_this_cloud() -> None:
    """Azure DevOps is a code host; its words for itself are no cloud's."""
    cloud = re.compile(r"azurerm|azure ?ml\b|\binfra_azure\b|azure-identity|management\.azure", re.IGNORECASE)
    for path in FOLDER.rglob("*"):
        if path.is_file() and path.suffix != ".pyc" and not str(path.relative_to(FOLDER)).startswith(OWN):
            for line in path.read_text(encoding="utf-8").splitlines():
                assert not cloud.search(line), f"{path}: {line}"


def test_the_provider_is_pinned_and_only_one_is_needed() -> None:
    for path in (each for place in LAYERS for each in place.glob("**/versions.tf")):
        text = path.read_text(encoding="utf-8")
        pins = re.findall(r'^ {6}(?:source|version) += "(.+)"', text, re.MULTILINE)
        assert pins == ([] if path.parent.name == "project" else ["hashicorp/azurerm", "~> 4.81"])
        assert 'required_version = ">= 1.11, < 2"' in text


@pytest.mark.parametrize("kind", ["variable", "output"])
def test_variables_and_outputs_are_described_and_typed(kind: str) -> None:
    found = 0
    for path in (each for place in LAYERS for each in place.rglob("*.tf*")):
        if "tests" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        for name, block in re.findall(rf'^{kind} "(\w+)" \{{\n(.*?)^\}}', text, re.DOTALL | re.MULTILINE):
            assert re.search(r'^  description = ".+\."$', block, re.MULTILINE), f"{path}: {name}"
            assert kind == "output" or re.search(r"^  type +=", block, re.MULTILINE), f"{path}: {name}"
            found += 1
    assert found > 20


@MODES
def test_each_alarm_has_its_section_in_the_runbooks(mode: str, project: Make) -> None:
    folder = project({"serving_mode": mode}).folder.parent
    page = (folder / "docs/runbooks.md").read_text(encoding="utf-8")
    text = (folder / "infra/modules/monitoring/main.tf").read_text(encoding="utf-8")
    online, _, batch = text.partition("var.batch ? {")
    names = {"online": set(re.findall(r"^      ([\w-]+) = \{", online, re.MULTILINE))}
    names["batch"] = set(re.findall(r"^      ([\w-]+) = \{", batch, re.MULTILINE))
    assert names == {"online": {"errors", "latency"}, "batch": {"scoring-failed"}}
    here = {name for part, those in names.items() if part in mode for name in those}
    headings = re.findall(r"^### (.+)$", page, re.MULTILINE)
    assert set(headings) - here == {headings[-1]}
    assert here <= set(headings)


def test_a_code_host_s_token_is_for_the_role_that_its_job_takes(project: Make) -> None:
    """GitLab's tokens tell nothing else of what a job is for; infra/bootstrap/trust.tf makes the same names."""
    folder = project({"ci_provider": "gitlab"}).folder.parent
    jobs = yaml.safe_load((folder / ".gitlab/ci/cloud.yml").read_text(encoding="utf-8"))
    found = {str(each["id_tokens"]["CLOUD_TOKEN"]["aud"]) for each in jobs.values() if "id_tokens" in each}
    roles = ["plan", "train", *(f"{what}-{name}" for what in ("apply", "deploy") for name in ("staging", "production"))]
    assert found == {f"api://AzureADTokenExchange/{role}" for role in roles}
    trust = (folder / "infra/bootstrap/trust.tf").read_text(encoding="utf-8")
    assert '"api://AzureADTokenExchange/${replace(role, "/", "-")}"' in trust


def test_on_gitlab_a_change_asks_for_no_login_that_it_would_not_get(project: Make) -> None:
    """Its branch has any name, and Azure compares to the letter: bootstrap/trust.tf leaves main."""
    folder = project({"ci_provider": "gitlab"}).folder.parent
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (folder / ".gitlab/ci").glob("*.yml")}
    flows = {name: [*yaml.safe_load_all(text.replace("!reference ", ""))][-1] for name, text in texts.items()}
    asking = {
        (flow, name): next(line for line in job["script"] if " login " in line)
        for flow, jobs in flows.items()
        for name, job in jobs.items()
        if isinstance(job, dict) and any(" login plan" in line for line in job.get("script", []))
    }
    on_main = {("infrastructure", f"plan {name}") for name in ("staging", "production")}
    for of, line in asking.items():
        assert line.endswith(" --optional") == (of not in on_main), of
    assert len(asking) > len(on_main)


@pytest.mark.parametrize(("flow", "verb", "role"), [("train", "retrain", "TRAIN"), ("deploy", "deploy", "DEPLOY_LIVE")])
def test_what_outlasts_a_login_may_renew_it_on_azure_devops(flow: str, verb: str, role: str, project: Make) -> None:
    """There a step has no token but what its file gives it; on the other hosts each step of the job has."""
    folder = project({"ci_provider": "azure_devops", "environments": "dev, live"}).folder.parent
    jobs = [job for stage in expanded(folder, flow, Build_Reason="Manual")["stages"] for job in stage["jobs"]]
    steps = [step for job in jobs for step in steps_of(job) if f" {verb} " in step.get("script", "")]
    given = [each["env"] for each in steps]
    assert f"$(CLOUD_CONNECTION_{role})" in {each["CLOUD_CONNECTION"] for each in given}
    assert {each["SYSTEM_ACCESSTOKEN"] for each in given} == {"$(System.AccessToken)"}


# Stands for Terraform: it notes what it is asked, and fails as the test says, a line each: how often, when, with what.
TERRAFORM = """#!/bin/sh
echo "$*" >> "$NOTES/asked"
[ "$1" = apply ] && [ -f first_override.tf ] && : > terraform.tfstate
[ "$*" = "output -raw environments" ] && echo "staging production"
for failure in "$NOTES"/fails-*; do
  case "$*" in
    *"$(sed -n 2p "$failure")"*)
      left=$(sed -n 1p "$failure")
      [ "$left" -gt 0 ] || continue
      sed -i "1s/.*/$((left - 1))/" "$failure"
      sed -n 3p "$failure" >&2
      exit 1 ;;
  esac
done
exit 0
"""
NO_STATE = ("1", "init -input=false -reconfigure -backend-config", "Error: container state: ContainerNotFound")
LATE_RIGHT = ("2", "-migrate-state", "Error: status 403: AuthorizationPermissionMismatch")


@pytest.mark.parametrize(
    ("failures", "code", "words"),
    [
        ((NO_STATE, LATE_RIGHT), 0, "not known everywhere yet"),
        ((NO_STATE, ("99", *LATE_RIGHT[1:])), 1, "AuthorizationPermissionMismatch"),
        ((NO_STATE, ("9", "-migrate-state", "Error: no such tenant")), 1, "no such tenant"),
        ((("1", "-reconfigure", "Error: no login"),), 1, "no login"),
    ],
)
def test_bootstrap_goes_on_where_azure_is_late(
    failures: tuple[tuple[str, ...], ...], code: int, words: str, project: Make, tmp_path: Path
) -> None:
    """Terraform is played: what Azure says when a right is young, no emulator does."""
    folder, notes = project({}).folder, tmp_path / "notes"
    notes.mkdir()
    for name, text in {"terraform": TERRAFORM, "sleep": "#!/bin/sh\n"}.items():
        (notes / name).write_text(text, encoding="utf-8")
        (notes / name).chmod(0o755)
    for number, lines in enumerate(failures):
        (notes / f"fails-{number}").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def bootstrap() -> subprocess.CompletedProcess[str]:
        env = os.environ | {"PATH": f"{notes}:{os.environ['PATH']}", "NOTES": str(notes)}
        return subprocess.run(["sh", "bootstrap.sh"], cwd=folder, env=env, capture_output=True, text=True, check=False)

    done = bootstrap()
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr
    for each in notes.glob("fails-*"):
        each.unlink()
    (notes / "fails-none").write_text("0\nnothing\n", encoding="utf-8")
    assert bootstrap().returncode == 0, "it goes on where it stopped"
    assert not (folder / "bootstrap/terraform.tfstate").exists()
    asked = (notes / "asked").read_text(encoding="utf-8").splitlines()
    assert asked[-4:] == [
        "init -input=false -reconfigure -backend-config=../state.tfbackend",
        *(f"workspace select -or-create=true {name}" for name in ("staging", "production", "default")),
    ]


def test_a_project_is_rendered_as_it_is_asked_for(project: Make) -> None:
    folder = project({}).folder.parent
    assert "twoloops[training,azure-ml]" in (folder / "pyproject.toml").read_text(encoding="utf-8")
