"""The verbs of the outer loop: a registered model comes into use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import OUTER_LOOP, Json, app, tell, verb, working


@app.command(rich_help_panel=OUTER_LOOP)
def promote(
    version: Annotated[str | None, typer.Argument(help="Default: the challenger. An older one rolls back.")] = None,
    as_json: Json = False,
) -> None:
    """Make the challenger, or the version named, the champion."""
    from ..outer_loop.promote import promote as step

    result = step(version)
    if result["champion"] == result["before"]:
        lines = [f"Version {result['champion']} is the champion already; nothing has changed."]
    else:
        lines = [f"Champion: version {result['champion']} (before: {result['before'] or 'none'})."]
    tell(result, as_json, lines, verb("predict INPUT OUTPUT"))


@app.command(rich_help_panel=OUTER_LOOP)
def predict(
    source: Annotated[str, typer.Argument(help="A Parquet or CSV table: a path or a URL.")],
    target: Annotated[Path, typer.Argument(help="The file to write: .parquet or .csv.")],
    model: Annotated[
        str | None, typer.Option(help="A folder, or models:/NAME@ALIAS. Default: the champion, else the challenger.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict every row of a table with a registered model."""
    from ..outer_loop.predict import predict as step

    with working("predicting"):
        result = step(source, target, model)
    tell(result, as_json, [f"{result['rows']:,} predictions by {result['model']} are in {result['output']}."])
