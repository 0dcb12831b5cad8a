"""Time the making of a project: this template against the smallest one, and against other generators."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

from .project import COPIER, clone, clone_template, install_tool, one_file_template, workspace
from .timing import CommandError, Comparison, Measured, Subject, arguments, environment, measure, report, seconds

OURS = "copier-mlops"
ONE_FILE = "one-file template"
CCDS = "cookiecutter-data-science"
KEDRO = "kedro new, without an example"
KEDRO_STARTER = "kedro new, spaceflights-pandas"
GOAL = 3.0

Command = Callable[[Path], tuple[str | Path, ...]]  # the folder to make: how to make it


def main() -> int:
    """Run the benchmark."""
    parser = arguments(__doc__ or "", rounds=9)
    parser.add_argument("--no-peers", action="store_true", help="only the one-file template")
    parser.add_argument(
        "--kedro-starters", default="https://github.com/kedro-org/kedro-starters", metavar="PATH_OR_URL"
    )
    parser.add_argument(
        "--ccds-template", default="https://github.com/drivendataorg/cookiecutter-data-science", metavar="PATH_OR_URL"
    )
    options = parser.parse_args()
    with workspace() as folder:
        ours, smallest = clone_template(folder), one_file_template(folder)
        commands: dict[str, Command] = {
            OURS: lambda target: (*COPIER, "copy", "--defaults", "--quiet", ours, target),
            ONE_FILE: lambda target: (*COPIER, "copy", "--defaults", "--quiet", smallest, target),
        }
        skipped: dict[str, str] = {}
        if not options.no_peers:
            commands |= peers(folder, options, skipped)
        subjects = [subject(name, command, folder) for name, command in commands.items()]
        measured = measure(subjects, options.rounds, optional=frozenset(commands) - {OURS, ONE_FILE})
    measured.skipped |= skipped
    return report("From nothing to a project's files", measured, comparisons(measured), options)


def subject(name: str, command: Command, folder: Path) -> Subject:
    """Return a subject that makes a new folder each time."""
    number = itertools.count(1)
    place = folder / "made" / "".join(letter if letter.isalnum() else "-" for letter in name)
    env = environment({"DO_NOT_TRACK": "1", "KEDRO_DISABLE_TELEMETRY": "1"})

    def run() -> float:
        parent = place / str(next(number))
        parent.mkdir(parents=True)
        return seconds(command(parent / "project"), parent, env)

    return Subject(name, run)


def peers(folder: Path, options: argparse.Namespace, skipped: dict[str, str]) -> dict[str, Command]:
    """Install the other generators; what cannot be had is noted in `skipped` with the reason."""
    commands: dict[str, Command] = {}
    try:
        template = clone(options.ccds_template, folder / "ccds-template")
        ccds = install_tool(folder, "ccds", "cookiecutter-data-science")
        settings = folder / "cookiecutter.yaml"  # its caches stay in the workspace
        settings.write_text(f"cookiecutters_dir: {folder}/cookiecutters\nreplay_dir: {folder}/replay\n")
        commands[CCDS] = lambda target: (
            ccds,
            template,
            "--no-input",
            f"--config-file={settings}",
            f"--output-dir={target.parent}",
        )
    except CommandError as error:
        skipped[CCDS] = str(error)
    try:
        kedro = install_tool(folder, "kedro", "kedro")
    except CommandError as error:
        skipped[KEDRO] = skipped[KEDRO_STARTER] = str(error)
        return commands
    commands[KEDRO] = lambda _: (kedro, "new", "--name=Project", "--tools=none", "--example=n", "--telemetry=no")
    try:
        starters = clone(options.kedro_starters, folder / "kedro-starters")
    except CommandError as error:
        skipped[KEDRO_STARTER] = str(error)
        return commands
    commands[KEDRO_STARTER] = lambda _: (
        kedro,
        "new",
        f"--starter={starters}",
        "--directory=spaceflights-pandas",
        "--name=Project",
        "--telemetry=no",
    )
    return commands


def comparisons(measured: Measured) -> list[Comparison]:
    """Return what is put against what: the goal against the smallest template, the peers for information."""
    others = [name for name in measured.values if name not in {OURS, ONE_FILE}]
    return [Comparison(OURS, ONE_FILE, GOAL), *(Comparison(OURS, name) for name in others)]


if __name__ == "__main__":
    sys.exit(main())
