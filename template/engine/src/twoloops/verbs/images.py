"""The verb of the images that the platform runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from twoloops.verbs import DELIVERY, Json, app, tell, verb


class Engine(StrEnum):
    """What builds and pushes."""

    docker = "docker"
    podman = "podman"


@app.command(rich_help_panel=DELIVERY)
def image(
    engine: Annotated[Engine | None, typer.Option(help="Default: the one that is installed.")] = None,
    as_json: Json = False,
) -> None:
    """Build and push the images that serve and that train; those that the registry has are left as they are."""
    from twoloops.platforms import platform

    found = platform.push_images(engine.value if engine else None, lambda line: typer.echo(line, err=as_json))
    lines = [f"{kind}: {reference}" for kind, reference in found.items()]
    tell(found, as_json, lines, verb("run --submit"))
