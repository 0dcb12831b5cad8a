"""The verbs of delivery: what the flows on the code host show, scan, propose and need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twoloops import config
from twoloops.contracts.platform import INFRASTRUCTURE
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.platforms import platform
from twoloops.verbs import DELIVERY, Json, app, from_caller, tell, working


@app.command(rich_help_panel=DELIVERY)
def report(
    publish: Annotated[
        bool, typer.Option("--publish", help="Also show it on the code host: with the run, and on the change.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write what a reviewer wants to see of a change: verdict, metrics against main, slices, findings."""
    from twoloops.delivery import report as step

    with working("writing the report"):
        page = step.report()
    lines = [f"The report is in {page}."]
    if publish:
        lines += step.publish(page)
    tell({"report": str(page)}, as_json, lines)


@app.command(rich_help_panel=DELIVERY)
def scan(
    image: Annotated[
        str | None, typer.Option(help="Scan this image as well, with grype or trivy, whichever is here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look for secrets and known vulnerabilities, list licences and parts. Too dangerous a finding exits with 2."""
    from twoloops import params
    from twoloops.delivery import supply_chain

    with working("scanning"):
        result = supply_chain.scan(params.load().scan, image)
    lines = [f"{result['packages']} packages and the files in git were looked at; {paths().scan} has the lists."]
    lines += [f"  {each['level']}: {each['about']}" for each in result["findings"]]
    if not result["findings"]:
        lines.append("Nothing was found.")
    tell(result, as_json, lines)
    if result["refused"]:
        typer.secho(
            f"{len(result['refused'])} findings are {result['fail_on']} or worse (scan.fail_on). Mend them; one that "
            "does no harm here goes into scan.accepted, and a text that is no secret into .secrets.baseline.",
            fg="red",
            err=True,
        )
        raise typer.Exit(2)


# Its options are those of the template's command, which a newer release may have more of: it reads them itself.
@app.command(
    rich_help_panel=DELIVERY,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def update_template(context: typer.Context) -> None:
    """Merge a newer version of the template, on a branch of its own: runs the newest release's own command."""
    from twoloops.delivery import template

    raise typer.Exit(template.update(context.args))


@app.command(rich_help_panel=DELIVERY)
def propose(
    branch: Annotated[str | None, typer.Argument(help="The branch, which is on the code host already.")] = None,
    title: Annotated[str | None, typer.Option(help="The change's title.")] = None,
    body_file: Annotated[Path | None, typer.Option(callback=from_caller, help="A Markdown file with its text.")] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            callback=from_caller, help="The folder that 'update-template --bundle' wrote: its branch is pushed first."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Open a change of a branch into main on the code host, or bring the open one up to date."""
    from twoloops.hosts import host

    if bundle is not None and (branch, title, body_file) == (None, None, None):
        from twoloops.delivery import handover

        update = handover.take(bundle)
        if update is None:
            tell({"url": None}, as_json, ["There is no update to propose."])
            return
        kept = "" if handover.push(update) else ", whose branch holds commits of yours and is left as it is"
        url = host.propose(update.branch, update.title, update.body)
        tell({"url": url, "pushed": not kept}, as_json, [f"The change: {url}{kept}"])
        return
    if branch is None or title is None or body_file is None or bundle is not None:
        hint = "Give BRANCH, --title and --body-file; or --bundle alone."
        raise ProjectError("What is to be proposed is not said, or twice.", hint=hint)
    try:
        body = body_file.read_text(encoding="utf-8")
    except OSError as error:
        raise ProjectError(f"{body_file} cannot be read: {error}", hint="Name a Markdown file.") from error
    url = host.propose(branch, title, body)
    tell({"url": url}, as_json, [f"The change: {url}"])


@app.command(rich_help_panel=DELIVERY)
def bootstrap(
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow's server, for the flows.")] = None,
    runner: Annotated[
        str | None, typer.Option(help="The label, tag or pool of a machine of yours that runs train, deploy, monitor.")
    ] = None,
    state: Annotated[
        str | None, typer.Option(help="The folder on that machine that keeps what outlives a job: an absolute path.")
    ] = None,
    reviewer: Annotated[
        list[str] | None,
        typer.Option(help="Who may approve the last environment: a handle. Default: the owner of this project."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, and change nothing.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take back what an earlier run made.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Set up the code host for the flows: environments, approvals, protection of main, variables. Can be repeated."""
    from twoloops.contracts.host import SetupRequest
    from twoloops.delivery import bootstrap as step
    from twoloops.hosts import host

    given = {"MLFLOW_TRACKING_URI": tracking_uri, "RUNNER": runner, "PROJECT_STATE": state}
    # To take back, every variable may be one that was made.
    variables = {name: value or "" for name, value in given.items() if value or undo}
    if state and not state.startswith("/"):
        raise ProjectError(f"--state is {state!r}, and has to be an absolute path.", hint="For example /srv/state.")
    has_infrastructure = INFRASTRUCTURE in platform.OFFERS
    if has_infrastructure:
        from twoloops.verbs.infrastructure import begin, prepare

        variables = prepare(dry_run=dry_run, undo=undo, yes=yes) | variables
    wanted = SetupRequest(config.current().environments, tuple(reviewer or [config.current().owner]), variables)
    with working(f"asking {host.NAME}"):
        steps = step.prepare(wanted)
    width = max(len(each.name) for each in steps)
    for each in steps:
        typer.echo(f"  {each.state:<8}  {each.name:<{width}}  {each.about}")
    work = [each for each in steps if each.state in step.TO_DO]
    if dry_run:
        return
    if undo:
        if yes or typer.confirm("Remove what 'bootstrap' made?", err=True):
            typer.echo(f"Removed: {step.undo(steps, typer.echo)}.")
        return
    if not work:
        typer.echo("Everything is there.")
    elif yes or typer.confirm(f"Take {len(work)} steps on {host.NAME}?", err=True):
        typer.echo(f"Steps taken: {step.apply(steps, typer.echo)}.")
        if has_infrastructure and ("variable CLOUD_REGION", "missing") in [(each.name, each.state) for each in work]:
            begin()
    else:
        typer.echo("Nothing was changed.")
