"""How the verdict is shown to people: the look of the pictures, and the model card.

The card follows Mitchell et al., Model Cards for Model Reporting (2019).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from twoloops import config
from twoloops.contracts.signature import Signature
from twoloops.inner_loop.rule import FAILS, HOLDS, UNDECIDED
from twoloops.paths import paths
from twoloops.storage import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#5a6472"
MARKS = {HOLDS: "met", FAILS: "**missed**", UNDECIDED: UNDECIDED}


def new_figure(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    """Return an empty figure of 6 by 4.5 inches with its axes named."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e9ed")
    axes.set_axisbelow(True)
    return figure, axes


def save(figure: Figure, axes: Axes, path: Path) -> None:
    """Write the figure as PNG, with a legend where anything is labelled."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def draw_importance(path: Path, importance: dict[str, float]) -> None:
    """Draw how much worse the primary metric gets when a feature is shuffled, best feature on top."""
    figure, axes = new_figure("Feature importance", "loss of the primary metric when shuffled", "")
    names = list(importance)[::-1]
    axes.barh(names, [importance[name] for name in names])
    axes.axvline(0, color=INK, linewidth=1)
    save(figure, axes, path)


def write_model_card(
    path: Path, verdict: dict[str, Any], signature: Signature, lineage: dict[str, Any], inputs: list[str], period: str
) -> None:
    """Write the card as Markdown, with the plots beside it.

    Args:
        path: the file.
        verdict: as it lies in reports/verdict.json.
        signature: what goes in and what comes out.
        lineage: where the model comes from.
        inputs: the lines that tell what goes in.
        period: the time that the holdout covers, in words.
    """
    sections = [
        [
            f"# Model card: {config.current().package}",
            "",
            f"Verdict: **{verdict['verdict']}**. Model `{verdict['model'][:12]}`.",
        ],
        _purpose(signature),
        _quality(verdict),
        _calibration(verdict),
        _slices(verdict),
        _groups(verdict),
        inputs,
        _origin(lineage, period),
    ]
    with replacing(path) as new:
        new.write_text("\n\n".join("\n".join(section) for section in sections if section) + "\n", encoding="utf-8")


def table(head: list[str], rows: list[list[Any]]) -> list[str]:
    """Return a table in Markdown, as lines."""

    def line(cells: list[Any]) -> str:
        return "| " + " | ".join(_cell(cell) for cell in cells) + " |"

    return [line(head), "|" + " --- |" * len(head), *map(line, rows)]


def _cell(content: Any) -> str:
    return "" if content is None else f"{content:.4g}" if isinstance(content, float) else str(content)


def _purpose(signature: Signature) -> list[str]:
    classes = f" Classes: {', '.join(map(str, signature.classes))}." if signature.classes else ""
    return [
        "## What it is for",
        "",
        f"A {signature.task} model that predicts `{signature.target}` for one `{signature.entity}`.{classes}",
        "What it is meant for, and what it must not be used for, is in docs/problem.md.",
    ]


def _quality(verdict: dict[str, Any]) -> list[str]:
    metrics = [
        [name, each["value"], each["low"], each["high"], each["unit"], each["reason"]]
        for name, each in verdict["metrics"].items()
    ]
    gains = [
        [name, each["value"], each["low"], each["high"], each["noise"], "within its noise" * each["within_noise"]]
        for name, each in verdict["gains"].items()
    ]
    rules = [[MARKS[rule["outcome"]], rule["subject"], rule["value"], rule["limit"]] for rule in verdict["rules"]]
    pictures = [f"![{plot.stem.replace('_', ' ')}](plots/{plot.name})" for plot in sorted(paths().plots.glob("*.png"))]
    return [
        f"## How good it is, on {verdict['holdout']['rows']:,} held-out rows",
        "",
        *table(["metric", "value", "from", "to", "unit", "why no interval"], metrics),
        "",
        f"Other models that these rows have judged: {verdict['holdout']['judged_before']:,}. "
        "A gain that is smaller than its noise may be chance.",
        "",
        *table(["gain over the", "value", "from", "to", "noise", ""], gains),
        "",
        *table(["gate", "demand", "value", "limit"], rules),
        "",
        *pictures,
    ]


def _slices(verdict: dict[str, Any]) -> list[str]:
    names = ("rows", "value", "low", "high", "outcome", "found_from", "reason")
    rows = [[name, *(each[part] for part in names)] for name, each in verdict["slices"].items()]
    head = ["slice", "rows", "primary metric", "from", "to", "the demand", "found from", "why no interval"]
    words = "A true value as in 'found from' would be found to miss the demand in 8 of 10 such holdouts."
    return ["## By slice", "", words, "", *table(head, rows)]


def _groups(verdict: dict[str, Any]) -> list[str]:
    rows = [
        [measure, group, report["rows"][group], value, report["ratio"], report["outcome"]]
        for measure, report in verdict["groups"].items()
        for group, value in report["groups"].items()
    ]
    head = ["measure", "group", "rows", "value", "smallest ratio", "the demand"]
    return ["## Groups of people", "", *table(head, rows)]


def _calibration(verdict: dict[str, Any]) -> list[str]:
    rows = [
        [name, what, each[what]["value"], each[what]["low"], each[what]["high"]]
        for name, each in verdict["calibration"].items()
        for what in ("slope", "intercept")
    ]
    if not rows:
        return []
    words = "A slope of 1 and an intercept of 0 are right. A slope below 1: too extreme. An intercept above 0: too low."
    return ["## Calibration", "", words, "", *table(["probability of", "what", "value", "from", "to"], rows)]


def _origin(lineage: dict[str, Any], period: str) -> list[str]:
    rows = [
        ["code", lineage["code_version"]],
        ["training rows", f"{lineage['train_rows']:,}, version `{lineage['train_version'][:12]}`"],
        ["holdout", f"version `{lineage['holdout_version'][:12]}`{period}"],
        ["largest difference of shipped model and estimator", lineage["parity_difference"]],
        ["Python", lineage["python"]],
        *[[name, number] for name, number in lineage["libraries"].items()],
    ]
    return ["## Where it comes from", "", *table(["what", "value"], rows)]
