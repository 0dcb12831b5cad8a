"""How the project's pictures look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#5a6472"


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
