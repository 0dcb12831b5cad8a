"""The verbs of the outer loop: a registered model comes into use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from twoloops import config
from twoloops.contracts.platform import PIPELINES
from twoloops.paths import paths
from twoloops.platforms import platform
from twoloops.verbs import (
    OUTER_LOOP,
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


@app.command(rich_help_panel=OUTER_LOOP)
def promote(
    version: Annotated[
        str | None,
        typer.Argument(envvar="MODEL_VERSION", help="Default: the challenger. An older one rolls back."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the challenger, or the version named, the champion."""
    from twoloops.outer_loop.promote import promote as step

    result = step(platform, version)
    if result["champion"] == result["before"]:
        lines = [f"Version {result['champion']} is the champion already; nothing has changed."]
    else:
        lines = [f"Champion: version {result['champion']} (before: {result['before'] or 'none'})."]
    tell(result, as_json, lines, verb("deploy" if config.current().online else "predict INPUT OUTPUT"))


@app.command(rich_help_panel=OUTER_LOOP)
def rollback(as_json: Json = False) -> None:
    """Take the canary away; without one, let the champion before be champion, and answer all requests, again."""
    from twoloops.outer_loop import deploy, promote

    with working("rolling back"):
        result = (deploy if config.current().online else promote).rollback(platform)
    champion, before, earlier = result["champion"], result["before"], result["earlier"]
    if before is None:
        lines = [f"The canary, version {result['canary']}, is taken away; version {champion} answers all requests."]
        next_step = "'rollback' once more goes back to the champion before, if that is what you want"
    else:
        further = f"a further rollback goes to version {earlier}" if earlier else "there is no champion before it"
        lines = [f"Champion: version {champion} (before: {before}); {further}."]
        next_step = f"find out what was wrong with version {before}; {verb('run')} makes another one"
    tell(result, as_json, lines, next_step)


@app.command(rich_help_panel=OUTER_LOOP)
def predict(
    source: Annotated[str, typer.Argument(callback=from_caller, help="A Parquet or CSV table: a path or a URL.")],
    target: Annotated[Path, typer.Argument(callback=from_caller, help="The file to write: .parquet or .csv.")],
    model: Annotated[
        str | None,
        typer.Option(
            callback=from_caller, help="A folder, or models:/NAME@ALIAS. Default: the champion, else the challenger."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict every row of a table with a registered model."""
    from twoloops.outer_loop.predict import predict as step

    with working("predicting"):
        result = step(source, target, model)
    tell(result, as_json, [f"{result['rows']:,} predictions by {result['model']} are in {result['output']}."])


@app.command(rich_help_panel=OUTER_LOOP)
def explain(
    source: Annotated[str, typer.Argument(callback=from_caller, help="A Parquet or CSV table: a path or a URL.")],
    row: Annotated[int, typer.Option(min=0, help="Which row, from 0.")] = 0,
    entity: Annotated[str | None, typer.Option(help="Which entity, in place of the row: its newest row.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            callback=from_caller, help="A folder, or models:/NAME@ALIAS. Default: the champion, else the challenger."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Follow one record through the model, step by step: what it predicts, and which values move it."""
    from twoloops.outer_loop.explain import explain as step

    result = step(source, row=row, entity=entity, model=model)
    width = max(len(each["feature"]) for each in result["features"])
    lines = [f"The record of {result['entity']} keeps the contract. Its values, those that move the score most first:"]
    lines += [
        f"  {each['feature']:<{width}}  {_shown(each['value']):>12} {each['unit']:<14} "
        f"encoded {_shown(each['encoded']):>8}  moves it by {each['contribution']:+.4f}"
        for each in result["features"]
    ]
    lines.append("Scores: " + ", ".join(f"{name} {value:.4f}" for name, value in result["scores"].items()))
    lines.append(f"The moves are those of {result['explained']}, against values that training rows had.")
    predicted = ", ".join(f"{name} = {_shown(value)}" for name, value in result["prediction"].items())
    lines.append(f"Prediction: {predicted}")
    tell(result, as_json, lines)


def _shown(value: object) -> str:
    return "missing" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


@app.command(rich_help_panel=OUTER_LOOP)
def monitor(
    context: typer.Context,
    captures: Annotated[
        Path | None,
        typer.Option(
            callback=from_caller, help="A folder of capture files, with its subfolders. Default: data/captures."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            callback=from_caller,
            help="A table with the entity, the event time or request_id, and the target, as far as they are known by "
            "now. Default: monitor.labels.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(callback=from_caller, help="A folder, or models:/NAME@ALIAS. Default: the champion."),
    ] = None,
    respond: Annotated[
        bool,
        typer.Option(
            "--respond",
            help="Act on the verdict on the code host, and exit with 0: one issue for each time that the verdict is "
            "red, and a retraining when it is time.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Judge what the model in use was asked and answered. Exits with 3 when it is time to retrain."""
    from twoloops import params, registry
    from twoloops.outer_loop.monitoring.monitor import RED, WAITING
    from twoloops.outer_loop.monitoring.monitor import monitor as step

    checked = params.load()
    if respond and model is None and not registry.has_models():
        from twoloops.delivery.episode import show

        nothing = "No model is registered yet, so there is nothing to watch."
        typer.echo(nothing)
        show(f"{nothing}\n")
        return
    context.with_resource(platform.captures())
    with working("comparing with the training data"):
        result = step(checked, root=captures, labels=labels or checked.monitor.labels, model=model)
    if not as_json and result["decision"] != WAITING:
        typer.secho(f"Verdict: {result['decision']}", fg="red" if result["decision"] == RED else "green", bold=True)
        typer.echo(result["headline"])
    tell(result, as_json, _found(result), _after(result))
    if respond:
        from twoloops.delivery.episode import respond as answer

        answer(result, _found(result), lambda line: typer.echo(line, err=as_json))
    elif result["retrain"]:
        raise typer.Exit(3)


def _found(result: dict[str, Any]) -> list[str]:
    """Say in lines what the monitor found."""
    window = result["window"]
    lines = result["reasons"][:1]  # the others stand below, with what this window shows
    if not window["enough"]:
        lines = [
            f"Waiting: {window['rows']:,} new rows; monitor.minimum_rows asks for "
            f"{result['params']['minimum_rows']:,}. Nothing was consumed."
        ]
        if result["reasons"]:
            lines += ["The verdict is still red:", *(f"  {reason}" for reason in result["reasons"])]
    # What a window did not show is not told while there is none.
    shown = [check for check in result["checks"] if window["enough"] or check["name"] in ("performance", "staleness")]
    lines += [f"  {check['name']}: {check['state']}. {' '.join(check['findings'])}" for check in shown]
    if window["rows_of_other_models"]:
        lines.append(f"Left out, rows of other models: {sum(window['rows_of_other_models'].values()):,}.")
    lines += [
        f"Cannot be read, and stays for the next run: {name}: {why}" for name, why in window["unreadable"].items()
    ]
    return lines


def _after(result: dict[str, Any]) -> str:
    if result["retrain"]:
        return f"look at {paths().monitor_page}, then {verb('retrain')}"
    if result["reasons"] and result["cooling_until"]:
        return f"a retraining was started; another is suggested from {result['cooling_until']} on"
    if result["reasons"]:
        return f"look at {paths().monitor_page}: it says what to do; no retraining mends this"
    return f"look at {paths().monitor_page}" if result["window"]["enough"] else ""


@app.command(rich_help_panel=OUTER_LOOP)
def forget(
    entity: Annotated[str, typer.Argument(help="Whom: the key, as it stands in the data.")], as_json: Json = False
) -> None:
    """Remove a person from captures, prepared data and results of scoring, and say what that does not reach."""
    from twoloops import params
    from twoloops.outer_loop.forget import forget as step

    with working("looking through what is kept"):
        result = step(entity, params.load())
    lines = [f"{kind}: {rows:,} rows removed." for kind, rows in result["removed"].items()]
    lines += ["What this does not reach, and is for you to see to:", *(f"  - {each}" for each in result["beyond"])]
    tell(result, as_json, lines)


@app.command(rich_help_panel=OUTER_LOOP)
def retrain(
    context: typer.Context,
    reason: Annotated[str, typer.Option(envvar="RETRAIN_REASON", help="Why, for the record.")] = "asked for by hand",
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            envvar="RETRAIN_FORCE",
            help="Also when another was started within monitor.cool_down_hours.",
        ),
    ] = False,
    submit: Submit = False,
) -> None:
    """Run the inner loop on the newest data, with a new holdout. A red verdict exits with 2."""
    from twoloops import params
    from twoloops.outer_loop.retrain import retrain as step
    from twoloops.outer_loop.retrain import study_ageing, study_step
    from twoloops.pipelines import graph, local
    from twoloops.verbs.inner_loop import hand_over, require_sources_and_git

    package, say = config.current().package, partial(typer.secho, bold=True)
    steps = graph.load(paths().root).with_option(package, "prepare", "--new-holdout")
    require_sources_and_git(steps)
    checked = params.load()
    run_all: Callable[[], object] = partial(local.run, steps, run_verb, force=True, tell=say)
    study: Callable[[], object] = partial(study_ageing, checked, say)
    if submit:
        there = platform_that(PIPELINES)
        # The study is a step of the same run.
        steps = steps.and_then(*study_step(package))
        run_all, study = partial(there.submit, steps, typer.echo), lambda: None
    context.with_resource(platform.monitor_memory())
    result = step(run_all, study, checked, reason=reason, force=force)
    if result["challenger"] is None:
        tell(result, False, [result["why"]])
        return
    hand_over(result["challenger"])
    tell(result, False, [f"Version {result['challenger']} is the challenger."], verb(bring_into_use()))
