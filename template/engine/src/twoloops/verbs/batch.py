"""The verbs of batch scoring."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer

from twoloops.contracts.platform import SCORING
from twoloops.verbs import OUTER_LOOP, Json, app, from_caller, platform_that, tell, verb

MOST_RULES_SHOWN = 10


class Engine(StrEnum):
    """What runs the partitions."""

    local = "local"
    ray = "ray"


@app.command(rich_help_panel=OUTER_LOOP)
def score(
    source: Annotated[
        str | None,
        typer.Argument(
            callback=from_caller,
            help="A Parquet or CSV file, or a folder of Parquet files: a path or a URL. Default: score.source.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Argument(
            callback=from_caller, help="The folder for the results: a path or a URL. Default: score.target."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            callback=from_caller, help="A folder, or models:/NAME@ALIAS. Default: the champion, else the challenger."
        ),
    ] = None,
    keep_columns: Annotated[
        bool, typer.Option("--keep-columns", help="Write all columns beside the predictions, not the keys alone.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Score again what has not changed.")] = False,
    engine: Annotated[
        Engine, typer.Option(help="This machine's threads, or a Ray cluster (RAY_ADDRESS).")
    ] = Engine.local,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads or cores. Default: all.")] = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="Score on the platform what the schedule scores, now, and wait.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score tables of any size, in parts that a rerun need not repeat. Too many bad rows: exits with 2."""
    from twoloops import params

    if submit:
        found = platform_that(SCORING).score(lambda line: typer.echo(line, err=as_json))
        told = f"{found['summary']['rows']:,} rows: {found['summary']['scored']:,} scored. Results: {found['target']}"
        tell(found, as_json, [told], verb("monitor"))
        return
    from twoloops.scoring.publishing import FAILED, UNCHANGED
    from twoloops.scoring.run import Options
    from twoloops.scoring.run import score as step

    checked = params.load()
    source = source or checked.score.source or checked.data.source
    target = target or checked.score.target
    options = Options(force=force, keep_columns=keep_columns, engine=engine.value, workers=workers)
    summary = step(source, target, checked, model=model, options=options, watch=_progress)
    failed = summary["status"] == FAILED
    name = summary["model"]["version"] or summary["model"]["identity"][:12]
    lines = [
        f"{summary['rows']:,} rows: {summary['scored']:,} scored by model {name}, "
        f"{summary['quarantined']:,} quarantined ({summary['quarantined_share']:.2%})."
    ]
    rules = list(summary["rules"].items())
    lines += [f"  {count:>10,}  {rule}" for rule, count in rules[:MOST_RULES_SHOWN]]
    if len(rules) > MOST_RULES_SHOWN:
        lines.append(f"  and {len(rules) - MOST_RULES_SHOWN} more reasons: summary.json has all.")
    if summary["quarantined"]:
        lines.append(f"The quarantined rows and the reasons are in {target}/quarantine.")
    if summary["status"] == UNCHANGED:
        lines.append("Nothing has changed since the last run; --force scores all the same.")
    else:
        kept = summary["partitions"] - summary["partitions_scored_now"]
        lines.append(
            f"{summary['partitions_scored_now']} of {summary['partitions']} partitions scored now"
            f"{f', {kept} were done already' if kept else ''}: "
            f"{summary['seconds']:.1f} s, {summary['rows_per_second']:,} rows/s."
        )
    if summary["drift"]:
        lines.append(f"Drifted from the training data: {', '.join(summary['drift']['drifted']) or 'nothing'}.")
    if not failed:
        lines.append(f"The predictions are in {target}/predictions; {target}/manifest.json lists the valid files.")
    tell(summary, as_json, lines, "" if failed else verb("monitor"))
    if failed:
        typer.secho(
            f"Nothing was published: {summary['quarantined_share']:.2%} of the rows break the contract, and "
            f"score.maximum_quarantined_share allows {checked.score.maximum_quarantined_share:.2%}.",
            fg="red",
            err=True,
        )
        raise typer.Exit(2)


@contextmanager
def _progress(rows: int | None) -> Iterator[Callable[[int], None]]:
    """Show on standard error how far the run is, where a person watches."""
    if not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns: list[Any] = [
        TextColumn("scoring"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TextColumn("{task.completed:,.0f} rows"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=rows)
        yield lambda done: bar.advance(task, done)


def _ignore(rows: int) -> None:
    """Nobody watches."""
