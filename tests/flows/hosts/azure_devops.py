"""Azure DevOps: its interface on loopback, its pipelines run by the runner in azure_pipelines/."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.flows.project import FlowProject
from tests.support.tools import UV

from . import azure_devops_api
from .azure_devops_api import ORGANIZATION_ID, PROJECT, REPOSITORY
from .azure_pipelines import Execution, Server, Source, compile_pipeline, stand_ins
from .azure_pipelines.scheduling import Run, names
from .base import BY_HAND, PUSH, SCHEDULE, CodeHost, Outcome

REASONS = {BY_HAND: "Manual", PUSH: "IndividualCI", SCHEDULE: "Schedule"}
SECRETS = frozenset({"MLFLOW_TRACKING_TOKEN"})


class AzureDevOpsHost(CodeHost):
    """Azure DevOps around a project."""

    NAME = "azure_devops"
    LOGIN = "SYSTEM_ACCESSTOKEN"
    REPORT_LOGIN = LOGIN

    def __init__(self, project: FlowProject, fake: azure_devops_api.AzureDevOps) -> None:
        """Let the repository be one of Azure Repos: an agent asks for the one commit that it builds."""
        super().__init__(project, fake)
        project.git(f"--git-dir={project.origin}", "config", "uploadpack.allowAnySHA1InWant", "true")
        self.cancel: Callable[[str], bool] = lambda step: False
        cache = subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
        self._tasks = stand_ins({"uv": Path(cache)})

    @classmethod
    @contextmanager
    def around(cls, project: FlowProject) -> Iterator[AzureDevOpsHost]:
        """Serve the interface of Azure DevOps."""
        with azure_devops_api.serving() as fake:
            yield cls(project, fake)
        assert fake.unknown == []

    @contextmanager
    def owner(self) -> Iterator[Mapping[str, str]]:
        """Give the login of who administers the project, whose git remote is the server."""
        self.project.git("remote", "set-url", "origin", f"{self.fake.url}/{PROJECT}/_git/{REPOSITORY}")
        try:
            yield {"AZURE_DEVOPS_EXT_PAT": "personal"}
        finally:
            self.project.git("remote", "set-url", "origin", str(self.project.origin))

    def run(self, flow: str, event: str = BY_HAND, *, approved: bool = True, **inputs: str) -> Outcome:
        """Run a pipeline; an approval stands on the environment, and on its service connections."""
        told = {"Build.Reason": REASONS[event]}
        run = self.execute(flow, told, given=inputs, approve=lambda resource: approved or "production" not in resource)
        return self._outcome(run)

    def change(self, *, branch: str = "change", message: str = "Change", fork: bool = False) -> Outcome:
        """Run `check` for a pull request."""
        try:
            return self._outcome(self.execute("check", self.pull_request(branch, message, fork=fork)))
        finally:
            self.project.git("switch", "--quiet", "main")

    def set(self, name: str, value: str) -> None:
        """Change a variable of the groups."""
        group = next(group for group in self.fake.groups if name in group["variables"])
        group["variables"][name] = {"value": value}

    def pull_request(self, branch: str, message: str, *, fork: bool = False) -> dict[str, str]:
        """Push a branch and its merge with main, as Azure Repos does for a pull request; return its variables."""
        project = self.project
        project.git("switch", "--quiet", "--force-create", branch)
        project.commit(message)
        merge = "refs/pull/7/merge"
        project.git("push", "--quiet", "--force", "origin", f"HEAD:{merge}")
        return {
            "Build.Reason": "PullRequest", "Build.SourceBranch": merge, "Build.SourceVersionMessage": message,
            "System.PullRequest.PullRequestId": "7", "System.PullRequest.SourceBranch": f"refs/heads/{branch}",
            "System.PullRequest.TargetBranch": "refs/heads/main", "System.PullRequest.IsFork": str(fork),
        }  # fmt: skip

    def execute(
        self, flow: str, told: dict[str, str], *, skip: Collection[str] = (), given: Any = None,
        approve: Callable[[str], bool] = lambda resource: True,
    ) -> Run:  # fmt: skip
        """Run a flow.

        Args:
            flow: its name.
            told: variables that Azure DevOps sets, beyond those that are always the same.
            skip: stages that whoever starts the run leaves out (stagesToSkip of the Runs interface).
            given: the parameters of the run.
            approve: whether a stage that uses a resource is let pass.
        """
        commit = self.project.git("rev-parse", "HEAD")
        predefined = {
            "Build.BuildId": "41", "Build.DefinitionName": f"churn-{flow}", "Build.SourceBranch": "refs/heads/main",
            "Build.SourceVersion": commit, "Build.Repository.Name": REPOSITORY, "Build.Repository.Provider": "TfsGit",
            "System.CollectionUri": f"{self.fake.url}/", "System.CollectionId": ORGANIZATION_ID,
            "System.TeamProject": PROJECT, "System.JobAttempt": "1", "System.AccessToken": "flow-token", **told,
        }  # fmt: skip
        document = compile_pipeline(self.project.folder, f"azure-pipelines/{flow}.yml", given, predefined)
        document["stages"] = [stage for stage in document["stages"] if stage["stage"] not in skip]
        for stage in document["stages"]:
            if "dependsOn" in stage:
                stage["dependsOn"] = [name for name in names(stage["dependsOn"]) if name not in skip]
        groups = {
            group["name"]: {name: each.get("value") or "" for name, each in group["variables"].items()}
            for group in self.fake.groups
        }
        server = Server(
            self.project.folder.parent / "azure", self.project.environment(), self._tasks, groups, SECRETS,
            frozenset({"mine"}), approve, self.fake.token_address, self.cancel,
        )  # fmt: skip
        source = Source(str(self.project.origin), predefined["Build.SourceBranch"], commit)
        return Execution(document, server, source, predefined).go()

    @staticmethod
    def _outcome(run: Run) -> Outcome:
        kept = {each.name.removesuffix("-1"): each for each in run.records.artifacts.iterdir()}
        return Outcome(run.result == "succeeded", run.log(), kept)


def expanded(folder: Path, flow: str, given: Any = None, **variables: str) -> dict[str, Any]:
    """Return a flow's pipeline with its templates, for variables whose points are written as _."""
    told = {name.replace("_", "."): value for name, value in variables.items()}
    return compile_pipeline(folder, f"azure-pipelines/{flow}.yml", given or {}, told)


def jobs_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the jobs of an expanded pipeline."""
    return {job.get("job") or job["deployment"]: job for stage in document["stages"] for job in stage["jobs"]}


def steps_of(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of a job."""
    steps: list[dict[str, Any]] = job.get("steps") or job["strategy"]["runOnce"]["deploy"]["steps"]
    return steps
