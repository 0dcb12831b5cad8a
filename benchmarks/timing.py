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
class Several:
    """Something of which a run gives several figures, such as seconds and memory.

    Attributes:
        name: how tables call it.
        run: does it once and returns its figures by kind.
        warm_up: as in Subject.
        rounds: as in Subject.
    """

    name: str
    run: Callable[[], Mapping[str, float]]
    warm_up: Callable[[], object] | None = None
    rounds: int | None = None


@dataclass(frozen=True)
class Comparison:
    """A subject against its reference, and the ratio that is aimed at.

    Attributes:
        subject: what is judged.
        reference: what it is put against; None: the subject's own figure is judged.
        goal: the largest ratio, or figure, that is aimed at.
        at_least: the goal is the smallest one instead.
    """

    subject: str
    reference: str | None
    goal: float | None = None
    at_least: bool = False

    def allows(self, ratio: float) -> bool:
        """Whether a ratio, or figure, reaches the goal."""
        return self.goal is None or (ratio >= self.goal if self.at_least else ratio <= self.goal)


@dataclass
class Measured:
    """The figures of every round by subject, what they count, and why a subject has none."""

    values: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unit: str = "s"

    def ratios(self, comparison: Comparison) -> list[float]:
        """Return subject / reference for each round in which both took part, or the subject's own figures."""
        subjects = self.values.get(comparison.subject, [])
        if comparison.reference is None:
            return subjects
        pairs = zip(subjects, self.values.get(comparison.reference, []), strict=False)
        return [subject / reference for subject, reference in pairs]

    def meets(self, comparison: Comparison) -> bool:
        """Whether the goal is reached; a goal that could not be measured is not."""
        if comparison.goal is None:
            return True
        ratios = self.ratios(comparison)
        return bool(ratios) and comparison.allows(median(ratios))


@dataclass(frozen=True)
class Section:
    """One kind of figure in a report: what was measured, and what is put against what."""

    title: str
    measured: Measured
    comparisons: Sequence[Comparison] = ()
    steps: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)


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
    return measure_several([_as_several(subject) for subject in subjects], {"time": "s"}, rounds, optional)["time"]


def _as_several(subject: Subject) -> Several:
    return Several(subject.name, lambda: {"time": subject.run()}, subject.warm_up, subject.rounds)


def measure_several(
    subjects: Sequence[Several], units: Mapping[str, str], rounds: int, optional: frozenset[str] = frozenset()
) -> dict[str, Measured]:
    """Do what `measure` does for subjects with several figures.

    Args:
        subjects: in the order in which each round runs them.
        units: the unit of each kind of figure.
        rounds: how many rounds.
        optional: as in `measure`.

    Returns:
        What was measured, by kind.

    Raises:
        CommandError: a subject failed that is not optional.
    """
    skipped: dict[str, str] = {}
    measured = {kind: Measured(unit=unit, skipped=skipped) for kind, unit in units.items()}

    def attempt(subject: Several, what: str, action: Callable[[], object]) -> object:
        try:
            with working(what):
                return action()
        except CommandError as error:
            if subject.name not in optional:
                raise
            skipped[subject.name] = str(error)
            for each in measured.values():
                each.values.pop(subject.name, None)
            progress.print(f"{subject.name} is left out: {error}", markup=False, highlight=False)
            return None

    for subject in subjects:
        attempt(subject, f"warm-up: {subject.name}", subject.warm_up or subject.run)
    for number in range(1, rounds + 1):
        for subject in subjects:
            if subject.name in skipped or number > (subject.rounds or rounds):
                continue
            found = attempt(subject, f"round {number} of {rounds}: {subject.name}", subject.run)
            if isinstance(found, Mapping):
                _record(measured, subject.name, found)
    return measured


def _record(measured: Mapping[str, Measured], name: str, found: Mapping[str, float]) -> None:
    for kind, value in found.items():
        measured[kind].values.setdefault(name, []).append(value)
        about = f", {kind}" if len(found) > 1 else ""
        progress.print(f"  {_figure(value)} {measured[kind].unit}  {name}{about}", markup=False, highlight=False)


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
    return report_sections([Section(title, measured, comparisons, steps or {})], options)


def report_sections(sections: Sequence[Section], options: argparse.Namespace) -> int:
    """Do what `report` does for a benchmark with several kinds of figures: one table of medians, one of ratios."""
    if len(sections) == 1:
        (section,) = sections
        output.print(values_table(section.title, section.measured.values, section.measured.unit))
    else:
        output.print(medians_table(sections))
    for section in sections:
        for name, by_step in section.steps.items():
            output.print(values_table(f"{name}, by step", by_step, section.measured.unit))
    if any(section.comparisons for section in sections):
        output.print(ratios_table(sections))
    skipped = {name: reason for section in sections for name, reason in section.measured.skipped.items()}
    for name, reason in skipped.items():
        output.print(f"Left out: {name}. {reason}", markup=False, highlight=False)
    if options.json:
        documents = [as_document(section) for section in sections]
        document = documents[0] if len(documents) == 1 else {"sections": documents}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    missed = [
        f"{section.title}: {each.subject}" + (f" against {each.reference}" if each.reference else "")
        for section in sections
        for each in section.comparisons
        if not section.measured.meets(each)
    ]
    if not (options.demand and missed):
        return 0
    for line in missed:
        output.print(f"Goal missed: {line}", style="red", markup=False, highlight=False)
    return 1


def values_table(title: str, values: Mapping[str, Sequence[float]], unit: str) -> Table:
    """Return median and range of each name."""
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    for heading in (f"median {unit}", f"min-max {unit}", "rounds"):
        table.add_column(heading, justify="right")
    for name, figures in values.items():
        smallest, largest = _figure(min(figures)), _figure(max(figures))
        table.add_row(name, _figure(median(figures)), f"{smallest}-{largest}", str(len(figures)))
    return table


def _figure(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def medians_table(sections: Sequence[Section]) -> Table:
    """Return the median of each kind of figure for each name; the JSON file has the single ones.

    The longer of the two lists goes down the page.
    """
    names = list(dict.fromkeys(name for section in sections for name in section.measured.values))
    kinds = [f"{section.title}, {section.measured.unit}" for section in sections]
    cells = [
        [_figure(median(figures)) if (figures := section.measured.values.get(name)) else "-" for name in names]
        for section in sections
    ]
    if len(names) > len(kinds):
        names, kinds, cells = kinds, names, [list(row) for row in zip(*cells, strict=True)]
    table = Table(title="medians", title_justify="left")
    table.add_column("what")
    for name in names:
        table.add_column(name, justify="right")
    for kind, row in zip(kinds, cells, strict=True):
        table.add_row(kind, *row)
    return table


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def ratios_table(sections: Sequence[Section]) -> Table:
    """Return the median ratio of each comparison beside its goal."""
    only_times = {section.measured.unit for section in sections} == {"s"}
    faster = ": below 1 is faster than the reference" if only_times else ""
    table = Table(title=f"ratios within the rounds{faster}", title_justify="left")
    several = len(sections) > 1
    for heading in ("figure", "what", "reference") if several else ("what", "reference"):
        table.add_column(heading)
    for heading in ("median", "min-max", "goal"):
        table.add_column(heading, justify="right")
    for section in sections:
        for comparison in section.comparisons:
            ratios = section.measured.ratios(comparison)
            reference, unit = (
                (comparison.reference, "x") if comparison.reference else ("-", f" {section.measured.unit}")
            )
            sign = ">=" if comparison.at_least else "<="
            goal = "-" if comparison.goal is None else f"{sign} {comparison.goal:g}{unit}"
            found = ("not measured", "")
            if ratios:
                found = (f"{_ratio(median(ratios))}{unit}", f"{_ratio(min(ratios))}-{_ratio(max(ratios))}")
            colour = "" if comparison.goal is None else "green" if section.measured.meets(comparison) else "red"
            kind = [section.title] if several else []
            table.add_row(*kind, comparison.subject, reference, *found, goal, style=colour)
    return table


def as_document(section: Section) -> dict[str, object]:
    """Return everything that was measured as plain values; of the machine only what figures depend on."""
    measured = section.measured
    return {
        "benchmark": section.title,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "unit": measured.unit,
        "values": measured.values,
        "skipped": measured.skipped,
        "comparisons": [
            {
                "subject": comparison.subject,
                "reference": comparison.reference,
                "goal": comparison.goal,
                "goal_is": "at least" if comparison.at_least else "at most",
                "met": None if comparison.goal is None else measured.meets(comparison),
                "ratios": measured.ratios(comparison),
                "median": median(ratios) if (ratios := measured.ratios(comparison)) else None,
            }
            for comparison in section.comparisons
        ],
        "steps": section.steps,
    }
