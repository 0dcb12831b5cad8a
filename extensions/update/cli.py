"""The command `update-template`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..git import environment, git
from ..refusal import Refused
from . import branches, page, updating
from .update import update as run_update
from .updating import Update

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def update_template(
    folder: Annotated[Path, typer.Argument(help="The project.", show_default="this folder")] = Path(),
    to: Annotated[str | None, typer.Option(help="The version to go to, such as 1.2.0. Default: the newest.")] = None,
    answer: Annotated[
        list[str] | None, typer.Option(help="Change an answer with it: NAME=VALUE. May be given several times.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would bring, and change nothing.")] = False,
    propose: Annotated[
        bool, typer.Option("--propose", help="Push the branch and open the change on the code host.")
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Write the branch and the change's text into this folder, for a job that may push them."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document for machines, and nothing else.")
    ] = False,
) -> None:
    """Merge a newer version of the template, on a branch of its own: your edits stay, conflicts are listed.

    The template and its version are those that the project's .copier-answers.yml names.
    """
    _require(folder, dry_run=dry_run, both=propose and bundle is not None)
    update = run_update(folder, to=to, answers=updating.assignments(answer or [], "--answer"))
    if update is None:
        page.hand_over(folder, None, bundle)
        tell({"update": None}, ["The project has the template's newest version."], as_json)
        return
    if lines := page.notice(update):
        typer.echo("\n".join(lines), err=True)
    result = {"update": asdict(update), "branch": None if dry_run else update.branch}
    lines = page.summary(update)
    if dry_run:
        lines += [f"  {path}" for path in update.changed]
        lines += ["", update.notes or "The template has no release notes.", "", "Nothing was changed."]
        tell(result, lines, as_json)
        return
    start = git(folder, "rev-parse", "HEAD")
    # Before anything is pushed: what could refuse it afterwards would leave half of it done.
    branches.require_ready(folder, update.branch, update.commit)
    # A project from before the engine has the verb that proposes only on the new branch.
    has_engine = (folder / updating.ENGINE).is_dir()
    change = _propose(folder, update) if propose and has_engine else ""
    updating.switch(folder, update)
    lines.append(f"It is committed on the branch {update.branch}, which is checked out now.")
    if propose and not has_engine:
        change = _propose(folder, update)
    page.hand_over(folder, update, bundle, start)
    if propose:
        lines.append(f"The change: {change}")
    elif bundle is None:
        lines.append(f"What it brings is in {page.write(folder, update)}.")
    following = "settle the files above, and commit" if update.conflicts else f"uv run {package(folder)} check"
    tell(result | ({"change": change} if propose else {}), [*lines, f"Next: {following}"], as_json)


def _require(folder: Path, *, dry_run: bool, both: bool) -> None:
    if not folder.is_dir():
        raise Refused(f"There is no folder {folder}.", "Name the project's folder.")
    if both:
        raise Refused("--propose pushes, and --bundle leaves that to another job.", "Give one of them.")
    if not dry_run:
        branches.require_clean(folder)


def tell(result: dict[str, Any], lines: list[str], as_json: bool) -> None:
    """Print what was done: `result` for machines, or the lines for people."""
    typer.echo(json.dumps(result, ensure_ascii=False) if as_json else "\n".join(lines))


def package(project: Path) -> str:
    """Return the name of the project's command."""
    return str(updating.origin(project).answers.get("package_name", "PACKAGE"))


def _propose(project: Path, update: Update) -> str:
    """Push the branch and open the change, or bring the open one up to date; return its address, in words.

    The project's engine knows the code host, and this command none. A branch on which a person has gone on stays
    as it is.

    Raises:
        Refused: the code host refuses the push or the change.
    """
    try:
        pushed = updating.push(project, update)
    except Refused as error:
        raise Refused(
            f"The code host does not take the branch {update.branch}. {error.message}",
            "A flow's own token often may not change the flows' files: engine/docs/flows.md tells which one may.",
        ) from error
    words = ("propose", update.branch, "--title", page.title(update), "--body-file", page.PAGE, "--json")
    page.write(project, update)
    done = subprocess.run(
        ["uv", "run", package(project), *words],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Refused(
            f"The branch {update.branch} is pushed, and its change could not be opened (see above).",
            f"Open it by hand; {page.PAGE} has the text.",
        )
    where = str(json.loads(done.stdout)["url"])
    return where if pushed else f"{where}, whose branch holds commits of yours and is left as it is"


def main() -> None:
    """Run the command; what is refused is told in words, with exit code 1."""
    try:
        app(prog_name="update-template")
    except Refused as refused:
        typer.secho(refused.message, fg="red", err=True)
        if refused.hint:
            typer.secho(refused.hint, err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
