"""The verbs of the inner loop: from data to a registered model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twoloops.contracts.platform import PIPELINES
from twoloops.errors import ProjectError, RedVerdictError
from twoloops.paths import RELATIVE, paths
from twoloops.verbs import (
    INNER_LOOP,
    Json,
    Submit,
    app,
    bring_into_use,
    from_caller,
    platform_that,
    run_verb,
    tell,
    verb,
    working,
)

if TYPE_CHECKING:
    from twoloops.contracts.graph import Graph


@app.command(rich_help_panel=INNER_LOOP)
def simulate(
    target: Annotated[
        str | None,
        typer.Argument(callback=from_caller, help="The file to write. Default: data.source of params.yaml."),
    ] = None,
    rows: Annotated[int, typer.Option(min=20, help="How many rows.")] = 8000,
    drift: Annotated[float, typer.Option(min=0, max=1, help="How far the world has moved: 0 not at all, 1 far.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same data.")] = 7,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Let a file that exists grow: the rows are of the time after it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write simulated data, to try the project before there is real data."""
    from twoloops import params, problem, problems

    place = target or params.load().data.source
    if "://" in place:
        raise ProjectError(f"{place} is a URL; simulated data goes into a file.", hint="Name a file to write.")
    path = Path(place)
    if path.exists() and not force and not append:
        hint = "Give --force to replace it, or --append to let it grow."
        raise ProjectError(f"{path} exists and is left as it is.", hint=hint)
    try:
        # By name: the file is there to be deleted.
        sample = problem.module("sample")
    except ProjectError as error:
        raise ProjectError("problem/sample.py was deleted.", hint="Use your own data: data.source.") from error
    with working("simulating"):
        found = sample.simulate(rows, seed, drift)
        if append and path.exists():
            found = problems.problem.append(problems.problem.load(place), found, seed)
        problems.problem.write_raw(found, path)
    tell(
        {"output": str(path), "rows": rows, "drift": drift},
        as_json,
        [f"{rows:,} simulated rows are in {path}. Nobody in them exists."],
        verb("run"),
    )


@app.command(rich_help_panel=INNER_LOOP)
def sample(
    target: Annotated[
        str | None,
        typer.Argument(
            help="A folder of an object store that keeps it. Default: beside a URL, otherwise with DVC.",
            callback=from_caller,
        ),
    ] = None,
    rows: Annotated[int, typer.Option(min=20, help="How many rows, about.")] = 5000,
    as_json: Json = False,
) -> None:
    """Make a sample of the prepared data that names nobody: the check of a change reads it in place of the data."""
    from twoloops import params
    from twoloops.inner_loop.sample import make
    from twoloops.scoring.places import upload

    with working("sampling"):
        record = make(params.load(), rows, target, upload)
    lines = [
        f"{record['rows']:,} of {record['prepared_rows']:,} prepared rows are in {record['table']}; nobody is named."
    ]
    if "://" not in record["table"]:
        lines.append("Let DVC push it: uv run dvc push")
    tell(record, as_json, lines, "commit data/sample.json" + ("" if "://" in record["table"] else " and data/sample/"))


@app.command(rich_help_panel=INNER_LOOP)
def fetch(
    only_sample: Annotated[
        bool,
        typer.Option(
            "--sample", help="For a change under review: the sample, which params.yaml of this checkout names."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the data of data.source to this machine: from DVC's remote, or simulated as long as it is called so."""
    from twoloops import params
    from twoloops.inner_loop import record_failure
    from twoloops.inner_loop.fetch import HERE, SIMULATED, SIMULATED_FILE, pull
    from twoloops.inner_loop.fetch import fetch as step
    from twoloops.inner_loop.sample import use
    from twoloops.pipelines import graph

    checked = params.load()
    source = checked.data.source
    steps = graph.load(paths().root)
    if only_sample and checked.data.changes_read == "sample" and Path(source).name != SIMULATED_FILE:
        with record_failure("fetch"), working("fetching the sample"):
            pull(each for each in steps.sources if each != Path(source).as_posix())
            record = use(checked)
        lines = [
            f"The sample {record['table']} is here, {record['rows']:,} rows; params.yaml of this checkout names it."
        ]
        tell({"source": params.load().data.source, "origin": "sample"}, as_json, lines, verb("run"))
        return
    maker = None if "://" in source else steps.maker(Path(source).as_posix())
    with record_failure("fetch"), working("fetching the data"):
        pull(each for each in steps.sources if each != Path(source).as_posix())
        origin = f"made by the step {maker.name}" if maker else step(source)
    if origin == SIMULATED:
        simulate(as_json=as_json)
        return
    lines = [f"{source}: {'it is here' if origin == HERE else origin}."]
    tell({"source": source, "origin": origin}, as_json, lines, verb("run"))


@app.command(rich_help_panel=INNER_LOOP)
def prepare(
    new_holdout: Annotated[
        bool, typer.Option("--new-holdout", help="Freeze a new holdout of the newest rows.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the data against its contract and split it into training rows and a frozen holdout."""
    from twoloops import params
    from twoloops.inner_loop.prepare import prepare as step

    with working("checking and splitting the data"):
        result = step(params.load(), new_holdout=new_holdout)
    lines = [
        f"The data keeps its contract: {result['rows']:,} rows, {len(result['features'])} features.",
        f"Training rows: {result['train_rows']:,}. "
        f"Frozen holdout: {result['holdout_rows']:,} ({paths().frozen_holdout}).",
    ]
    if result["unripe"]:
        lines.append(f"Too young for a label (data.label_days), so left out: {result['unripe']:,} rows.")
    if result["embargoed"]:
        lines.append(f"Not yet labelled when the holdout began, so left out of training: {result['embargoed']:,} rows.")
    if result["returning"]:
        lines.append(
            f"Held-out rows of entities that have older training rows: {result['returning']:,}, parted by time."
        )
    if result["without_label"]:
        lines.append(f"Without a label yet, so left out: {result['without_label']:,} rows.")
    if result["newer_than_holdout"]:
        lines.append(f"Newer than the holdout, so left out: {result['newer_than_holdout']:,} rows (--new-holdout).")
    if result["columns_left_out"]:
        lines.append(f"Not in the contract, so left out: {', '.join(result['columns_left_out'])}.")
    lines += [f"Warning: {each}" for each in result["warnings"]]
    tell(result, as_json, lines, verb("train"))


@app.command(rich_help_panel=INNER_LOOP)
def train(as_json: Json = False) -> None:
    """Fit the model and write it as an artifact that is proved to answer like the estimator."""
    from twoloops import params
    from twoloops.inner_loop.train import train as step

    checked = params.load()
    with working("fitting, exporting and comparing"):
        result = step(checked)
    lines = [
        f"Trained on {result['train_rows']:,} rows; the artifact {result['identity'][:12]} is in {result['artifact']}.",
        f"Shipped model and estimator differ by at most {result['parity_difference']:.2g} "
        f"on {result['holdout_rows']:,} held-out rows.",
    ]
    tell(result, as_json, lines, verb("evaluate"))


@app.command(rich_help_panel=INNER_LOOP)
def evaluate(as_json: Json = False) -> None:
    """Judge the model on the holdout: metrics, slices, baseline, champion, speed. A red verdict exits with 2."""
    from twoloops import params
    from twoloops.inner_loop.evaluate import GREEN
    from twoloops.inner_loop.evaluate import evaluate as step
    from twoloops.inner_loop.rule import describe_verdict, failed_rules

    checked = params.load()
    with working("judging the model"):
        result = step(checked)
    green = result["verdict"] == GREEN
    lines = describe_verdict(result)
    if not as_json:
        typer.secho(f"Verdict: {result['verdict']}", fg="green" if green else "red", bold=True)
    tell(result, as_json, lines, verb("refit") if green else f"look at {paths().model_card}")
    if not green:
        failed = failed_rules(result)
        first = f"Missed, of {len(result['rules'])} demands of the gate: {len(failed)}"
        raise RedVerdictError("\n  - ".join([first, *failed]), hint=f"{paths().model_card} has every demand.")


@app.command(rich_help_panel=INNER_LOOP)
def refit(as_json: Json = False) -> None:
    """Fit the judged recipe on the holdout too, after a green verdict: what is shipped knows the newest rows."""
    from twoloops import params
    from twoloops.inner_loop.refit import refit as step

    checked = params.load()
    with working("fitting on all rows, exporting and comparing"):
        result = step(checked)
    identity = result["identity"][:12]
    lines = [f"refit: false, so the judged model, {identity}, is shipped as it is: {result['artifact']}."]
    if result["refitted"]:
        lines = [
            f"Fitted again on all {result['train_rows']:,} rows; what is shipped, {identity}, is in "
            f"{result['artifact']}.",
            f"{result['metric']}: {result['judged']:.4g} as judged on the holdout; {result['cross_fitted']:.4g} on the "
            "newest rows by fits that know the other half of them.",
        ]
    tell(result, as_json, lines, verb("register"))


@app.command(rich_help_panel=INNER_LOOP)
def register(as_json: Json = False) -> None:
    """Register the model as challenger; a red verdict is refused."""
    from twoloops.inner_loop.register import register as step

    with working("registering"):
        result = step()
    role = result["alias"]
    lines = [f"{result['model']} version {result['version']} is registered and is the {role}."]
    tell(result, as_json, lines, verb("predict INPUT OUTPUT" if role == "champion" else bring_into_use()))


@app.command(rich_help_panel=INNER_LOOP)
def run(
    force: Annotated[bool, typer.Option("--force", help="Run every step, changed or not.")] = False,
    until: Annotated[
        str | None,
        typer.Option(metavar="STEP", help="The last step to run, with all that it needs: evaluate does not register."),
    ] = None,
    submit: Submit = False,
) -> None:
    """Run the inner loop, every step of dvc.yaml: only what changed runs again."""
    from twoloops.pipelines import graph, local

    steps = graph.load(paths().root)
    if until:
        steps = steps.until(until)
    require_sources_and_git(steps)
    if submit:
        platform_that(PIPELINES).submit(steps, typer.echo)
    elif not local.run(steps, run_verb, force=force, tell=lambda line: typer.secho(line, bold=True)):
        typer.echo("Nothing has changed since the last run; --force runs all the same.")
    _after(steps.maker(RELATIVE.registration.as_posix()) is not None)


def _after(registered: bool) -> None:
    """Hand the version over when one was registered, and tell what comes next."""
    from twoloops.storage import read_json

    if registered:
        hand_over(read_json(paths().registration, "register")["version"])
    next_step = f"then {verb(bring_into_use())}" if registered else f"then {verb('run')}"
    typer.secho(f"Next: look at reports/model_card.md, {next_step}", fg="cyan")


def hand_over(version: str) -> None:
    """Tell the later jobs of a flow which version was made, and people when it does not outlive the job."""
    from twoloops import registry
    from twoloops.hosts import host

    host.set_output("version", version)
    if host.in_flow() and not registry.lasts():
        typer.secho(
            f"Version {version} is in a registry that ends with this job. Set MLFLOW_TRACKING_URI or PROJECT_STATE: "
            "engine/docs/flows.md.",
            fg="yellow",
            err=True,
        )


def require_sources_and_git(steps: Graph) -> None:
    """Raise a ProjectError when the steps lack what they begin with, or a history to be traced in.

    Args:
        steps: those that are to run.
    """
    from twoloops import params

    source = Path(params.load().data.source).as_posix()
    for path in steps.sources:
        if "://" in path or (paths().root / path).exists():
            continue
        if path == source:
            raise ProjectError(
                f"There is no data at {source}.",
                hint=f"Simulate some with {verb('simulate')!r}, or let data.source in params.yaml name yours.",
            )
        if path == "uv.lock":
            raise ProjectError("There is no uv.lock.", hint="Make it with 'uv lock', and commit it.")
        readers = ", ".join(step.name for step in steps.steps if path in (*step.reads, *step.params))
        raise ProjectError(
            f"There is no {path}, which dvc.yaml lets {readers} read.",
            hint=f"Bring it: {verb('fetch')!r} does, where DVC keeps it. Or correct dvc.yaml.",
        )
    if not _inside_git():
        raise ProjectError(
            "The inner loop wants a git repository: every model is traced to its commit.",
            hint="git init && git add . && git commit -m 'Start'",
        )


def _inside_git() -> bool:
    return any((folder / ".git").exists() for folder in (Path.cwd(), *Path.cwd().parents))


@app.command(rich_help_panel=INNER_LOOP)
def tune(
    apply: Annotated[bool, typer.Option("--apply", help="Write the best hyperparameters into params.yaml.")] = False,
    as_json: Json = False,
) -> None:
    """Search for better hyperparameters on the training rows; the holdout is never looked at."""
    from twoloops import params
    from twoloops.inner_loop import tune as step

    checked = params.load()
    result = step.tune(checked, _progress(checked.tune.trials))
    lines = [f"{result['metric']}: {result['present']:.4g} now, {result['best']:.4g} at best, by cross-validation."]
    lines += [f"  {name}: {value}" for name, value in result["params"].items()]
    better = not result["within_noise"]
    if better:
        lines.append(f"The gain, {result['gain']:.4g}, is more than chance gives to the best of so many trials.")
    elif result["gain"] <= 0:
        lines.append("No trial was better than the present hyperparameters.")
    else:
        noise = "not known, from so few rows" if result["noise"] is None else f"{result['noise']:.4g}"
        lines.append(f"The gain, {result['gain']:.4g}, is within its noise ({noise}): params.yaml stays as it is.")
    if better and apply:
        step.apply(result["params"])
        lines.append("params.yaml has them now.")
    tell(result, as_json, lines, verb("run" if apply else "tune --apply") if better else "")


def _progress(total: int) -> Callable[[int, float], None] | None:
    if not sys.stderr.isatty():
        return None
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(console=Console(stderr=True))
    progress.start()
    task = progress.add_task("trials", total=total)

    def show(number: int, best: float) -> None:
        progress.update(task, completed=number + 1, description=f"best {best:.4g}")
        if number + 1 == total:
            progress.stop()

    return show


@app.command(rich_help_panel=INNER_LOOP)
def staleness(as_json: Json = False) -> None:
    """Show how fast the model ages: its quality when the training data ended earlier."""
    from twoloops import params
    from twoloops.inner_loop.staleness import staleness as step

    checked = params.load()
    with working("training on older and older data"):
        result = step(checked)
    lines = [f"{row['age_days']:>7} days old: {result['metric']} {row['value']:.4g}" for row in result["ages"]]
    tell(result, as_json, [*lines, "The curve is in reports/staleness.png."])
