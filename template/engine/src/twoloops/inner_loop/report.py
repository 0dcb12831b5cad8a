"""How the verdict is shown to people: the look of the pictures, and the model card.

The card follows Mitchell et al., Model Cards for Model Reporting (2019).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from twoloops import config, pages
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
    """Write the card as Markdown, with the plots beside it; pages/model_card.md.j2 is its form.

    Args:
        path: the file.
        verdict: as it lies in reports/verdict.json.
        signature: what goes in and what comes out.
        lineage: where the model comes from.
        inputs: the lines that tell what goes in.
        period: the time that the holdout covers, in words.
    """
    text = pages.render(
        "model_card.md",
        package=config.current().package,
        verdict=verdict,
        signature=signature,
        lineage=lineage,
        inputs="\n".join(inputs),
        period=period,
        marks=MARKS,
        pictures=sorted(paths().plots.glob("*.png")),
    )
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")
