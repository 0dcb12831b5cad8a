"""The verbs of the online service."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.platforms import platform
from twoloops.verbs import OUTER_LOOP, Json, app, from_caller, tell, verb
from twoloops.verbs.conversation import Conversation


@app.command(rich_help_panel=OUTER_LOOP)
def serve(
    model: Annotated[
        Path | None,
        typer.Argument(
            callback=from_caller, help="A deployment folder, or an artifact folder. Default: what the platform says."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(envvar="SERVE_HOST", help="The address to listen on; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Default: what the platform says, else 8000.")] = None,
    captures: Annotated[
        str | None,
        typer.Option(
            envvar="SERVE_CAPTURES",
            callback=from_caller,
            help="Where inputs and predictions are kept. Default: a folder in data/captures.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="SERVE_TOKEN_FILE",
            callback=from_caller,
            help="Ask callers for one of the tokens in this file, one a line. Default: whoever reaches it may call.",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(envvar="SERVE_ORIGINS", help="Pages of this origin may call, as https://example.com. Repeat it."),
    ] = None,
    admin_port: Annotated[
        int | None,
        typer.Option(
            envvar="SERVE_ADMIN_PORT",
            help="Tell metrics and details of the health at this port alone. Default: at the one of the service.",
        ),
    ] = None,
) -> None:
    """Answer requests with a model until told to stop (Ctrl-C or SIGTERM)."""
    from twoloops.service.access import Access
    from twoloops.service.server import serve as run

    access = Access(token_file=token_file, origins=tuple(allow_origin or ()), admin_port=admin_port)
    run(model, host=host, port=port, captures=captures, access=access)


@app.command(rich_help_panel=OUTER_LOOP)
def deploy(
    version: Annotated[
        str | None,
        typer.Argument(
            envvar="MODEL_VERSION",
            help="A registered version, also as VERSION@IDENTITY. Default: the challenger, else the champion.",
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="This environment alone. Default: each in turn, the last one after approval.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Approve: do not ask before the last environment.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a version into use: trials, approval, canary, all requests. One that does not pass exits with 2."""
    from twoloops import params
    from twoloops.contracts.release import UnfitError
    from twoloops.hosts import host
    from twoloops.outer_loop.deploy import DeploymentRun

    last = config.current().last
    checked = params.load()
    if host.in_flow() and not platform.lasts():
        raise ProjectError(
            "What is deployed here would end with this job: the machine is lent by the code host.",
            hint="Let a machine of yours run the flows, with a folder that stays: "
            f"'{verb('bootstrap')} --runner NAME --state FOLDER'. engine/docs/flows.md tells how.",
        )
    with Conversation(quiet=as_json) as conversation:

        def approve(question: str) -> bool:
            return yes or (not as_json and conversation.ask(question))

        try:
            result = DeploymentRun(platform, checked, approve, conversation.say, conversation.progress).run(version, to)
        except UnfitError as error:
            if as_json:
                typer.echo(json.dumps({"version": version, "deployed": False, "reason": str(error)}))
            conversation.fail(error)
            raise typer.Exit(2) from error
    number = result["version"]
    # With the identity: what is approved is this artifact, whatever has this number by then.
    host.set_output("version", f"{number}@{result['identity']}")
    if not result["deployed"]:
        passed = f"Version {number} has passed {', '.join(result['trials'])}." if result["trials"] else ""
        waits = f"It is not in {last} yet: that needs a person's approval."
        tell(result, as_json, [f"{passed} {waits}".strip()], verb(f"deploy {number} --to {last} --yes"))
        return
    before = result["before"]
    change = f" (before: {before or 'none'})" if before != number else ""
    tell(result, as_json, [f"Version {number} runs in {last} and is the champion{change}."], verb("status"))


@app.command(rich_help_panel=OUTER_LOOP)
def status(as_json: Json = False) -> None:
    """Tell what runs where: version, address, health. Exits with 1 when an environment is not well."""
    found = {name: _look(name) for name in config.current().environments}
    lines = [f"{name}: {each['summary']}" for name, each in found.items()]
    last = config.current().last
    used = [name for name, each in found.items() if each["wanted"]]
    next_step = verb(f"invoke INPUT OUTPUT --environment {last}") if last in used else verb("deploy")
    tell(found, as_json, lines, next_step if all(found[name]["well"] for name in used) else verb("deploy"))
    if not all(found[name]["well"] for name in used):
        raise typer.Exit(1)


def _look(environment: str) -> dict[str, Any]:

    wanted, found = platform.deployment(environment), platform.status(environment)
    if wanted is None:
        return {"wanted": None, "well": True, "summary": "nothing has been deployed"}
    result: dict[str, Any] = {"wanted": asdict(wanted), "found": asdict(found) if found else None}
    summary = f"version {wanted.stable.version}"
    if wanted.canary:
        summary += f", canary version {wanted.canary.version} with {wanted.share:.0%} of the requests"
    if found is None:
        return result | {"well": False, "summary": f"{summary}: the service does not answer"}
    result["address"] = platform.endpoint(environment).url
    if found.problem or not found.ready:
        return result | {"well": False, "summary": f"{summary} at {result['address']}: {found.problem or 'not ready'}"}
    return result | {"well": True, "summary": f"{summary}, well, at {result['address']}"}


@app.command(rich_help_panel=OUTER_LOOP)
def invoke(
    source: Annotated[str, typer.Argument(callback=from_caller, help="A Parquet or CSV table: a path or a URL.")],
    target: Annotated[
        Path | None,
        typer.Argument(callback=from_caller, help="The file to write: .parquet or .csv. Default: the screen, as CSV."),
    ] = None,
    environment: Annotated[str | None, typer.Option(help="Whose service. Default: the last environment's.")] = None,
    rows_per_request: Annotated[
        int | None, typer.Option(min=1, help="Rows of one request. Default: serve.maximum_rows in params.yaml.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send a table's rows to a running service. Rows that it refuses are told, and the others go on."""
    from twoloops import params
    from twoloops.outer_loop.invoke import invoke as step

    most = params.load().serve.maximum_rows
    with Conversation(quiet=as_json) as conversation:
        result = step(
            source,
            target,
            platform.endpoint(environment or config.current().last),
            min(rows_per_request or most, most),
            lambda row, why: conversation.warn(f"row {row}: {why}"),
            conversation.progress,
        )
    if target is None and not as_json and result["answers"]:
        table = csv.DictWriter(sys.stdout, list(result["answers"][0]), lineterminator="\n")
        table.writeheader()
        table.writerows(result["answers"])
        return
    by = f" by version {' and '.join(result['versions'])}" if result["versions"] else ""
    where = f"; the answers are in {target}" if target else ""
    tell(result, as_json, [f"{result['answered']:,} of {result['rows']:,} rows were answered{by}{where}."])
