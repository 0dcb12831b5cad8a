"""The command: everything a project can do, for people, for DVC and for CI alike."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from twoloops import config, git
from twoloops.contracts.platform import IMAGES, INFRASTRUCTURE, LOGIN, SCORING
from twoloops.errors import ProjectError, RedVerdictError, explain_disk
from twoloops.paths import JOB_VARIABLES
from twoloops.platforms import platform

# Threads that wait for one another must not keep busy the cores that other programs need.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

logger = logging.getLogger(__name__)

VERBOSE = ("-v", "--verbose")
DEBUG = ("--debug",)
DOCTOR = "doctor"


def rooms() -> list[str]:
    """Return the rooms of verbs that the current project has, in the order in which the help lists them."""
    chosen, offers = config.current(), platform.OFFERS
    return [
        "drafting",
        "inner_loop",
        "outer_loop",
        *(["online"] if chosen.online else []),
        *(["batch"] if chosen.batch else []),
        *(["stopping"] if chosen.online or SCORING in offers else []),
        *(["images"] if IMAGES in offers else []),
        "delivery",
        *(["login"] if LOGIN in offers else []),
        *(["infrastructure"] if INFRASTRUCTURE in offers else []),
        "development",
        DOCTOR,
    ]


class _Verbs(TyperGroup):
    """The verbs; the options of all of them may stand before the verb and after it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move the options of all verbs to the front."""
        end = args.index("--") if "--" in args else len(args)
        first = [each for each in args[:end] if each in (*VERBOSE, *DEBUG)]
        rest = [each for each in args[:end] if each not in (*VERBOSE, *DEBUG)]
        return super().parse_args(ctx, [*first, *rest, *args[end:]])

    def invoke(self, ctx: Any) -> Any:
        """Run a verb. A red verdict is what it came to, and no error: it exits with a code of its own."""
        try:
            return super().invoke(ctx)
        except RedVerdictError as verdict:
            typer.secho(str(verdict), fg="red", err=True)
            if verdict.hint:
                typer.secho(f"What to do: {verdict.hint}", err=True)
            raise typer.Exit(verdict.code) from verdict


def command(wanted: Sequence[str]) -> typer.Typer:
    """Return a command with the verbs of some rooms, and no others: those of another project stay out.

    Args:
        wanted: the rooms; `rooms` has those of the current project.
    """
    names = [f"twoloops.verbs.{room}" for room in wanted]
    for name in names:
        import_module(name)
    from twoloops.verbs import app as known

    found = typer.Typer(
        cls=_Verbs,
        help="From data to a model in production, one verb a step. Start with: draft, or simulate; then run.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    found.callback()(_start)
    by_room = {name: [each for each in known.registered_commands if _room(each) == name] for name in names}
    found.registered_commands = [each for name in names for each in by_room[name]]
    return found


def _room(verb: Any) -> str:
    return str(verb.callback.__module__)


def _start(
    context: typer.Context,
    verbose: Annotated[
        bool, typer.Option(*VERBOSE, help="Log what is done, on standard error. May stand after the verb too.")
    ] = False,
    debug: Annotated[bool, typer.Option(*DEBUG, help="Log more, and show where an error came from.")] = False,
) -> None:
    start_logging(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)
    logger.info("%s in %s", context.invoked_subcommand, Path.cwd())


class _Handler(logging.StreamHandler[Any]):
    """Writes what the engine and its libraries log; known by its class, so that there is never a second one."""


def start_logging(level: int) -> None:
    """Log what the engine does from `level` on to standard error, and what libraries warn of.

    Args:
        level: of the module logging; WARNING logs nothing of what goes as it should.
    """
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if not isinstance(each, _Handler)]
    logging.getLogger("twoloops").setLevel(level)
    if level < logging.WARNING:
        handler = _Handler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)


def main() -> None:
    """Run the command in the project's folder; an error that people can put right is told in words.

    Paths that a user gives are meant from the folder in which the user is: `verbs.from_caller` takes care.
    """
    start = Path.cwd()
    try:
        take_variables()
        git.forget_elsewhere()
        if next((word for word in sys.argv[1:] if not word.startswith("-")), None) == DOCTOR:
            # It is asked when the project's configuration may be broken.
            command(["development", DOCTOR])(prog_name="twoloops", obj=start)
        os.chdir(config.current().root)
        command(rooms())(prog_name=config.current().package, obj=start)
    except ProjectError as error:
        fail(error)
    except OSError as error:
        explained = explain_disk(error)
        if explained is None:
            raise
        fail(explained)


def take_variables() -> None:
    """Take over what an earlier verb of this job has set, where the code host itself brings no variable along."""
    file = Path(os.environ.get(JOB_VARIABLES, ""))
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            os.environ[name] = value


def fail(error: ProjectError) -> NoReturn:
    """Print what happened and what to do, and exit with the error's code; with --debug also where it came from."""
    logger.debug("This led to the error below.", exc_info=error)
    typer.secho(f"Error: {error}", fg="red", err=True)
    if error.hint:
        typer.secho(f"What to do: {error.hint}", err=True)
    raise SystemExit(error.code)
