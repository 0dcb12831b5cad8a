"""The verb by which a flow's job logs in to the platform: the code host's token is exchanged for a role."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from twoloops import config
from twoloops.contracts.platform import Login, UntrustedError, role_variable
from twoloops.errors import ProjectError
from twoloops.hosts import host
from twoloops.platforms import platform
from twoloops.verbs import DELIVERY, app

Seconds = Annotated[
    int, typer.Option(help="For how long, in seconds; a role allows at most its own duration.", min=900)
]


@app.command(rich_help_panel=DELIVERY)
def login(
    role: Annotated[str, typer.Argument(help="plan, train, deploy-ENVIRONMENT or apply-ENVIRONMENT.")],
    seconds: Seconds = 3600,
    optional: Annotated[
        bool,
        typer.Option(
            "--optional",
            help="Go on without one before 'bootstrap', for a change from a fork, and where the job is not trusted.",
        ),
    ] = False,
) -> None:
    """Log a flow's job in to the platform, for its later steps: by the code host's token, no key is stored anywhere."""
    if role not in (known := roles()):
        raise ProjectError(f"There is no role {role!r}.", hint=f"Known: {', '.join(known)}.")
    if not host.in_flow():
        raise ProjectError(
            f"This is no job of a flow: {host.NAME} makes tokens for its own jobs alone.",
            hint=f"Log in to {platform.NAME} as you otherwise do; every verb takes that login.",
        )
    variables = host.variables()
    if optional and (reason := _missing(role)):
        typer.echo(f"No login to {platform.NAME}: {reason}.")
        return
    session = re.sub(r"[^A-Za-z0-9]+", "-", host.run_url() or role).strip("-")
    token = host.token(platform.audience(role))
    try:
        found = platform.log_in(Login(role, token, variables, session, seconds, host.temporary_folder()))
    except UntrustedError as error:  # such as on a branch, where a platform can only name one
        if not optional:
            raise
        typer.echo(f"No login to {platform.NAME}: {error}")
        return
    for name, value in found.items():
        host.set_variable(name, value)
    typer.echo(f"The later steps of this job are logged in to {platform.NAME} as {role}.")


def roles() -> list[str]:
    """Return the roles of the flows."""
    purposes = [f"{purpose}-{name}" for name in config.current().environments for purpose in ("deploy", "apply")]
    return ["plan", "train", *purposes]


def _missing(role: str) -> str:
    """Return why there can be no login, or nothing."""
    if host.from_fork():
        return "the change comes from a fork"
    if not host.variables().get(role_variable(role)):
        return "the verb 'bootstrap' has not told the flows of it yet"
    return ""
