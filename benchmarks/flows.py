"""Time the flow `check` of a GitHub project, run by act with warm caches, against its verbs run by hand in turn."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.flows.hosts import act
from tests.flows.hosts.github_api import GitHub, serving
from tests.flows.project import FlowProject, begin
from tests.support.advisories import vulnerabilities

from .project import workspace
from .timing import CommandError, Comparison, Subject, arguments, measure, report, seconds

FLOW = "the flow check"
BY_HAND = "its verbs, by hand"
GOAL = 1.3
CHECK = ("check --reports", "scan", "fetch", "run --until evaluate", "report --publish")


def make(folder: Path) -> FlowProject:
    """Return an installed project that act can run."""
    project = act.readable(begin(folder / "churn", "github", played=False))
    project.installed = {}  # each job installs its own, as on a code host
    subprocess.run(["uv", "sync", "--quiet"], cwd=project.folder, env=project.environment(), check=True)
    return project


def by_flow(project: FlowProject, database: str) -> float:
    """Run the flow and return its seconds."""
    github = GitHub(project.origin, project.folder / ".github/workflows")
    with serving(github):
        start = time.perf_counter()
        done = act.run(project, github, "check", "push", variables={}, environment={"OSV_URL": database})
        taken = time.perf_counter() - start
    if done.code:
        raise CommandError(f"the flow check failed:\n{done.log[-2000:]}")
    return taken


def by_hand(project: FlowProject, database: str) -> float:
    """Run the same verbs one after the other, in a checkout where none has run before, and return the seconds."""
    project.git("clean", "--quiet", "--force", "-dx", "--exclude=.venv")
    env = project.environment(OSV_URL=database)
    verbs = [["uv", "run", project.package, *line.split()] for line in CHECK]
    return sum(seconds(command, project.folder, env) for command in verbs)


def main() -> int:
    """Run the benchmark."""
    options = arguments(__doc__ or "", rounds=3).parse_args()
    with workspace() as folder, vulnerabilities() as database:
        project = make(folder)
        subjects = [
            Subject(FLOW, lambda: by_flow(project, database)),
            Subject(BY_HAND, lambda: by_hand(project, database)),
        ]
        measured = measure(subjects, options.rounds)
    return report("Checking a change", measured, [Comparison(FLOW, BY_HAND, GOAL)], options)


if __name__ == "__main__":
    sys.exit(main())
