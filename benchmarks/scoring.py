"""Time scoring of a large table, Parquet to Parquet, against MLflow's pyfunc and against reading and writing alone.

All take 100,000 rows at a time and write all columns and the scores, as Parquet with zstd. `churn score` is timed as a
user waits for it, from its start to its end; the references only after their imports. Each runs on one core, then on
two. Before that, the scores of both are compared.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .processes import PEERS, Finished, cores, finish
from .project import Project, chosen_project, install_environment, versions, workspace
from .timing import (
    CommandError,
    Comparison,
    Section,
    Several,
    arguments,
    environment,
    measure_several,
    progress,
    report_sections,
    seconds,
    working,
)

OURS, FEWER = "churn score", "churn score, 1/10 of the rows"
MLFLOW = "MLflow pyfunc"
LIMIT = "read and write"
RATE, PROCESSOR, MEMORY = "rate", "processor time", "peak memory"
UNITS = {RATE: "rows/s", PROCESSOR: "s", MEMORY: "MiB"}
ROWS = 5_000_000
TENTH = 10
TOLERANCE = 1e-5  # of a probability


@dataclass(frozen=True)
class Scorer:
    """A way to score a file.

    Attributes:
        command: gives the command line for a source and a target.
        folder: where it is started.
        env: its environment.
        in_process: it prints its own seconds, which count instead of the whole process's.
    """

    command: Callable[[Path, Path], Sequence[str | Path]]
    folder: Path
    env: dict[str, str]
    in_process: bool = True

    def run(self, source: Path, target: Path, on: Sequence[int], log: Path) -> tuple[float, Finished]:
        """Score a file on the cores `on` and return the seconds that count, and what is known of the process."""
        env = self.env | {"OMP_NUM_THREADS": str(len(on) or 1)}
        done = finish(self.command(source, target), self.folder, env, on, log)
        return json.loads(done.output.splitlines()[-1])["seconds"] if self.in_process else done.seconds, done


def ours(project: Project, folder: Path) -> Scorer:
    """Return the project's verb with its default parameters."""
    model = str(folder / "artifact")
    place = folder / "ours"  # what it writes beside its target must not be left in a project that is somebody's
    place.mkdir()
    for name in ("params.yaml", "pyproject.toml"):
        shutil.copy(project.folder / name, place)
    return Scorer(
        lambda source, target: project.verb("score", str(source), str(target), "--model", model, "--keep-columns"),
        place,
        project.env,
        in_process=False,
    )


def limit(project: Project, folder: Path) -> Scorer:
    """Return what reads and writes only, with the project's pyarrow."""
    command = project.python(str(PEERS / "copy_table.py"))
    return Scorer(lambda source, target: (*command, source, target), folder, project.env)


def mlflow(project: Project, folder: Path) -> Scorer:
    """Return MLflow's pyfunc with the fitted pipeline."""
    scripts = install_environment(folder, "mlflow", ["mlflow", *versions(project, "numpy", "scikit-learn")])
    env = environment({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}, path=[scripts])
    seconds((scripts / "python", PEERS / "mlflow_model.py", folder), folder, env)
    command = (scripts / "python", PEERS / "mlflow_score.py", folder / "mlflow-model")
    return Scorer(lambda source, target: (*command, source, target), folder, env)


def check(project: Project, one: Scorer, other: Scorer, source: Path, rows: int) -> None:
    """Score a table with both and compare.

    Raises:
        CommandError: a row is missing, or a score differs.
    """
    folder = source.parent
    targets = folder / "checked-ours.parquet", folder / "checked-theirs.parquet"
    for scorer, target in zip((one, other), targets, strict=True):
        scorer.run(source, target, (), folder / "log")
    command = project.python(str(PEERS / "compare_scores.py"), str(targets[0] / "predictions"), str(targets[1]))
    found = json.loads(finish(command, folder, project.env, (), folder / "log").output)
    remove(*targets)
    if found["rows"] != rows or found["difference"] > TOLERANCE:
        raise CommandError(
            f"Of {rows} rows {found['rows']} were scored; the scores differ by {found['difference']:.2g}."
        )


def remove(*targets: Path) -> None:
    """Delete what was written: a file, or a folder of files."""
    for target in targets:
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


def subject(name: str, scorer: Scorer, source: Path, rows: int, on: Sequence[int]) -> Several:
    """Return a scorer on some cores as something to measure."""

    def run() -> dict[str, float]:
        target = source.parent / "scored.parquet"
        taken, done = scorer.run(source, target, on, source.parent / "log")
        remove(target)
        return {RATE: rows / taken, PROCESSOR: done.processor_seconds, MEMORY: done.peak}

    return Several(on_cores(name, len(on)), run, warm_up=lambda: None)  # `check` has warmed everything up


def on_cores(name: str, count: int) -> str:
    """Return a subject's name with its number of cores; none: it was not kept on any."""
    return f"{name}, {count} core{'s' if count > 1 else ''}" if count else name


def comparisons(count: int, *, alone: bool) -> dict[str, list[Comparison]]:
    """Return what is put against what on so many cores."""
    names = OURS, LIMIT, MLFLOW, FEWER
    own, limited, peer, fewer = (on_cores(name, count) for name in names)
    used = [Comparison(own, limited)]
    rates = [Comparison(own, limited, 0.3, at_least=True)]
    memory = [Comparison(own, fewer, 1.2), Comparison(own, limited)]
    if not alone:
        rates.insert(0, Comparison(own, peer, 1.5, at_least=True))
        used.insert(0, Comparison(own, peer))
        memory.append(Comparison(own, peer))
    return {RATE: rates, PROCESSOR: used, MEMORY: memory}


def main() -> int:
    """Run the benchmark."""
    parser = arguments(__doc__ or "", rounds=3)
    parser.add_argument("--rows", type=int, default=ROWS, help="of the table, at least 10 (default: %(default)s)")
    parser.add_argument("--cores", type=int, nargs="*", choices=(1, 2), default=(1, 2), help="default: 1 and then 2")
    parser.add_argument("--alone", action="store_true", help="leave MLflow out")
    parser.add_argument("--project", type=Path, help="a project that is rendered and installed, not the last commit")
    options = parser.parse_args()
    free = cores()
    counts = [count for count in options.cores if count <= len(free)] or [0]
    if counts != [*options.cores]:
        progress.print(f"Measured on {counts} cores only: there are no more, or no taskset. 0: all there are.")
    skipped = {}
    with workspace() as folder:
        project = chosen_project(folder, options.project, "serving_mode=batch")
        script = str(PEERS / "twenty_columns.py")
        table, small = folder / "rows.parquet", folder / "fewer.parquet"
        with working(f"making a model and {options.rows:,} rows"):
            for words in (
                ("model", str(folder)),
                ("table", str(table), str(options.rows)),
                ("table", str(small), str(options.rows // TENTH)),
            ):
                seconds(project.python(script, *words), project.folder, project.env)
        known = {OURS: ours(project, folder), LIMIT: limit(project, folder)}
        if not options.alone:
            try:
                known[MLFLOW] = mlflow(project, folder)
            except CommandError as error:
                skipped[MLFLOW] = str(error)
        if MLFLOW in known:
            with working("comparing the scores"):
                check(project, known[OURS], known[MLFLOW], small, options.rows // TENTH)
        subjects = []
        for count in counts:
            on = free[:count]
            subjects += [subject(name, scorer, table, options.rows, on) for name, scorer in known.items()]
            subjects.append(subject(FEWER, known[OURS], small, options.rows // TENTH, on))
        optional = frozenset(on_cores(MLFLOW, count) for count in counts)
        measured = measure_several(subjects, UNITS, options.rounds, optional)
    pairs = [comparisons(count, alone=options.alone) for count in counts]
    measured[RATE].skipped |= skipped
    sections = [
        Section(kind, each, [pair for found in pairs for pair in found[kind]]) for kind, each in measured.items()
    ]
    return report_sections(sections, options)


if __name__ == "__main__":
    sys.exit(main())
