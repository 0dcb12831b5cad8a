"""The verb of the infrastructure: look what would change, change exactly that, take it away."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.platforms import platform
from twoloops.verbs import DELIVERY, Json, app, tell, verb, working

if TYPE_CHECKING:
    from twoloops.contracts.platform import Plan


@app.command(rich_help_panel=DELIVERY)
def infrastructure(
    environments: Annotated[list[str] | None, typer.Argument(help="Which ones. Default: all, in their order.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would change, and save that: the default.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Do exactly what the saved plan says.")] = False,
    destroy: Annotated[bool, typer.Option("--destroy", help="Take it away; data and models stay.")] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Also show the plan on the code host: with the run, and on the change.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Bring alarms, dashboards, logs and schedules of the environments to what infra/ says. Can be repeated."""
    chosen = environments or list(config.current().environments)
    if destroy:
        if plan or apply:
            raise ProjectError("--destroy stands alone.", hint="Take --plan and --apply for what is to stay.")
        if not environments:
            raise ProjectError(
                "--destroy wants to know what.",
                hint=f"Name an environment, such as {config.current().environments[0]}.",
            )
        for name in chosen:
            _destroy(name, yes)
        tell({"destroyed": chosen}, as_json, [f"{', '.join(chosen)}: nothing of it is left."])
        return
    result: dict[str, Any] = {}
    lines: list[str] = []
    following = ""
    if plan or not apply:
        plans, lines = _plan(chosen, publish)
        result["plans"] = [asdict(each) for each in plans]
        following = verb("infrastructure --apply") if any(each.changes for each in plans) and not apply else ""
    if apply:
        result["applied"] = [name for name in chosen if _apply(name, yes)]
        lines.append(f"Applied: {', '.join(result['applied']) or 'nothing'}.")
    tell(result, as_json, lines, following)


def _plan(chosen: list[str], publish: bool) -> tuple[list[Plan], list[str]]:
    """Plan environments, and return the plans and what to tell of them."""
    from twoloops.delivery import report
    from twoloops.hosts import host

    plans, lines = [], []
    for name in chosen:
        with working(f"planning {name}"):
            plans.append(platform.infrastructure().plan(name))
        lines += platform.infrastructure().describe(plans[-1])
    page = platform.infrastructure().page(plans)
    host.set_output("changes", str(any(each.changes for each in plans)).lower())
    if publish:
        lines += report.publish(page, platform.infrastructure().MARK)
    return plans, [*lines, f"The page for reviewers is {page}."]


def _apply(name: str, yes: bool) -> bool:
    """Apply the saved plan of an environment, if it changes something and nobody objects; say whether."""
    plan = platform.infrastructure().saved(name)
    for line in platform.infrastructure().describe(plan):
        _log(line)
    if not plan.changes or not (yes or typer.confirm("Do that?", err=True)):
        return False
    platform.infrastructure().apply(name, _log)
    return True


def _destroy(name: str, yes: bool) -> None:
    last = name == config.current().last
    if last and yes:
        raise ProjectError(
            f"{name} serves users: --yes does not destroy it.",
            hint="Leave --yes out, and type its name when asked.",
        )
    if left := platform.infrastructure().deployed(name):  # who may destroy this may not delete that
        raise ProjectError(
            f"{name} still has {' and '.join(left)}, which would go on and cost, watched by nothing.",
            hint=f"Take that away first: '{verb(f'stop {name}')}'.",
        )
    if last and typer.prompt(f"{name} serves users. Type its name to destroy it", err=True) != name:
        raise ProjectError("That is not its name. Nothing was changed.", hint=f"Run it again, and type {name}.")
    if not (last or yes or typer.confirm(f"Destroy the infrastructure of {name}?", err=True)):
        raise ProjectError("Nothing was changed.", hint="Run it again, and say yes.")
    platform.infrastructure().destroy(name, _log)


def _log(line: str) -> None:
    typer.echo(line, err=True)


def prepare(*, dry_run: bool, undo: bool, yes: bool) -> dict[str, str]:
    """Return the variables by which the flows know the cloud; first make what infra/bootstrap describes.

    Args:
        dry_run: change nothing; what is not made yet has no variables.
        undo: the variables are to be taken back: their names alone.
        yes: do not ask.

    Raises:
        ProjectError: nobody is logged in to the cloud, or what is needed was refused.
    """
    from twoloops.hosts import host

    room = platform.infrastructure()
    if undo:
        _log(f"What {room.BOOTSTRAP} has made stays, and with it the data: infra/README.md tells how it is removed.")
        return dict.fromkeys(room.variable_names(), "")
    if not room.is_made():
        _log(f"  missing   what {room.BOOTSTRAP} makes on the cloud: buckets, images, roles of the flows")
        if dry_run:
            return {}
        if not (yes or typer.confirm("Make that now, as an administrator of the account?", err=True)):
            raise ProjectError("Nothing was changed.", hint="The flows need it before they can do anything.")
        room.make(host.identifiers(), ask=not yes)
    return room.variables()


def begin() -> None:
    """Start what comes first: the infrastructure of the environments, and a model for them."""
    from twoloops.hosts import host

    for flow in ("infrastructure", "train"):
        try:
            where = host.start(flow, {})
        except ProjectError as error:
            typer.echo(f"not started: {flow}: {error} Start it by hand.")
        else:
            typer.echo(f"started: {flow}" + (f", {where}" if where else ""))
