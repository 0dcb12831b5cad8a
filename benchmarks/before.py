"""Time this commit's project against that of another commit or release, in turns: nothing may have become slower.

Both projects are rendered with the same answers and installed on this machine; each has its own model of 20 columns,
made by the benchmarks of its own commit. Of each command the wall time and the processor time are taken: what another
program takes away from the machine is in the first and not in the second.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .processes import ONE_THREAD, finish
from .project import DATA, PREDICTIONS, ROOT, Project, clone, commit, render, run_everything, tag, workspace
from .serving import FIRST, MANY, MEMORY, ONE, PROCESSOR, READY, one_round, rate
from .serving import ours as service
from .timing import (
    Comparison,
    Section,
    Several,
    arguments,
    environment,
    measure_several,
    report_sections,
    seconds,
    working,
)

NOW, BEFORE = "now", "before"
WALL, USED, COMPARE = "wall time", "processor time", "compare"
GOAL = 1.05
ANSWERS = ("serving_mode=online_and_batch",)
VERBS = {
    "--help": ("--help",),
    "simulate": ("simulate", "--force"),
    "prepare": ("prepare",),
    "train": ("train",),
    "evaluate": ("evaluate",),
    "run, nothing changed": ("run",),
    "predict": ("predict", DATA, PREDICTIONS),
}
# Each kind of figure has its section; a command's figures are of its own kind.
UNITS = {f"{name}: {kind}": "s" for name in (*VERBS, "score", "drift") for kind in (WALL, USED)}
UNITS |= {f"drift: {COMPARE}": "s"}
SERVICE = {READY: "s", FIRST: "s", rate(ONE): "requests/s", rate(MANY): "requests/s", PROCESSOR: "ms", MEMORY: "MiB"}
PARTS = ("verbs", "service", "score", "drift")


@dataclass(frozen=True)
class State:
    """A commit's project.

    Attributes:
        name: how tables call it.
        project: rendered and installed; its inner loop has run.
        peers: its commit's programs that make the model and compare drift.
        model: where its model of 20 columns is.
    """

    name: str
    project: Project
    peers: Path
    model: Path

    def run(self, kind: str, command: Sequence[str | Path], log: Path) -> dict[str, float]:
        """Run a command in the project and return its figures."""
        done = finish(command, self.project.folder, self.project.env | ONE_THREAD, (), log)
        found = {f"{kind}: {WALL}": done.seconds, f"{kind}: {USED}": done.processor_seconds}
        if kind == "drift":
            found[f"drift: {COMPARE}"] = json.loads(done.output.splitlines()[-1])["seconds"][COMPARE]
        return found


def make(name: str, revision: str, folder: Path, rows: int) -> State:
    """Render and install the project of a commit of this repository, run its loop, and make its model and tables."""
    template = clone(str(ROOT), folder / "template", "--no-local")
    seconds(("git", "-c", "advice.detachedHead=false", "checkout", "--quiet", revision), template)
    seconds(("git", "tag", "--delete", *tags), template) if (tags := _tags(template)) else None
    tag(template)
    project = Project(folder / "churn")
    with working(f"rendering and installing the project of {name}"):
        render(template, project.folder, ANSWERS)
        commit(project.folder)
        seconds(("uv", "sync", "--quiet"), project.folder, environment())
    run_everything(project)
    state = State(name, project, template / "benchmarks/peers", folder / "model")
    state.model.mkdir()
    script = str(state.peers / "twenty_columns.py")
    for words in (
        ("model", str(state.model)),
        ("table", str(state.model / "rows.parquet"), str(rows)),
        ("table", str(state.model / "later.parquet"), "100000", "0.3"),
    ):
        seconds(project.python(script, *words), project.folder, project.env)
    return state


def _tags(repository: Path) -> list[str]:
    """Return the tags of a clone: Copier would take the newest release in place of the commit."""
    return [path.name for path in (repository / ".git/refs/tags").glob("*")] + [
        line.rpartition("refs/tags/")[2]
        for line in _packed(repository).splitlines()
        if "refs/tags/" in line and not line.startswith(("#", "^"))
    ]


def _packed(repository: Path) -> str:
    path = repository / ".git/packed-refs"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def commands(state: State, parts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the command lines that are timed, by kind."""
    found = {name: state.project.verb(*words) for name, words in VERBS.items()} if "verbs" in parts else {}
    artifact = str(state.model / "artifact")
    if "score" in parts:
        # Another target each time would grow; the same one with --force scores anew.
        found["score"] = state.project.verb(
            "score", str(state.model / "rows.parquet"), str(state.model / "scored"), "--model", artifact, "--force"
        )
    if "drift" in parts:
        found["drift"] = state.project.python(
            str(state.peers / "drift_compare.py"), artifact, str(state.model / "later.parquet")
        )
    return found


def subjects(states: Sequence[State], parts: Sequence[str], folder: Path, duration: float) -> list[Several]:
    """Return what is measured, each command of one state beside that of the other."""
    found: list[Several] = []
    by_state = [commands(state, parts) for state in states]
    for kind in by_state[0]:
        for state, known in zip(states, by_state, strict=True):
            run: Callable[[], dict[str, float]] = lambda state=state, kind=kind, known=known: state.run(  # type: ignore[misc]  # noqa: E731
                kind, known[kind], folder / "log"
            )
            found.append(Several(state.name, run))
    if "service" in parts:
        for state in states:
            place = folder / f"service-{state.name}"
            place.mkdir()
            server = service(state.project, state.model, place, capture=True)
            run = lambda server=server, state=state: {  # type: ignore[misc]  # noqa: E731
                kind: value
                for kind, value in one_round(server, state.model, folder, duration).items()
                if kind in SERVICE
            }
            found.append(Several(state.name, run))
    return found


def main() -> int:
    """Run the benchmark."""
    parser = arguments(__doc__ or "", rounds=7)
    parser.add_argument("--than", default="v0.2.0", help="the commit or release before (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=500_000, help="of the table that is scored (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="of each load (default: %(default)s)")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="default: all")
    options = parser.parse_args()
    with workspace() as folder:
        states = [
            make(name, revision, folder / name, options.rows)
            for name, revision in ((BEFORE, options.than), (NOW, "HEAD"))
        ]
        measured = measure_several(
            subjects(states, options.parts, folder, options.seconds), UNITS | SERVICE, options.rounds
        )
    sections = [
        Section(
            kind,
            each,
            [
                Comparison(NOW, BEFORE, 1 / GOAL, at_least=True)
                if each.unit == "requests/s"
                else Comparison(NOW, BEFORE, GOAL)
            ],
        )
        for kind, each in measured.items()
        if each.values
    ]
    return report_sections(sections, options)


if __name__ == "__main__":
    sys.exit(main())
