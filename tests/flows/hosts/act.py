"""The flows of a GitHub project, run to their end on this machine by nektos/act.

act does not enforce permissions, environments with their approvals, concurrency and timeouts: they are
asserted on the files. What is run on the project's own machine keeps its state in `FlowProject.state`. There
the checkout stays when a job ends, and a service goes on to run from it; act takes its copy away, so
what such a job runs is the code in the project's folder, with libraries that lie beside it.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.flows.project import FlowProject
from tests.support.tools import need

from .github_api import FLOW, GitHub

STUBS = Path(__file__).parents[2] / "stubs"
RUNNER = "ours"  # the label of the machine that keeps a state
COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
USES = re.compile(r"uses: (?P<action>[\w.-]+/[\w.-]+)@(?P<version>\w+)")


@dataclass(frozen=True)
class Run:
    """A flow's run: whether it succeeded, what it said, and what it kept."""

    code: int
    log: str
    artifacts: Path

    def job(self, name: str) -> str | None:
        """Return the result of a job, "success" or "failure"; None when it did not run."""
        found = re.search(rf"^\[[^\]]*/{re.escape(name)}\s*\].*Job (succeeded|failed)", self.log, re.MULTILINE)
        return None if found is None else {"succeeded": "success", "failed": "failure"}[found[1]]

    @property
    def end(self) -> str:
        """Return the last of what it said, to be shown when a test fails."""
        return self.log[-4000:]


def readable(project: FlowProject) -> FlowProject:
    """Take out of a project's flows what act, older than it, does not know: it changes nothing of what is run.

    `queue` lets more than one run wait (of 2026-05), and `$/` is the running commit's own repository (of 2026-07).
    """
    for path in (project.folder / ".github").rglob("*.yml"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"\n +queue: max[^\n]*", "", text).replace("uses: $/", "uses: ./")
        path.write_text(text, encoding="utf-8")
    project.commit("Let act read the flows")
    return project


def rights(project: FlowProject, flow: str) -> dict[str, str]:
    """Return what the jobs of a flow may do with its login."""
    content = yaml.safe_load((project.folder / f".github/workflows/{flow}.yml").read_text(encoding="utf-8"))
    return {right: kind for job in content["jobs"].values() for right, kind in job["permissions"].items()}


def run(
    project: FlowProject,
    github: GitHub,
    flow: str,
    event: str,
    *,
    told: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    fork: bool = False,
    job: str = "",
) -> Run:
    """Run a flow as for an event.

    Args:
        project: whose flows `readable` has prepared.
        github: is asked by the verbs, with the rights that the flow's jobs have.
        flow: the name of its file.
        event: such as push or workflow_dispatch.
        told: the event's payload.
        variables: of the repository; None: those that `bootstrap` sets for a machine of one's own.
        secrets: of the repository.
        environment: further variables that the runner's machine has.
        fork: as GitHub does for a change from another repository: no secrets, and rights to read alone.
        job: this one and those that it needs; "" for all.
    """
    given = rights(project, flow)
    github.logins[FLOW] = dict.fromkeys(given, "read") if fork else given
    if variables is None:
        variables = {"RUNNER": RUNNER, "APPROVAL": "enforced", "PROJECT_STATE": str(project.state)}
    work = project.folder.parent
    artifacts, payload = work / "artifacts", work / "event.json"
    artifacts.mkdir(exist_ok=True)
    payload.write_text(json.dumps(told or {}), encoding="utf-8")
    has = {"GITHUB_API_URL": github.address, "GITHUB_REPOSITORY": github.name, "STUB_ARTIFACTS": str(artifacts)}
    # By these a job asks for a token. Where GitHub's address says of itself which job asks, the stand-in has to say it.
    place = "pull_request" if event == "pull_request" else "ref:refs/heads/main"
    if not fork:
        has["ACTIONS_ID_TOKEN_REQUEST_URL"] = f"{github.address}/id-token?flow={flow}.yml&place={place}"
        has["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = FLOW
    has |= {"OMP_NUM_THREADS": "1", **project.installed, **(environment or {})}
    command = [
        need("act"), event, "--no-cache-server", "--pull=false", "--actor=someone",
        f"--workflows={project.folder}/.github/workflows/{flow}.yml", f"--eventpath={payload}",
        f"--action-cache-path={work / 'actions'}", *_stubs(project.folder),
    ]  # fmt: skip
    command += ["--job", job] if job else []
    command += [f"--platform={label}=-self-hosted" for label in ("ubuntu-24.04", RUNNER)]
    command += [f"--env={name}={value}" for name, value in has.items()]
    command += [f"--var={name}={value}" for name, value in variables.items()]
    command += [
        f"--secret={name}={value}" for name, value in {"GITHUB_TOKEN": FLOW, **({} if fork else secrets or {})}.items()
    ]
    done = subprocess.run(
        command, cwd=project.folder, env=project.environment(), capture_output=True, text=True, check=False
    )
    log = COLOURS.sub("", done.stdout + done.stderr)
    (work / f"{flow}.log").write_text(log, encoding="utf-8")
    # act runs nothing on a machine that it was not told of, and calls that a success.
    assert "Skipping unsupported platform" not in log
    return Run(done.returncode, log, artifacts)


def _stubs(folder: Path) -> list[str]:
    """Return the options that put stand-ins in the place of the actions, which no runner can fetch here."""
    files = (folder / ".github").rglob("*.yml")
    used = {found.groups() for path in files for found in USES.finditer(path.read_text(encoding="utf-8"))}
    flags = []
    for action, version in sorted(used - {each for each in used if each[0] == "actions/checkout"}):
        stub = STUBS / action
        assert (stub / "action.yml").is_file(), f"no stub for {action}"
        flags += ["--local-repository", f"{action}@{version}={stub}"]
    return flags
