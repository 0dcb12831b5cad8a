"""The verb that says what is in order here. It works where others do not, and so has a room of its own."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from twoloops.verbs import DEVELOPMENT, Json, app

COLOURS = {"note": "yellow", "wrong": "red"}


@app.command(rich_help_panel=DEVELOPMENT)
def doctor(as_json: Json = False) -> None:
    """Say whether engine, machine, libraries, configuration and parameters are in order, and what to do where not."""
    from twoloops import doctor as examination

    found = examination.examine()
    wrong = sum(each.state == "wrong" for each in found)
    if as_json:
        typer.echo(json.dumps({"in_order": not wrong, "findings": [asdict(each) for each in found]}))
    else:
        for line in examination.describe(found):
            typer.secho(line, fg=COLOURS.get(line.partition(" ")[0]))
    if wrong:
        raise typer.Exit(1)
