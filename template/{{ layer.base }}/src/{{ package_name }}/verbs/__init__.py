"""The verbs, by room: what each module here adds to the command, and what all of them share.

Heavy libraries are loaded inside the verbs, so that the command itself answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

PROGRAM = __name__.partition(".")[0]

app = typer.Typer(
    name=PROGRAM,
    help="From data to a model in production, one verb a step. Start with: simulate, then run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines, and nothing else.")]
INNER_LOOP = "Inner loop: develop a model"
OUTER_LOOP = "Outer loop: use a model"
DEVELOPMENT = "Development"


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
    return f"uv run {PROGRAM} {name}"
