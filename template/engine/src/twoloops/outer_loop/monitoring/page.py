"""The monitor's report as one HTML page that needs nothing else: no script, no font, no network.

Here are its drawings; pages/monitor.html.j2 is the page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from twoloops import config, drift, pages
from twoloops.inner_loop.rule import describe_interval

PLOTTED = 60  # features with a plot; of the others, which drift least, the numbers are enough
TICK_WIDTH, LETTER_WIDTH = 56, 6  # pixels
CUT = 5  # bars of the timeline end at so many times the threshold: beyond, the height says no more


def render(result: dict[str, Any]) -> str:
    """Return the page of a report, as `monitor` returns it; pages/monitor.html.j2 is its form, and escapes all in it.

    Raises:
        ProjectError: the project's own template is wrong.
    """
    from markupsafe import Markup, escape

    return pages.render(
        "monitor.html",
        package=config.current().package,
        result=result,
        advice=[Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(each)))) for each in result["advice"]],  # noqa: S704
        timeline=Markup(_timeline(result["timeline"], result["params"])),  # noqa: S704 - the drawings escape names
        bars=lambda *words: Markup(_bars(*words)),  # noqa: S704
        plotted=PLOTTED,
        weighs=drift.is_weighed,
        details=_details,
        day=_day,
        amount=_amount,
        describe_interval=describe_interval,
    )


def _timeline(windows: list[dict[str, Any]], params: dict[str, Any]) -> str:
    """Draw one bar a window: its largest stability index; red windows are marked in words too."""
    if not windows:
        return ""
    width, height, step = 940, 150, min(60.0, 900 / len(windows))
    top = CUT * params["drift_threshold"]
    parts = []
    for place, window in enumerate(windows):
        tall = min(1.0, max(_drifts(window)) / top) * (height - 40)
        left = 20 + place * step
        colour = "var(--red)" if window["red"] else "var(--green)"
        told = f"{_day(window['at'])}: {'red' if window['red'] else 'green'}, {window['rows']:,} rows. " + " ".join(
            window["reasons"]
        )
        parts.append(
            f'<g><title>{escape(told)}</title><rect x="{left:.1f}" y="{height - 20 - max(tall, 2):.1f}" '
            f'width="{step * 0.7:.1f}" height="{max(tall, 2):.1f}" rx="2" fill="{colour}"/>'
            f'<text x="{left + step * 0.35:.1f}" y="{height - 5}" text-anchor="middle">'
            f"{'✕' if window['red'] else '✓'}</text></g>"
        )
    limit = height - 20 - params["drift_threshold"] / top * (height - 40)
    red = sum(window["red"] for window in windows)
    caption = (
        f"Each bar is a window of this model, the newest on the right: {len(windows)} shown, {red} red (✕). Its height "
        f"is the largest stability index of a feature or output, cut at {top:g}; the line is where drift begins."
    )
    drawing = (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{escape(caption)}">'
        f"{''.join(parts)}"
        f'<line x1="0" x2="{width}" y1="{limit:.1f}" y2="{limit:.1f}" stroke="var(--ink)" stroke-dasharray="4 4"/>'
        f'<text x="{width}" y="{limit - 5:.1f}" text-anchor="end">{params["drift_threshold"]:g}</text></svg>'
    )
    span = f"{_day(windows[0]['at'])} to {_day(windows[-1]['at'])}."
    return f"<figure>{drawing}<figcaption>{escape(caption)} {span}</figcaption></figure>"


def _drifts(window: dict[str, Any]) -> tuple[float, float]:
    return window["feature_drift"] or 0.0, window["score_drift"] or 0.0


def _details(column: dict[str, Any]) -> str:
    measures = [f"Jensen-Shannon distance {column['jensen_shannon']:.3f}"]
    if column["kolmogorov_smirnov"] is not None:
        measures.append(f"Kolmogorov-Smirnov {column['kolmogorov_smirnov']:.3f}")
    if column["unknown"]:
        measures.append(f"unknown categories {column['unknown']:.1%}")
    return ", ".join([*measures, f"chi-squared p {column['p_value']:.2g}"])


def _bars(column: dict[str, Any], width: int, height: int) -> str:
    """Draw the share of each bin before and now, side by side; bins that are empty twice are left out."""
    bins = [
        (name, before, now)
        for name, before, now in zip(column["bins"], column["before"], column["now"], strict=True)
        if before or now
    ]
    top = max(max(before, now) for _, before, now in bins)
    step = width / len(bins)
    base = height - 16

    def drawn(place: int, share: float, shift: float, kind: str) -> str:
        tall = share / top * (base - 4)
        return (
            f'<rect class="{kind}" x="{place * step + shift:.1f}" y="{base - tall:.1f}" '
            f'width="{step * 0.42:.1f}" height="{tall:.1f}"/>'
        )

    groups = "".join(
        f"<g><title>{escape(f'{name}: {before:.1%} before, {now:.1%} now')}</title>"
        f"{drawn(place, before, step * 0.04, 'before')}{drawn(place, now, step * 0.48, 'now')}</g>"
        for place, (name, before, now) in enumerate(bins)
    )
    ticks = _ticks([name for name, *_ in bins], column["kind"], step, base)
    told = escape(_describe(column["name"], bins))
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{told}">{groups}{ticks}</svg>'


def _describe(name: str, bins: Sequence[tuple[str, float, float]]) -> str:
    """Say the largest change of a plot in words."""
    most, before, now = max(bins, key=lambda each: abs(each[2] - each[1]))
    return f"{name}: the largest change is at {most}, from {before:.1%} to {now:.1%} of the rows."


def _ticks(names: list[str], kind: str, step: float, base: int) -> str:
    """Name the first bin, and as many of the others as there is room for."""
    longest = int(max(step, TICK_WIDTH) // LETTER_WIDTH)
    return "".join(
        f'<text x="{place * step + step / 2:.1f}" y="{base + 13}" text-anchor="middle">'
        f"{escape(_short(names[place], kind, longest))}</text>"
        for place in range(0, len(names), max(1, math.ceil(TICK_WIDTH / step)))
    )


def _short(name: str, kind: str, most: int) -> str:
    if kind == "number" and len(name) > most:
        return name.partition(" to ")[0]  # where the range begins
    return name if len(name) <= most else name[: most - 1] + "…"


def _amount(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".strip()


def _day(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
