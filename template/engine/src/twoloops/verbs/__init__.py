"""The verbs, by room: what each module here adds to the command, and what all of them share.

Heavy libraries are loaded inside the verbs, so that the command itself answers at once.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from twoloops import config
from twoloops.contracts.platform import NotOfferedError, Platform
from twoloops.errors import ProjectError, RedVerdictError
from twoloops.platforms import platform

app = typer.Typer()  # every verb of this process; cli.command chooses those of the project


def from_caller(context: typer.Context, value: Any) -> Any:
    """Return a path that a user gave as it is seen from the project's folder, where every verb works.

    Of an option or argument that takes a path, this is the callback. A URL (s3://..., models:/...) stays as it is.
    """
    start = context.find_root().obj  # the folder in which the user is; None where that is the project's
    if value is None or start is None or start == Path.cwd() or re.match(r"[a-z][a-z0-9+.-]+:/", str(value)):
        return value
    path = Path(os.path.normpath(start / value))
    return type(value)(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines, and nothing else.")]
Submit = Annotated[
    bool, typer.Option("--submit", help="Run it on the platform, and wait: it leaves here what a local run leaves.")
]
INNER_LOOP = "Inner loop: develop a model"
OUTER_LOOP = "Outer loop: use a model"
DELIVERY = "Delivery: flows on the code host"
DEVELOPMENT = "Development"


def bring_into_use() -> str:
    """Return the verb that brings a registered model into use."""
    return "deploy" if config.current().online else "promote"


def platform_that(offer: str) -> Platform:
    """Return the platform, which has to have what an option asks for.

    Raises:
        ProjectError: it has not.
    """
    if offer not in platform.OFFERS:
        raise NotOfferedError(platform.NAME, offer)
    return platform


def tell(result: dict[str, Any], as_json: bool, lines: list[str], next_step: str = "") -> None:
    """Print what a verb did: `result` for machines, or the lines and the next step for people."""
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False))
        return
    for line in lines:
        typer.echo(line)
    if next_step and "DVC_STAGE" not in os.environ:  # within the graph the next step comes by itself
        typer.secho(f"Next: {next_step}", fg="cyan")


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on standard error that something goes on, where a person watches."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def verb(name: str) -> str:
    """Return the command line of a verb, to tell it."""
    return f"uv run {config.current().package} {name}"


def run_verb(words: Sequence[str]) -> None:
    """Run one of the verbs in this process, as the command would.

    Args:
        words: the verb, its arguments and options.

    Raises:
        ProjectError: there is no such verb or option; and whatever the verb raises.
        RedVerdictError: the verdict is red.
    """
    # Typer brings a click of its own from some release on: the class is that of its errors.
    refused = cast(
        "type[Exception]", next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
    )
    try:
        code = typer.main.get_command(app).main(list(words), standalone_mode=False)
    except refused as error:
        raise ProjectError(
            f"{config.current().package} {' '.join(words)}: {error}", hint="Correct it in dvc.yaml."
        ) from error
    if code == RedVerdictError.code:
        raise RedVerdictError("The verdict is red.", hint="reports/model_card.md has every demand of the gate.")
    if code:
        raise ProjectError(f"{' '.join(words)} ended with {code}.", hint="What it printed stands above.")
