"""GitLab: its interface on loopback, its pipelines run by gitlab-ci-local."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import yaml

from tests.flows.project import FlowProject

from . import gitlab_api
from .base import BY_HAND, PUSH, SCHEDULE, CodeHost, Outcome
from .gitlab_local import Pipelines, Run

CHANGE = {"iid": 1, "state": "opened", "source_branch": "change", "target_branch": "main"}
SOURCES = {BY_HAND: "web", PUSH: "push", SCHEDULE: "schedule"}
# The job that a person starts.
LAST = {"infrastructure": "apply production", "train": "deploy to production", "deploy": "deploy to production"}

_EXPANDED: dict[tuple[object, ...], str] = {}


class GitLabHost(CodeHost):
    """GitLab around a project."""

    NAME = "gitlab"
    LOGIN = "GITLAB_TOKEN"
    REPORT_LOGIN = "GITLAB_REPORT_TOKEN"

    def __init__(self, project: FlowProject, fake: gitlab_api.GitLab) -> None:
        """Let GitLab know the pipeline's inputs, and one change."""
        super().__init__(project, fake)
        fake.inputs = inputs_of(project.folder)
        fake.merge_requests["1"] = dict(CHANGE)
        self._pipelines = Pipelines(project, fake)

    @classmethod
    @contextmanager
    def around(cls, project: FlowProject) -> Iterator[GitLabHost]:
        """Serve GitLab's interface."""
        with gitlab_api.serving(gitlab_api.GitLab()) as fake:
            yield cls(project, fake)

    @contextmanager
    def owner(self) -> Iterator[Mapping[str, str]]:
        """Give the login of a Maintainer."""
        login = {"CI_PROJECT_ID": str(gitlab_api.NUMBER), "GITLAB_TOKEN": gitlab_api.TOKEN}
        yield login | {"CI_API_V4_URL": f"{self.fake.url}/api/v4"}

    def run(self, flow: str, event: str = BY_HAND, *, approved: bool = True, **inputs: str) -> Outcome:
        """Run a pipeline; a push runs all that a push runs, but for the checks, which have a test of their own."""
        last = LAST.get(flow, "")
        jobs: list[str] = []
        if event == PUSH:
            jobs = ["train", *(f"deploy to {name}" for name in self.project.environments)]
            if flow == "infrastructure":
                jobs = [f"{what} {name}" for name in self.project.environments for what in ("plan", "apply")]
        with self._pushed() if event == PUSH else nullcontext():
            run = self._pipelines.run(
                SOURCES[event],
                inputs=None if event == PUSH else {"flow": flow, **inputs},
                manual=[last] if approved and last else [],
                jobs=jobs if approved else [job for job in jobs if job != last],
                variables=self._variables(),
            )
        return self._outcome(run)

    def change(self, *, branch: str = "change", message: str = "Change", fork: bool = False) -> Outcome:
        """Run the pipeline of a merge request; of the variables it sees those alone that are not protected."""
        told = {"CI_COMMIT_REF_NAME": branch, "CI_COMMIT_MESSAGE": message, "CI_MERGE_REQUEST_TITLE": message}
        told |= self._variables(protected=False)
        if fork:
            told |= {
                "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "8",
                "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "stranger/churn",
            }
        infrastructure = self.project.folder / ".gitlab/ci/infrastructure.yml"
        plans = infrastructure.exists() and "\nplan:\n" in infrastructure.read_text(encoding="utf-8")
        jobs = ["check", "judge", *(["plan"] if plans and not fork else [])]
        with self._pushed():
            return self._outcome(self._pipelines.run("merge_request_event", jobs=jobs, variables=told))

    def set(self, name: str, value: str) -> None:
        """Change a variable of the project."""
        self.fake.variables[name] |= {"value": value}

    def _variables(self, *, protected: bool = True) -> dict[str, str]:
        known = {name: each for name, each in self.fake.variables.items() if name != "BOOTSTRAP_MADE"}
        return {name: each["value"] for name, each in known.items() if protected or not each["protected"]}

    def _outcome(self, run: Run) -> Outcome:
        folder = self.project.folder / ".gitlab-ci-local/artifacts"
        return Outcome(run.code == 0, run.log, {each.name: each for each in folder.glob("*")})

    @contextmanager
    def _pushed(self) -> Iterator[None]:
        """Let the newest commit be what a push to main brings: rules look at what differs from origin/main."""
        tip = self.project.git("rev-parse", "HEAD")
        self.project.git("update-ref", "refs/remotes/origin/main", "HEAD~1")
        yield
        self.project.git("update-ref", "refs/remotes/origin/main", tip)


def inputs_of(folder: Path) -> dict[str, Any]:
    """Return the inputs of a project's pipeline."""
    header = next(yaml.safe_load_all((folder / ".gitlab-ci.yml").read_text(encoding="utf-8")))
    inputs: dict[str, Any] = header["spec"]["inputs"]
    return inputs


def expanded(folder: Path, flow: str, source: str = "web", *, own_machine: bool = False) -> dict[str, Any]:
    """Return a flow's pipeline with its includes, as gitlab-ci-local reads it (and holds it to GitLab's schema).

    The same files are read once: a second each, and many tests look at the same pipeline.
    """
    files = [folder / ".gitlab-ci.yml", *sorted((folder / ".gitlab").rglob("*.yml"))]
    key = (flow, source, own_machine, *(file.read_bytes() for file in files))
    if key not in _EXPANDED:
        subprocess.run(["git", "update-ref", "refs/remotes/origin/main", "HEAD"], cwd=folder, check=True)
        machine = {"RUNNER": "own-machine"} if own_machine else {}
        pipelines = Pipelines(FlowProject(folder), gitlab_api.GitLab())
        told = pipelines.run(source, inputs={"flow": flow}, variables=machine, preview=True)
        assert told.code == 0, told.log
        _EXPANDED[key] = told.log[told.log.index("stages:") :]
    pipeline: dict[str, Any] = yaml.safe_load(_EXPANDED[key])
    return pipeline


def jobs_of(pipeline: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the jobs of an expanded pipeline."""
    return {name: job for name, job in pipeline.items() if isinstance(job, dict) and "script" in job}
