"""The flows with the real verbs, on one host: GitHub's, from a change to a model in use, its failures and its drift.

Every step is what it is in a project: installed, checked, trained, deployed to services on this machine. That other
hosts run the same verbs in the same order, test_flows.py shows.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.advisories import vulnerabilities
from tests.support.models import FAULTY, REGISTER
from tests.support.tools import UV
from tests.support.traffic import TRAFFIC

from .hosts import act
from .hosts.github import PUSHED
from .hosts.github_api import GitHub, serving
from .project import FlowProject, begin

pytestmark = pytest.mark.slow
DEPLOY = ["deploy --to staging --yes", "status", "deploy --to production --yes", "status"]
# Short waits: what is proved is that the steps follow each other, not that a canary waits half a minute.
SHORT = {
    "model": {"trees": 60},
    "gate": {"jackknife_groups": 50},
    "deploy": {"load_seconds": 0.5, "load_connections": 2, "maximum_p99_ms": 5000.0, "canary_seconds": 2.0,
               "canary_requests": 10, "maximum_latency_ratio": 50.0},
    "monitor": {"minimum_rows": 200, "windows": 1, "red_windows": 1},
    "serve": {"capture_seconds": 0.5},
}  # fmt: skip


def make(folder: Path) -> FlowProject:
    """Return an installed project that act can run, with short waits."""
    project = begin(folder / "churn", "github", played=False)
    params = yaml.safe_load((project.folder / "params.yaml").read_text(encoding="utf-8"))
    for section, changes in SHORT.items():
        if section in params:
            params[section] |= changes
    (project.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    project.commit("Short waits")
    return act.readable(project)


@contextmanager
def around(project: FlowProject) -> Iterator[GitHub]:
    with serving(GitHub(project.origin, project.folder / ".github/workflows")) as github:
        project.verbs()
        yield github
    assert github.wrong == []


class Deployed:
    """A project whose flow `train` has made version 1 and deployed it; its services are stopped at the end."""

    def __init__(self, project: FlowProject) -> None:
        """Run the flow."""
        self.project = project
        with around(project) as github:
            self.trained = act.run(project, github, "train", "push", told=PUSHED)
        self.verbs = project.verbs()
        self._made = 0
        # What `train` kept is the model from which the tests make others.
        shutil.copytree(self.trained.artifacts / "model", project.folder / "artifacts/model")

    def python(self, code: str, *words: str) -> str:
        """Run Python code in the project, on the state that the flows share, and return what it prints."""
        env = self.project.environment(PROJECT_STATE=str(self.project.state))
        command = [UV, "run", "--quiet", "python", "-c", code, *words]
        done = subprocess.run(command, cwd=self.project.folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def register(self, fault: str, *, passed: bool) -> str:
        """Register a challenger, as if it had passed staging, or not, and return its version."""
        self._made += 1
        # Only now: it is not in order, and `check` would say so.
        faulty = self.project.folder / f"src/{self.project.package}/problem/faulty.py"
        if not faulty.exists():
            faulty.write_text(FAULTY, encoding="utf-8")
            self.project.commit("A model that can be made to fail")
        code = REGISTER.format(package=self.project.package)
        return self.python(code, fault, "passed" if passed else "", str(self._made)).split()[-1]

    def runs(self) -> dict[str, str]:
        """Return the version that the service of each environment says it runs."""
        env = self.project.environment(PROJECT_STATE=str(self.project.state))
        command = [UV, "run", "--quiet", "python", "-m", "twoloops", "status", "--json"]  # not noted
        done = subprocess.run(command, cwd=self.project.folder, env=env, capture_output=True, text=True, check=False)
        found: dict[str, Any] = json.loads(done.stdout)
        return {name: each["found"]["stable"] for name, each in found.items()}

    def champion(self) -> str:
        """Return the champion's version."""
        return self.python("from twoloops import registry; print(registry.find(registry.CHAMPION).number)").strip()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    made = Deployed(make(tmp_path_factory.mktemp("deployed")))
    yield made
    made.project.verb("stop")


@pytest.fixture
def github(deployed: Deployed) -> Iterator[GitHub]:
    with around(deployed.project) as known:
        yield known


def test_train_registers_and_deploys(deployed: Deployed) -> None:
    trained = deployed.trained
    assert trained.code == 0, trained.end
    assert deployed.verbs == ["fetch", "run", "report --publish", *DEPLOY]
    assert deployed.runs() == {"staging": "1", "production": "1"}
    assert deployed.champion() == "1"
    attested = (trained.artifacts / "attested.txt").read_text(encoding="utf-8")
    assert "artifacts/shipped/model.onnx" in attested
    for place in ("staging", "production"):
        assert f"{place}: version 1, well" in trained.log


def test_check_runs_and_reports_once(deployed: Deployed, github: GitHub) -> None:
    change = github.pull_request()
    with vulnerabilities() as advisories:
        first = act.run(
            deployed.project, github, "check", "pull_request", told=change, environment={"OSV_URL": advisories}
        )
    assert first.code == 0, first.end
    (comment,) = github.comments.values()
    assert "Verdict: green" in comment["body"]
    assert (first.artifacts / "check/checks/junit.xml").exists()
    assert (first.artifacts / "judge/change.md").exists()
    with deployed_changed(deployed.project, gate__threshold=0.99):
        again = act.run(deployed.project, github, "check", "pull_request", told=change, job="judge")
    assert again.code != 0
    assert "Verdict: red" in github.comments[comment["id"]]["body"], "the same comment tells what is true now"


@contextmanager
def deployed_changed(project: FlowProject, **params: Any) -> Iterator[None]:
    """Change params.yaml for a while, and leave the state alone, from which services run."""
    before = project.git("rev-parse", "HEAD")
    project.set(**params)
    yield
    project.git("reset", "--quiet", "--hard", before)
    project.git("push", "--quiet", "--force", "origin", "main")


def test_a_registry_that_does_not_answer(deployed: Deployed, github: GitHub) -> None:
    told = act.run(
        deployed.project, github, "train", "push", told=PUSHED,
        variables={"RUNNER": act.RUNNER, "PROJECT_STATE": str(deployed.project.state) + "-2", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
        secrets={"MLFLOW_TRACKING_TOKEN": "token-of-the-registry"},
    )  # fmt: skip
    assert told.code != 0
    assert "http://127.0.0.1:9" in told.log
    assert "What to do:" in told.log
    assert "Traceback" not in told.log
    assert "token-of-the-registry" not in told.log


def test_a_bad_canary_is_rolled_back(deployed: Deployed, github: GitHub) -> None:
    before = deployed.champion()
    bad = deployed.register("raises", passed=True)
    # As if staging had not seen it: what is proved is that users are kept from it.
    old, new = "run: uv run churn deploy --to staging --yes", f'run: echo version={bad} >> "$GITHUB_OUTPUT"'
    deployed.project.edit(".github/workflows/deploy.yml", old, new)
    try:
        told = act.run(deployed.project, github, "deploy", "workflow_dispatch", told={"inputs": {"version": bad}})
    finally:
        deployed.project.edit(".github/workflows/deploy.yml", new, old)
    assert told.code != 0
    assert f"Version {bad} failed as canary in production" in told.log
    assert f"rolled back: version {before} takes all requests" in told.log
    assert deployed.project.verbs()[-1] == "status", "the log ends with how things stand"
    assert deployed.champion() == before
    assert deployed.runs()["production"] == before


def test_drift_opens_one_issue_and_starts_train(deployed: Deployed, github: GitHub) -> None:
    code = TRAFFIC.replace('Path("data/', f'Path("{deployed.project.state}/data/')
    bodies = []
    for seed in ("3", "4"):
        deployed.python(code, "900", seed, "0.9")
        told = act.run(deployed.project, github, "monitor", "schedule")
        assert told.code == 0, told.end
        (issue,) = github.issues.values()
        bodies.append(issue["body"])
    assert issue["labels"] == [{"name": "drift"}]
    assert bodies[0] != bodies[1], "the same issue tells what is true now"
    (started,) = github.dispatched
    assert started["flow"] == "train.yml", "within the cool-down no other training is started"
    assert started["inputs"]["reason"].startswith("drift: ")
