"""The command: everything a project can do, for people, for DVC and for CI alike."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import typer

from twoloops import config
from twoloops.contracts.platform import IMAGES, INFRASTRUCTURE, PIPELINES, SCORING
from twoloops.errors import ProjectError
from twoloops.paths import JOB_VARIABLES
from twoloops.platforms import platform

# Threads that wait for one another must not keep busy the cores that other programs need.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


DOCTOR = "doctor"


def rooms() -> list[str]:
    """Return the rooms of verbs that the current project has, in the order in which the help lists them."""
    chosen, offers = config.current(), platform.OFFERS
    return [
        "inner_loop",
        "outer_loop",
        *(["online"] if chosen.online else []),
        *(["batch"] if chosen.batch else []),
        *(["stopping"] if chosen.online or SCORING in offers else []),
        *(["images"] if IMAGES in offers else []),
        "delivery",
        *(["login"] if offers & {INFRASTRUCTURE, PIPELINES} else []),
        *(["infrastructure"] if INFRASTRUCTURE in offers else []),
        "development",
        DOCTOR,
    ]


def main() -> None:
    """Run the command; an error that people can put right is told in words, any other as a traceback."""
    try:
        take_variables()
        if next((word for word in sys.argv[1:] if not word.startswith("-")), None) == DOCTOR:
            _run(["development", DOCTOR], "twoloops")  # asked when the project's configuration may be broken
        os.chdir(config.current().root)
        _run(rooms(), config.current().package)
    except ProjectError as error:
        _fail(error)


def take_variables() -> None:
    """Take over what an earlier verb of this job has set, where the code host itself brings no variable along."""
    file = Path(os.environ.get(JOB_VARIABLES, ""))
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            os.environ[name] = value


def _run(rooms: list[str], name: str) -> NoReturn:
    for room in rooms:
        import_module(f"twoloops.verbs.{room}")
    from twoloops.verbs import app

    app(prog_name=name)
    raise SystemExit


def _fail(error: ProjectError) -> NoReturn:
    typer.secho(f"Error: {error}", fg="red", err=True)
    if error.hint:
        typer.secho(f"What to do: {error.hint}", err=True)
    raise SystemExit(error.code)
