"""The verb that takes away what runs."""

from __future__ import annotations

from typing import Annotated

import typer

from twoloops import config
from twoloops.platforms import platform
from twoloops.verbs import OUTER_LOOP, Json, app, bring_into_use, tell, verb, working


@app.command(rich_help_panel=OUTER_LOOP)
def stop(
    environments: Annotated[list[str] | None, typer.Argument(help="Where. Default: everywhere.")] = None,
    as_json: Json = False,
) -> None:
    """Stop what serves and what scores on schedule; requests that have begun are answered."""
    with platform.lock("A stop"), working("stopping"):
        stopped = {name: platform.stop(name) for name in environments or config.current().environments}
    done, nothing = (
        (platform.STOPPED, "nothing ran") if config.current().online else ("scores no more", "nothing scored")
    )
    lines = [f"{name}: {done if ran else nothing}." for name, ran in stopped.items()]
    tell(stopped, as_json, lines, verb(bring_into_use() + ("" if config.current().online else " VERSION")))
