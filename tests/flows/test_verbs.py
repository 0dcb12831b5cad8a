"""The verbs of the flows in an installed project, without any provider: the real scanners, and the first day."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.advisories import advisory, vulnerabilities
from tests.support.tools import UV

from .project import FlowProject, begin

pytestmark = pytest.mark.slow
Verb = Callable[..., subprocess.CompletedProcess[str]]

# In pieces, so that this file holds no secret itself.
SECRET = "AKIA" + "IOSFODNN7EXAMPLE"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> FlowProject:
    """Return an installed project, committed with its lock file."""
    return begin(tmp_path_factory.mktemp("verbs") / "churn", "github", played=False, serving_mode="online_and_batch")


@pytest.fixture
def verb(project: FlowProject) -> Verb:
    """Return a function that runs a verb and demands its exit code."""

    def run(*words: str, code: int, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [UV, "run", "--quiet", project.package, *words]
        env = project.environment(**environment)
        done = subprocess.run(command, cwd=project.folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture
def clean(project: FlowProject) -> Iterator[None]:
    """Leave the project as it was."""
    yield
    project.git("reset", "--quiet", "--hard")
    project.git("clean", "--quiet", "--force", "-d")


def test_a_fresh_project_has_no_finding(project: FlowProject, verb: Verb) -> None:
    with vulnerabilities() as url:
        told = verb("scan", code=0, OSV_URL=url)
    assert "Nothing was found." in told.stdout
    parts = json.loads((project.folder / "reports/scan/sbom.cdx.json").read_text(encoding="utf-8"))
    names = {part["name"] for part in parts["components"]}
    # What the image is made of, and nothing that only trains.
    assert {"onnxruntime", "uvicorn", "pyarrow"} <= names
    assert "scikit-learn" not in names
    licences = (project.folder / "reports/scan/licences.md").read_text(encoding="utf-8")
    assert "| onnxruntime" in licences


@pytest.mark.parametrize(
    ("level", "code", "changes"),
    [("LOW", 0, ""), ("HIGH", 2, ""), ("LOW", 2, "fail_on: low"), ("HIGH", 0, "accepted: [CVE-2026-0001]")],
)
@pytest.mark.usefixtures("clean")
def test_a_vulnerability_counts_from_its_level_on(
    project: FlowProject, verb: Verb, level: str, code: int, changes: str
) -> None:
    if changes:
        params = project.folder / "params.yaml"
        name = changes.split(":", maxsplit=1)[0]
        lines = [line for line in params.read_text(encoding="utf-8").splitlines() if f"  {name}:" not in line]
        section = next(place for place, line in enumerate(lines) if line.startswith("scan:"))
        lines.insert(section + 1, f"  {changes}")
        params.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with vulnerabilities({"requests": advisory("requests", level)}) as url:
        told = verb("scan", "--json", code=code, OSV_URL=url)
    found = json.loads(told.stdout)["findings"]
    assert [each["level"] for each in found] == ([] if "accepted" in changes else [level.lower()])


@pytest.mark.usefixtures("clean")
def test_a_secret_in_git_closes_the_gate(project: FlowProject, verb: Verb) -> None:
    (project.folder / "notes.py").write_text(f'KEY = "{SECRET}"\n', encoding="utf-8")
    project.git("add", "notes.py")
    with vulnerabilities() as url:
        told = verb("scan", code=2, OSV_URL=url)
    assert "notes.py, line 1: AWS Access Key" in told.stdout
    assert SECRET not in told.stdout + told.stderr


def test_a_database_out_of_reach_is_no_green_scan(verb: Verb) -> None:
    told = verb("scan", code=1, OSV_URL="http://127.0.0.1:9")
    assert "uv audit failed" in told.stderr
    assert "Nothing was found" not in told.stdout


def test_an_image_without_a_scanner_is_told(verb: Verb) -> None:
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if not (Path(part) / "grype").exists())
    with vulnerabilities() as url:
        told = verb("scan", "--image", "churn", code=1, OSV_URL=url, PATH=path)
    assert "neither grype nor trivy" in told.stderr


def test_on_the_first_day_a_lent_machine_trains_and_does_not_deploy(
    project: FlowProject, verb: Verb, tmp_path: Path
) -> None:
    names = ("output", "step_summary")
    flow = {"GITHUB_ACTIONS": "true", **{f"GITHUB_{name.upper()}": str(tmp_path / name) for name in names}}
    verb("fetch", code=0, **flow)
    told = verb("run", code=0, **flow, MLFLOW_TRACKING_URI="", PROJECT_STATE="")
    assert "ends with this job" in told.stderr
    assert "version" in (tmp_path / "output").read_text(encoding="utf-8")
    told = verb("deploy", "--yes", code=1, **flow)
    assert "would end with this job" in told.stderr
    assert "bootstrap --runner" in told.stderr
    told = verb("monitor", "--respond", code=0, **flow, PROJECT_STATE=str(tmp_path / "empty"))
    assert "nothing to watch" in told.stdout
