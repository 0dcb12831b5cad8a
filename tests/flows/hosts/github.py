"""GitHub: its interface on loopback, its flows run by nektos/act."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.flows.project import FlowProject

from . import act, github_api
from .base import BY_HAND, PUSH, CodeHost, Outcome

PUSHED = {"ref": "refs/heads/main", "repository": {"visibility": "public"}}
OWNER = "owner"


class GitHubHost(CodeHost):
    """GitHub around a project."""

    NAME = "github"
    LOGIN = "GITHUB_TOKEN"
    REPORT_LOGIN = LOGIN

    def __init__(self, project: FlowProject, fake: github_api.GitHub) -> None:
        """Let act read the flows."""
        super().__init__(project, fake)
        act.readable(project)

    @classmethod
    @contextmanager
    def around(cls, project: FlowProject) -> Iterator[GitHubHost]:
        """Serve GitHub's interface."""
        fake = github_api.GitHub(project.origin, project.folder / ".github/workflows", name="ml-team/churn")
        with github_api.serving(fake):
            yield cls(project, fake)
        assert fake.wrong == []

    @contextmanager
    def owner(self) -> Iterator[Mapping[str, str]]:
        """Give the login of who owns the repository."""
        yield {"GITHUB_API_URL": self.fake.address, "GITHUB_REPOSITORY": self.fake.name, "GITHUB_TOKEN": OWNER}

    def run(self, flow: str, event: str = BY_HAND, *, approved: bool = True, **inputs: str) -> Outcome:
        """Run a flow; act asks nobody: without an approval a run ends before the job that waits for it."""
        before = {"infrastructure": "plan-production", "deploy": "staging"}
        told = PUSHED if event == PUSH else {"inputs": inputs}
        job = "" if approved else before[flow]
        return self._run(flow, "workflow_dispatch" if event == BY_HAND else event, told, job=job)

    def change(self, *, branch: str = "change", message: str = "Change", fork: bool = False) -> Outcome:
        """Run `check`, and what a change of infra/ runs beside it."""
        told = self.fake.pull_request(branch, **({"source": "stranger/churn"} if fork else {}))
        told["pull_request"]["title"] = message
        flows = ["check", *(["infrastructure"] if self.project.on_a_cloud else [])]
        parts = [self._run(flow, "pull_request", told, fork=fork) for flow in flows]
        kept = {name: folder for part in parts for name, folder in part.kept.items()}
        return Outcome(all(part.succeeded for part in parts), "\n".join(part.log for part in parts), kept)

    def set(self, name: str, value: str) -> None:
        """Change a variable of the repository."""
        self.fake.variables[name] = value

    def _run(self, flow: str, event: str, told: Any, **more: Any) -> Outcome:
        known = {name: value for name, value in self.fake.variables.items() if name != "BOOTSTRAP_MADE"}
        run = act.run(self.project, self.fake, flow, event, told=told, variables=known, **more)
        return Outcome(run.code == 0, run.log, {each.name: each for each in run.artifacts.iterdir() if each.is_dir()})


def workflow(folder: Path, name: str) -> dict[str, Any]:
    """Return a flow's file."""
    content: dict[Any, Any] = yaml.safe_load((folder / f".github/workflows/{name}.yml").read_text(encoding="utf-8"))
    content["on"] = content.pop(True)  # as YAML 1.1 reads `on`
    return content
