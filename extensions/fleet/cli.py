"""The command `fleet`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, TypeVar

import platformdirs
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ..update import updating
from .git import Refused
from .judging import Row, Verdict
from .reporting import Summary, judge_all, kept_rows, write_json, write_page
from .repositories import Repository, read_list
from .updates import Outcome, Plan, update_all

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""
    What updates of their template would meet in many repositories, and the branches that bring them.

    LIST is a text file with a line for each repository: a path, relative to the list's folder, or a
    URL that git understands. What follows a # is a comment.

    [bold]A usual day:[/bold]

      fleet report repositories.txt --html fleet.html   # look: nothing is changed anywhere
      fleet update repositories.txt --only churn        # a branch in one of them
      fleet update repositories.txt --push              # branches in all that are behind, pushed
    """,
)

Result = TypeVar("Result")
List = Annotated[Path, typer.Argument(metavar="LIST", help="The list of repositories.", show_default=False)]
Cache = Annotated[
    Path,
    typer.Option(help="Folder for clones, templates and what was judged.", envvar="FLEET_CACHE", resolve_path=True),
]
To = Annotated[str | None, typer.Option(metavar="VERSION", help="The version to go to, instead of the newest release.")]
Jobs = Annotated[int, typer.Option(min=1, help="How many repositories at once.")]
COLORS = {Verdict.CURRENT: "green", Verdict.CLEAN: "cyan", Verdict.CONFLICTS: "yellow", Verdict.UNKNOWN: "red"}
CACHE = platformdirs.user_cache_path("copier-mlops") / "fleet"
CPUS = os.cpu_count() or 1
output, messages = Console(), Console(stderr=True)


@app.command()
def report(
    list_: List,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as JSON, too.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as a page, too.")] = None,
    to: To = None,
    jobs: Jobs = CPUS,
    cache: Cache = CACHE,
    fresh: Annotated[bool, typer.Option("--fresh", help="Judge anew what has not changed since last time.")] = False,
) -> None:
    """Say for each repository which version it has, how far behind it is, and whether an update merges.

    The update is tried out beside the repositories, not in them. Those that have not changed since
    the last report, and whose template has no newer release, are not judged again.

    Exit code: 0 when all could be judged, 1 when some could not.
    """
    repositories = _chosen(list_, [])
    for file in (json, html):
        if file and not file.parent.is_dir():
            raise Refused(f"There is no folder {file.parent} for {file.name}.", hint="Make it, or name another one.")
    summary = Summary()

    def take(row: Row) -> None:
        summary.add(row)

    rows = judge_all(repositories, cache, to=to, jobs=jobs, fresh=fresh)
    _watch(rows, take, len(repositories), "judged")
    table = _table("repository", "version", "behind", "update")
    for row in kept_rows(repositories, cache):
        behind = f"{len(row.behind)}: {', '.join(row.behind)}" if row.behind else ""
        table.add_row(Text(row.name), Text(row.version), Text(behind), _verdict(row))
    output.print(table)
    output.print(summary.sentence(), highlight=False, soft_wrap=True)
    if json:
        write_json(json, kept_rows(repositories, cache), summary)
    if html:
        write_page(html, kept_rows(repositories, cache), summary)
    raise typer.Exit(1 if summary.verdicts[Verdict.UNKNOWN] else 0)


@app.command()
def update(
    list_: List,
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this one; can be repeated.")] = None,
    answer: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Change an answer with it; can be repeated.")
    ] = None,
    push: Annotated[bool, typer.Option("--push", help="Push the branches to `origin`.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    to: To = None,
    jobs: Jobs = CPUS,
    cache: Cache = CACHE,
) -> None:
    """Make a branch template/VERSION with the merged update in each repository that is behind.

    A local repository gets the branch; its working tree and the branch that is checked out stay as
    they are. A remote one gets it by --push. Where both sides changed the same lines, the branch
    has marked places for a person to settle. A branch on which somebody has gone on is left alone.
    Run again after an interruption: what is done is not done twice.

    Exit code: 0, or 1 when some repository refused.
    """
    repositories = _chosen(list_, only or [])
    plan = Plan(cache=cache, to=to, answers=updating.assignments(answer or [], "--answer"), push=push, dry_run=dry_run)
    outcomes: list[Outcome] = []
    _watch(update_all(repositories, plan, jobs), outcomes.append, len(repositories), "done")
    table = _table("repository", "branch", "outcome")
    order = {repository.address: number for number, repository in enumerate(repositories)}
    for outcome in sorted(outcomes, key=lambda outcome: order[outcome.address]):
        color = "red" if outcome.refused else "yellow" if outcome.conflicts else ""
        table.add_row(Text(outcome.name), Text(outcome.branch), Text(outcome.told, style=color))
    output.print(table)
    refused = sum(outcome.refused for outcome in outcomes)
    output.print(f"{len(outcomes) - refused} done, {refused} refused.", highlight=False)
    raise typer.Exit(1 if refused else 0)


def _chosen(file: Path, names: list[str]) -> list[Repository]:
    """Return the repositories of the list, those with the names if there are any."""
    repositories = list(read_list(file))
    known = [repository.name for repository in repositories]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"It has {', '.join(sorted(known)[:10])} …"
            raise Refused(f"The list {file} has no repository {name}.", hint=hint)
    return [repository for repository in repositories if not names or repository.name in names]


def _watch(results: Iterator[Result], take: Callable[[Result], None], total: int, done: str) -> None:
    """Take results as they come, with a bar where a person looks on."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal) as progress:
        task = progress.add_task(done, total=total)
        try:
            for result in results:
                take(result)
                progress.advance(task)
        except KeyboardInterrupt:
            progress.stop()
            finished = int(progress.tasks[task].completed)
            messages.print(f"Interrupted: {finished} of {total} {done}. The same command goes on from there.")
            raise typer.Exit(130) from None


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _verdict(row: Row) -> Text:
    """Return the verdict in words, in its color."""
    details = {
        Verdict.CURRENT: "",
        Verdict.CLEAN: f" ({len(row.changed)} files change)",
        Verdict.CONFLICTS: f" in {', '.join(conflict.path for conflict in row.conflicts)}",
        Verdict.UNKNOWN: f": {row.reason} {row.hint}",
    }
    return Text(row.verdict + details[row.verdict], style=COLORS[row.verdict])


@contextmanager
def _refusals_told() -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        messages.print(Text(refused.message, style="red"))
        messages.print(Text(refused.hint))
        sys.exit(1)


def main() -> None:
    """Run the command."""
    with _refusals_told():
        app(prog_name="fleet")


if __name__ == "__main__":
    main()
