"""The verb that begins with a real table."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from twoloops.errors import ProjectError
from twoloops.verbs import INNER_LOOP, Json, app, from_caller, tell, verb, working

if TYPE_CHECKING:
    from twoloops.problems.tabular.drafting.deciding import Question


@app.command(rich_help_panel=INNER_LOOP)
def draft(
    table: Annotated[
        str,
        typer.Argument(callback=from_caller, help="The table: Parquet, CSV, a folder of Parquet files, or a URL."),
    ],
    target_column: Annotated[str | None, typer.Option("--target", help="The column that is predicted.")] = None,
    event: Annotated[str | None, typer.Option(help="Of two classes, the one whose probability is told.")] = None,
    entity: Annotated[str | None, typer.Option(help="The column that tells whom a row is about, or none.")] = None,
    event_time: Annotated[str | None, typer.Option(help="When a row's values were known: a column, or none.")] = None,
    label_days: Annotated[str | None, typer.Option(help="Days after the event time until the target is known.")] = None,
    personal: Annotated[str | None, typer.Option(help="Columns no model may see, parted by commas, or none.")] = None,
    leave_out: Annotated[str | None, typer.Option(help="Columns to leave out, parted by commas, or none.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Take what is suggested for all that is not given.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also replace files that were edited.")] = False,
    as_json: Json = False,
) -> None:
    """Draft problem/, params.yaml, the data sheet and the tests from a real table; then go on editing them."""
    from twoloops.problems import problem

    given = {
        "target": target_column,
        "event": event,
        "entity": entity,
        "event-time": event_time,
        "label-days": label_days,
        "personal": personal,
        "leave-out": leave_out,
    }
    asking = _Asking({name: value for name, value in given.items() if value is not None}, yes=yes)
    if asking.talks:
        result = problem.draft(table, asking, overwrite=overwrite)
    else:
        with working("reading the table"):
            result = problem.draft(table, asking, overwrite=overwrite)
    told = result.as_dict()
    lines = [f"Suspected: {each}" for each in told["suspicions"]]
    lines += [
        f"Drafted from {told['rows']:,} rows: the target {told['target']!r}, {len(told['features'])} features.",
        f"Written: {', '.join(told['written'])}.",
    ]
    if told["removed"]:
        lines.append(f"Removed, the simulator: {', '.join(told['removed'])}.")
    if told["kept"]:
        lines.append(f"Kept as you set it in params.yaml: {', '.join(told['kept'])}.")
    lines.append("A draft says what was seen, not what may be: read src/*/problem/data.py and data/README.md.")
    tell(told, as_json, lines, f"{verb('run')}")


class _Asking:
    """Answers from options, from a person at a terminal, or as suggested."""

    def __init__(self, given: Mapping[str, str], *, yes: bool) -> None:
        self.given = given
        self.yes = yes
        self.talks = not yes and sys.stdin.isatty() and sys.stderr.isatty()

    def __call__(self, question: Question) -> str:
        """Return an answer.

        Raises:
            ProjectError: nobody gives one; the message names the option.
        """
        if question.name in self.given:
            return self.given[question.name]
        if self.talks:
            return self._ask(question)
        if question.suggested is not None and (self.yes or not question.must):
            return question.suggested
        choices = f" There are: {', '.join(question.choices)}." if question.choices else ""
        way = f" Suggested: {question.suggested}; --yes takes it." if question.suggested is not None else ""
        raise ProjectError(
            f"--{question.name} is missing, and there is no terminal to ask at. {question.text}",
            hint=f"Give --{question.name}.{way}{choices}",
        )

    def _ask(self, question: Question) -> str:
        typer.echo(question.text, err=True)
        if question.choices and not question.many:
            typer.echo(f"  {', '.join(question.choices)}", err=True)
        while True:
            answer = str(typer.prompt(f"--{question.name}", default=question.suggested, err=True)).strip()
            if question.many or not question.choices or answer in question.choices:
                return answer
            typer.echo(f"{answer!r} is none of them.", err=True)
