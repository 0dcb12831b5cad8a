"""A project on Kubernetes from its rendering to production, to a second version and back, as its flows do it: by verbs.

The API server, its controllers and its rights are real, and so are the logins by the code host's tokens, MLflow's
server, and all that pods run. Images are the project's folder, and nodes are processes. Who has which right is what
Terraform works out. The API server is too old for schedules: the project scores no tables.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from twoloops.platforms.kubernetes.login import AUTHORITY

from tests.support.kubernetes import stores
from tests.support.kubernetes import subject as own
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.issuer import giving
from tests.support.kubernetes.roles import REPOSITORY, Roles
from tests.support.models import LENIENT, QUICK
from tests.support.projects import Installed, change, commit_all, install
from tests.support.servers import tracking_server

# In CI the stand-in beside the engine shows its parts.
pytestmark = [pytest.mark.slow, pytest.mark.twin]
ROWS = 2000
TABLE = "data/raw/simulated.parquet"
TAGS = "from twoloops.platforms.shared import images; print(*map(images.tag, images.KINDS))"
MAIN = f"{REPOSITORY}:ref:refs/heads/main"


@dataclass
class There:
    """The project, and what its flows' jobs find."""

    project: Installed
    folder: Path  # of the jobs' runner
    tokens: str  # where jobs ask for theirs
    variables: dict[str, str]  # of the repository
    environment: dict[str, str]  # of the runner

    def job(self, role: str, subject: str) -> dict[str, str]:
        """Log a job in, and return the variables of its later steps."""
        folder = self.folder / role
        folder.mkdir(exist_ok=True)
        kept = folder / "variables"
        kept.write_text("", encoding="utf-8")
        runner = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_ENV": str(kept),
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "acme/churn",
            "GITHUB_RUN_ID": "1",
            "RUNNER_TEMP": str(folder),
            "FLOW_VARIABLES": json.dumps(self.variables),
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.tokens}?{urlencode({'subject': subject})}",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "key",
        }
        told = self.project.verb("login", role, env=self.environment | runner).stdout
        assert f"logged in to Kubernetes as {role}" in told
        written = re.findall(r"^(\w+)<<(\w+)\n(.*?)\n\2$", kept.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        return self.environment | {name: value for name, _, value in written}

    def train(self, *words: str) -> str:
        """Run a verb as a job of main does, and return what it tells."""
        return self.project.verb(*words, env=self.job("train", MAIN)).stdout

    def deploy(self, *words: str, to: str) -> str:
        """Run a verb as a job for an environment does, and return what it tells."""
        job = self.job(f"deploy-{to}", f"{REPOSITORY}:environment:{to}")
        return self.project.verb(*words, env=job).stdout


@pytest.fixture
def project(running: Cluster, registry: stores.Registry, tmp_path: Path) -> Installed:
    """Return a project with simulated data, and trials that are short."""
    answers = {
        "infrastructure": "kubernetes",
        "serving_mode": "online",
        "project_name": "Churn",
        "ci_provider": "github",
        "repository": "acme/churn",
        "kubernetes_cluster": running.url,
        "object_store": own.HOME,
        "image_repository": registry.repository,
    }
    found = install(tmp_path / "project", answers)
    change(found, "gate", **LENIENT)
    change(found, "deploy", **QUICK)
    found.verb("simulate", "--rows", str(ROWS))
    commit_all(found)
    return found


@contextmanager
def image_of(project: Installed, running: Cluster, link: Path, folder: Path) -> Iterator[None]:
    """Let every image hold the project as it is now, and its Python."""
    ignored = shutil.ignore_patterns(".venv", ".git", "data", "artifacts", "reports")
    shutil.copytree(project.folder, folder, ignore=ignored, symlinks=True)
    link.unlink()
    link.symlink_to(folder)
    node = running.node
    before = node.python, node.entrypoint, node.environment
    node.python = str(project.folder / ".venv/bin/python")
    node.entrypoint = [node.python, "-m", "twoloops"]
    node.environment = {"PYTHONPATH": f"{folder}/src:{folder}/engine/src", "OMP_NUM_THREADS": "1"}
    yield
    node.python, node.entrypoint, node.environment = before


@pytest.fixture
def there(
    project: Installed,
    running: Cluster,
    roles: Roles,
    bucket: dict[str, str],
    registry: stores.Registry,
    link: Path,
    tmp_path: Path,
) -> Iterator[There]:
    registry.tags |= set(project.run("python", "-c", TAGS).stdout.split())
    authority = (running.folder / "tls.crt").read_text(encoding="utf-8").replace("\n", "\\n")
    variables = {**roles.variables(), AUTHORITY: authority}
    with (
        tracking_server(tmp_path) as server,
        giving(running.issuer) as tokens,
        image_of(project, running, link, tmp_path / "image"),
    ):
        own.settle(running.admin, bucket, tracking_uri=server)
        yield There(project, tmp_path, tokens, variables, {**bucket, "MLFLOW_TRACKING_URI": server})
        own.settle(running.admin, bucket)
    assert running.node.errors == []


def test_from_a_rendered_project_to_production_and_back(there: There, bucket: dict[str, str]) -> None:
    trained(there)
    deployed(there)
    retrained(there)
    stopped(there, bucket)


def trained(there: There) -> None:
    """The steps run in pods, and a version is registered with MLflow."""
    told = there.train("run", "--submit")
    assert "Verdict: green" in told


def deployed(there: There) -> None:
    """The version comes into use, and answers."""
    there.deploy("deploy", "--to", "staging", "--yes", to="staging")
    told = there.deploy("deploy", "1", "--to", "production", "--yes", to="production")
    assert "Version 1 runs in production and is the champion" in told
    told = there.deploy("invoke", TABLE, "answers.csv", to="production")
    assert f"{ROWS:,} of {ROWS:,} rows were answered by version 1" in told


def retrained(there: There) -> None:
    """A second version takes over from the first as canary, and the first one comes back."""
    there.project.verb("simulate", "--rows", str(ROWS), "--seed", "8", "--force")
    told = there.train("retrain", "--submit", "--reason", "drift")
    assert "Version 2 is the challenger." in told
    there.deploy("deploy", "--to", "staging", "--yes", to="staging")
    told = there.deploy("deploy", "2", "--to", "production", "--yes", to="production")
    assert "canary: version 2 takes 50% of the requests" in told
    assert "Champion: version 1 (before: 2)" in there.deploy("rollback", to="production")
    assert "version 1, well" in there.deploy("status", to="production")


def stopped(there: There, bucket: dict[str, str]) -> None:
    """What was deployed goes, and what it was asked stays for the monitor."""
    for name in ("staging", "production"):
        there.deploy("stop", name, to=name)
    listed = stores.client(bucket).list_objects_v2(Bucket=stores.BUCKET, Prefix=f"{own.NAME}/captures/production/")
    assert listed["KeyCount"] > 0
    window = json.loads(there.train("monitor", "--json"))["window"]
    assert window["rows"] >= ROWS
