"""Time commands against each other, in turns: A B A B.

What a busy machine does to one command it does to its neighbour in the same round too. So the
figure to read is the median of the ratios within the rounds, not a ratio of two medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

# What the caller's shell or `uv run` set for this process must not reach the commands that are timed: they run with
# the defaults of Python and uv, which write bytecode when a module is first imported and not when it is installed.
LEFT_OUT = (
    "MLFLOW_TRACKING_URI",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONPYCACHEPREFIX",
    "UV_COMPILE_BYTECODE",
    "UV_PROJECT",
    "UV_PROJECT_ENVIRONMENT",
    "UV_RUN_RECURSION_DEPTH",
    "VIRTUAL_ENV",
)

output = Console()
progress = Console(stderr=True)


class CommandError(Exception):
    """A command that should have been timed failed."""


@dataclass(frozen=True)
class Subject:
    """Something to time.

    Attributes:
        name: how tables call it.
        run: does it once and returns the seconds that it took.
        warm_up: what runs once before the rounds; None: `run`, its time thrown away.
        rounds: takes part in the first so many rounds only; None: in all.
    """

    name: str
    run: Callable[[], float]
    warm_up: Callable[[], object] | None = None
    rounds: int | None = None


@dataclass(frozen=True)
class Comparison:
    """A subject against its reference, and the largest ratio that is aimed at."""

    subject: str
    reference: str
    goal: float | None = None


@dataclass
class Measured:
    """The seconds of every round by subject, and why a subject has none."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def ratios(self, comparison: Comparison) -> list[float]:
        """Return subject / reference for each round in which both took part."""
        pairs = zip(self.seconds.get(comparison.subject, []), self.seconds.get(comparison.reference, []), strict=False)
        return [subject / reference for subject, reference in pairs]

    def meets(self, comparison: Comparison) -> bool:
        """Whether the goal is reached; a goal that could not be measured is not."""
        if comparison.goal is None:
            return True
        ratios = self.ratios(comparison)
        return bool(ratios) and median(ratios) <= comparison.goal


def environment(extra: Mapping[str, str] | None = None, path: Sequence[Path] = ()) -> dict[str, str]:
    """Return the environment of a timed command.

    Args:
        extra: variables to set.
        path: folders to put in front of PATH.
    """
    kept = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    # The same interpreter for everybody, whatever a project would choose by itself.
    kept["UV_PYTHON"] = f"{sys.version_info.major}.{sys.version_info.minor}"
    kept["PATH"] = os.pathsep.join([*map(str, path), kept.get("PATH", "")])
    return kept | dict(extra or {})


def seconds(command: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None) -> float:
    """Run a command to its end and return the wall time of the whole process.

    Raises:
        CommandError: the command cannot be started or exits with another code than 0.
    """
    line = " ".join(map(str, command))
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            env=dict(env or environment()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        raise CommandError(f"{line}: {error}") from error
    elapsed = time.perf_counter() - start
    if done.returncode:
        last_lines = "\n".join(done.stdout.decode(errors="replace").strip().splitlines()[-15:])
        raise CommandError(f"{line} exited with {done.returncode}:\n{last_lines}")
    return elapsed


def timed(name: str, command: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None) -> Subject:
    """Return a subject that is one command."""
    return Subject(name, lambda: seconds(command, folder, env))


def working(what: str) -> AbstractContextManager[object]:
    """Say what goes on: with a moving sign on a terminal, with a line in a log."""
    if progress.is_terminal:
        return progress.status(what)
    progress.print(what, markup=False, highlight=False)
    return nullcontext()


def measure(subjects: Sequence[Subject], rounds: int, optional: frozenset[str] = frozenset()) -> Measured:
    """Warm every subject up, then run all of them in turns.

    Args:
        subjects: in the order in which each round runs them.
        rounds: how many rounds.
        optional: names that may fail; they are left out from then on, and the reason is kept.

    Raises:
        CommandError: a subject failed that is not optional.
    """
    measured = Measured()

    def attempt(subject: Subject, what: str, action: Callable[[], object]) -> object:
        try:
            with working(what):
                return action()
        except CommandError as error:
            if subject.name not in optional:
                raise
            measured.skipped[subject.name] = str(error)
            measured.seconds.pop(subject.name, None)
            progress.print(f"{subject.name} is left out: {error}", markup=False, highlight=False)
            return None

    for subject in subjects:
        attempt(subject, f"warm-up: {subject.name}", subject.warm_up or subject.run)
    for number in range(1, rounds + 1):
        for subject in subjects:
            if subject.name in measured.skipped or number > (subject.rounds or rounds):
                continue
            taken = attempt(subject, f"round {number} of {rounds}: {subject.name}", subject.run)
            if isinstance(taken, float):
                measured.seconds.setdefault(subject.name, []).append(taken)
                progress.print(f"  {taken:.2f} s  {subject.name}", markup=False, highlight=False)
    return measured


def arguments(description: str, rounds: int) -> argparse.ArgumentParser:
    """Return the parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--rounds", type=_positive, default=rounds, help="rounds after the warm-up (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single time and ratio into FILE")
    parser.add_argument("--demand", action="store_true", help="exit with 1 if a goal is missed or was not measured")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def report(
    title: str,
    measured: Measured,
    comparisons: Sequence[Comparison],
    options: argparse.Namespace,
    steps: Mapping[str, Mapping[str, list[float]]] | None = None,
) -> int:
    """Print the tables, write the JSON file that was asked for, and return the exit code.

    Args:
        title: the heading.
        measured: what was timed.
        comparisons: what is put against what.
        options: parsed by a parser of `arguments`.
        steps: the seconds of every round by subject and step, where a subject has several.
    """
    output.print(times_table(title, measured.seconds))
    for name, by_step in (steps or {}).items():
        output.print(times_table(f"{name}, by step", by_step))
    if comparisons:
        output.print(ratios_table(measured, comparisons))
    for name, reason in measured.skipped.items():
        output.print(f"Left out: {name}. {reason}", markup=False, highlight=False)
    if options.json:
        document = as_document(title, measured, comparisons) | {"steps": steps or {}}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    missed = [comparison for comparison in comparisons if not measured.meets(comparison)]
    if not (options.demand and missed):
        return 0
    for comparison in missed:
        output.print(f"Goal missed: {comparison.subject} against {comparison.reference}", style="red")
    return 1


def times_table(title: str, times: Mapping[str, Sequence[float]]) -> Table:
    """Return median and range of each name."""
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    for heading in ("median s", "min-max s", "rounds"):
        table.add_column(heading, justify="right")
    for name, values in times.items():
        table.add_row(name, f"{median(values):.3f}", f"{min(values):.3f}-{max(values):.3f}", str(len(values)))
    return table


def ratios_table(measured: Measured, comparisons: Sequence[Comparison]) -> Table:
    """Return the median ratio of each comparison beside its goal."""
    table = Table(title="ratios within the rounds: below 1 is faster than the reference", title_justify="left")
    table.add_column("what")
    table.add_column("reference")
    for heading in ("median", "min-max", "goal"):
        table.add_column(heading, justify="right")
    for comparison in comparisons:
        ratios = measured.ratios(comparison)
        goal = "-" if comparison.goal is None else f"<= {comparison.goal:g}x"
        if not ratios:
            table.add_row(comparison.subject, comparison.reference, "not measured", "", goal)
            continue
        colour = "" if comparison.goal is None else "green" if measured.meets(comparison) else "red"
        table.add_row(
            comparison.subject,
            comparison.reference,
            f"{median(ratios):.2f}x",
            f"{min(ratios):.2f}-{max(ratios):.2f}",
            goal,
            style=colour,
        )
    return table


def as_document(title: str, measured: Measured, comparisons: Sequence[Comparison]) -> dict[str, object]:
    """Return everything that was measured as plain values; of the machine only what figures depend on."""
    return {
        "benchmark": title,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "seconds": measured.seconds,
        "skipped": measured.skipped,
        "comparisons": [
            {
                "subject": comparison.subject,
                "reference": comparison.reference,
                "goal": comparison.goal,
                "met": None if comparison.goal is None else measured.meets(comparison),
                "ratios": measured.ratios(comparison),
                "median": median(ratios) if (ratios := measured.ratios(comparison)) else None,
            }
            for comparison in comparisons
        ],
    }
