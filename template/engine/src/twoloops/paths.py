"""Where a project's files lie: one value for each project, and no constant that a process could have only once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twoloops import config

STATE_VARIABLE = "PROJECT_STATE"
# Names the file by which the variables of one step reach the next, where the host brings none: NAME=VALUE, one a line.
JOB_VARIABLES = "JOB_VARIABLES"


@dataclass(frozen=True)
class Paths:
    """The files and folders of one project."""

    root: Path  # the project's folder; the empty path where that is the working folder: messages stay short
    # What outlives a checkout: the local registry, deployments, captures, the monitor's history. It lies beside
    # params.yaml, unless PROJECT_STATE names a folder: a job of a flow starts in a fresh checkout each time.
    state: Path

    @property
    def lasts(self) -> bool:
        """Whether the state is kept elsewhere, and so is still there when a flow's job has ended."""
        return self.state != self.root

    # What the project is given.

    @property
    def params(self) -> Path:
        """Every number one tunes."""
        return self.root / "params.yaml"

    @property
    def graph(self) -> Path:
        """The steps of the inner loop."""
        return self.root / "dvc.yaml"

    # What the inner loop makes.

    @property
    def train(self) -> Path:
        """The training rows."""
        return self.root / "data/prepared/train.parquet"

    @property
    def holdout(self) -> Path:
        """The held-out rows."""
        return self.root / "data/prepared/holdout.parquet"

    @property
    def sample(self) -> Path:
        """The sample of the data, where a change under review reads it."""
        return self.root / "data/sample/rows.parquet"

    @property
    def sample_record(self) -> Path:
        """Where the sample is kept, and which one it is; in git."""
        return self.root / "data/sample.json"

    @property
    def frozen_holdout(self) -> Path:
        """Which rows are held out; in git."""
        return self.root / "data/holdout.json"

    @property
    def model(self) -> Path:
        """The artifact that is judged, a folder."""
        return self.root / "artifacts/model"

    @property
    def shipped(self) -> Path:
        """The artifact that is registered, a folder: the same recipe refitted, or the judged one as it is."""
        return self.root / "artifacts/shipped"

    @property
    def reports(self) -> Path:
        """What people and flows read."""
        return self.root / "reports"

    @property
    def metrics(self) -> Path:
        """The metrics on the holdout, as DVC compares them."""
        return self.reports / "metrics.json"

    @property
    def verdict(self) -> Path:
        """The verdict with every rule."""
        return self.reports / "verdict.json"

    @property
    def model_card(self) -> Path:
        """The model card."""
        return self.reports / "model_card.md"

    @property
    def plots(self) -> Path:
        """The verdict's pictures, a folder."""
        return self.reports / "plots"

    @property
    def registration(self) -> Path:
        """Which version was registered, and where."""
        return self.reports / "registration.json"

    @property
    def environment(self) -> Path:
        """The versions of what computes."""
        return self.reports / "environment.json"

    @property
    def failure(self) -> Path:
        """Why a step failed."""
        return self.reports / "failure.json"

    # What the outer loop keeps.

    @property
    def database(self) -> Path:
        """The local registry."""
        return self.state / "mlflow.db"

    @property
    def mlruns(self) -> Path:
        """The artifacts of the local registry."""
        return self.state / "mlruns"

    @property
    def captures(self) -> Path:
        """What services and scoring were asked and answered."""
        return self.state / "data/captures"

    @property
    def deployments(self) -> Path:
        """What environments on this machine run."""
        return self.state / "deployments"

    @property
    def monitoring(self) -> Path:
        """What the monitor writes and remembers."""
        return self.state / "reports/monitoring"

    @property
    def history(self) -> Path:
        """The monitor's memory."""
        return self.monitoring / "history.json"

    @property
    def monitor_page(self) -> Path:
        """What the monitor shows people."""
        return self.monitoring / "index.html"

    @property
    def batch_captures(self) -> Path:
        """What scoring was asked and answered."""
        return self.captures / "batch"

    @property
    def scoring_metrics(self) -> Path:
        """What scoring tells Prometheus."""
        return self.reports / "monitoring/score.prom"

    # What the verbs of delivery leave for people and flows.

    @property
    def change_page(self) -> Path:
        """What a reviewer sees of a change."""
        return self.reports / "change.md"

    @property
    def scan(self) -> Path:
        """What a scan of the supply chain found, a folder."""
        return self.reports / "scan"

    @property
    def baseline(self) -> Path:
        """Of detect-secrets: what somebody has looked at and allowed."""
        return self.root / ".secrets.baseline"

    @property
    def checks(self) -> Path:
        """What code hosts show of the checks, a folder."""
        return self.reports / "checks"

    @property
    def outputs(self) -> Path:
        """What a job of a flow hands on to later ones, where the host reads that from a file."""
        return self.reports / "outputs.env"

    @property
    def monitoring_copy(self) -> Path:
        """What a flow keeps of the monitor's folder."""
        return self.reports / "monitoring"

    # The infrastructure, where the platform has one.

    @property
    def infrastructure(self) -> Path:
        """Its description."""
        return self.root / "infra"

    @property
    def machines(self) -> Path:
        """The machines of jobs and services."""
        return self.infrastructure / "machines.yaml"

    @property
    def plans(self) -> Path:
        """A folder for each environment: its plan, and what belongs to it."""
        return self.reports / "infrastructure"


# Names of a project's files within its folder, such as in a folder that is sent elsewhere.
RELATIVE: Final = Paths(Path(), Path())


def paths() -> Paths:
    """Return the paths of the current project.

    Raises:
        ProjectError: there is no project here.
    """
    root = config.current().root
    near = Path() if root == Path.cwd() else root
    given = os.environ.get(STATE_VARIABLE)
    return Paths(near, Path(given).expanduser() if given else near)
