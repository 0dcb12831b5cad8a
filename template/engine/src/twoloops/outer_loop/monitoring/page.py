"""The monitor's report as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from twoloops import config
from twoloops.inner_loop.rule import describe_interval

PLOTTED = 60  # features with a plot; of the others, which drift least, the numbers are enough
TICK_WIDTH, LETTER_WIDTH = 56, 6  # pixels
CUT = 5  # bars of the timeline end at so many times the threshold: beyond, the height says no more

STYLE = """
:root { --ink: #1f2933; --soft: #52606d; --line: #d9dfe5; --paper: #ffffff; --ground: #f4f6f8;
  --before: #9fb0c0; --now: #1d5fa5; --green: #17653a; --green-ground: #e6f4ec; --red: #a32317; --red-ground: #fdebe8;
  --unknown-ground: #edf0f3; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 20px; margin: 0 0 12px; }
section, header { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 20px 24px;
  margin-bottom: 16px; }
header { border-left: 10px solid var(--green); }
header.red { border-left-color: var(--red); background: var(--red-ground); }
header.green { background: var(--green-ground); }
header p { margin: 4px 0; }
header h2 { margin: 14px 0 4px; }
.soft, figcaption, caption { color: var(--soft); font-size: 14px; }
caption { text-align: left; padding-bottom: 8px; }
ul { margin: 4px 0; padding-left: 22px; }
code { font: 14px ui-monospace, monospace; background: #00000010; padding: 1px 5px; border-radius: 4px; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 7px 10px 7px 0; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; font-size: 14px; color: var(--soft); }
tbody th { font-weight: 600; overflow-wrap: anywhere; min-width: 125px; max-width: 260px; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-right: 16px; }
thead th.number { text-align: right; padding-right: 16px; }
.scroll { overflow-x: auto; }
.badge { display: inline-block; padding: 1px 9px; border-radius: 10px; font-size: 14px; white-space: nowrap;
  background: var(--unknown-ground); }
.badge.red { background: var(--red-ground); color: var(--red); font-weight: 600; }
.badge.green { background: var(--green-ground); color: var(--green); }
figure { margin: 0 0 16px; overflow-x: auto; padding: 0 20px; }
svg { display: block; max-width: 100%; height: auto; overflow: visible; }
td svg { min-width: 280px; margin-right: 14px; } figure svg { min-width: 600px; } figcaption { margin-top: 8px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
.before { fill: var(--before); } .now { fill: var(--now); }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin: 0 4px 0 12px; }
dt { font-weight: 600; margin-top: 8px; } dd { margin: 0; }
"""


def render(result: dict[str, Any]) -> str:
    """Return the page of a report, as `monitor` returns it. Every name and message in it is escaped."""
    sections = [
        _verdict(result),
        _checks(result["checks"]),
        _timeline(result["timeline"], result["params"]),
        _features(result["drift"], result["params"]),
        _scores(result["drift"]),
        _performance(result["performance"]),
        _window(result["window"]),
        EXPLANATION,
    ]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # A name that got past the escaping could still do nothing.
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{escape(config.current().package)}: {result['decision']}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body><main>",
            *filter(None, sections),
            "</main></body>",
            "</html>",
            "",
        ]
    )


def _verdict(result: dict[str, Any]) -> str:
    advice = [re.sub("`([^`]*)`", r"<code>\1</code>", escape(each)) for each in result["advice"]]
    model = result["model"]
    named = f"version {model['version']}" if model["version"] else f"model {model['identity'][:12]}"
    age = f", {model['age_seconds'] / 86_400:,.0f} days old" if model["age_seconds"] is not None else ""
    return (
        f'<header class="{result["decision"]}"><h1>{escape(result["headline"])}</h1>'
        f"<p>{escape(config.current().package)}, {escape(named)}{age}. Judged on {_day(result['at'])}.</p>"
        + (f"<h2>Why</h2>{_list(result['reasons'])}" if result["reasons"] else "")
        + f"<h2>What to do</h2>{_list(advice, escaped=True)}</header>"
    )


def _checks(checks: list[dict[str, Any]]) -> str:
    rows = [
        f'<tr><th scope="row">{escape(check["name"])}</th><td>{_badge(check["state"])}</td>'
        f"<td>{'<br>'.join(map(escape, check['findings']))}</td></tr>"
        for check in checks
    ]
    return _section("What was checked", _table(["check", "state", "found"], rows))


def _badge(state: str, text: str = "") -> str:
    sign = {"red": "✕", "green": "✓"}.get(state, "?")  # the colour is not all that tells them apart
    return f'<span class="badge {state}">{sign} {escape(text or state)}</span>'


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
    return _section("The last windows", f"<figure>{drawing}<figcaption>{caption} {span}</figcaption></figure>")


def _drifts(window: dict[str, Any]) -> tuple[float, float]:
    return window["feature_drift"] or 0.0, window["score_drift"] or 0.0


KEY = (
    '<p class="soft">In the plots, one pair of bars for each range of values:'
    '<span class="key" style="background: var(--before)"></span>when the model was made'
    '<span class="key" style="background: var(--now)"></span>now.</p>'
)


def _features(drift: dict[str, Any] | None, params: dict[str, Any]) -> str:
    if drift is None:
        return ""
    head = ["feature", "", "stability index", "missing now", "before", "shares of the rows"]
    rows = [
        f'<tr><th scope="row">{escape(each["name"])}</th><td>{_state(each)}</td>'
        f'<td class="number" title="{escape(_details(each))}">{each["psi"]:.2f}</td>'
        f'<td class="number">{each["missing"]:.1%}</td><td class="number">{each["missing_before"]:.1%}</td>'
        f"<td>{_bars(each, 330, 54) if place < PLOTTED else ''}</td></tr>"
        for place, each in enumerate(drift["features"])
    ]
    told = (
        f'<p class="soft">The most changed first. A feature has drifted from a stability index of '
        f"{params['drift_threshold']:g} on, if chance does not explain it. Point at an index for more measures.</p>"
    )
    return _section("What goes into the model", told + KEY + _table(head, rows, numbers=(2, 3, 4)))


def _state(column: dict[str, Any]) -> str:
    states = [name for name, is_so in (("drifted", column["drifted"]), ("missing", column["lacking"])) if is_so]
    return " ".join(_badge("red", state) for state in states) or _badge("green", "as before")


def _details(column: dict[str, Any]) -> str:
    measures = [f"Jensen-Shannon distance {column['jensen_shannon']:.3f}"]
    if column["kolmogorov_smirnov"] is not None:
        measures.append(f"Kolmogorov-Smirnov {column['kolmogorov_smirnov']:.3f}")
    if column["unknown"]:
        measures.append(f"unknown categories {column['unknown']:.1%}")
    return ", ".join([*measures, f"chi-squared p {column['p_value']:.2g}"])


def _scores(drift: dict[str, Any] | None) -> str:
    if drift is None:
        return ""
    # Of two classes the other one mirrors it.
    drawn = drift["scores"][-1:] if len(drift["scores"]) == 2 else drift["scores"]
    figures = [
        f"<figure>{_bars(each, 900, 130)}<figcaption>Score of {escape(each['name'])}: {_state(each)} stability index "
        f"{each['psi']:.2f}; {escape(_details(each))}</figcaption></figure>"
        for each in drawn
    ]
    return _section("What comes out of the model", KEY + "".join(figures))


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


def _performance(measured: dict[str, Any] | None) -> str:
    if measured is None:
        return ""
    rows = [
        _fact(f"now, on {measured['rows']:,} labelled answers", _amount(measured["value"], measured["unit"])),
        _fact("with its interval, at the gate's confidence", escape(describe_interval(measured))),
        _fact(
            "demanded, at least" if measured["direction"] == "higher" else "demanded, at most",
            _amount(measured["threshold"], measured["unit"]),
        ),
    ]
    if measured["reference"] is not None:
        rows.append(_fact("on the holdout, when it was approved", _amount(measured["reference"], measured["unit"])))
    return _section(f"How good the answers were: {escape(measured['metric'])}", _table([], rows))


def _amount(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".strip()


def _window(window: dict[str, Any]) -> str:
    others = ", ".join(f"{rows:,} of version {version}" for version, rows in window["rows_of_other_models"].items())
    rows = [
        _fact("rows that this model answered", f"{window['rows']:,}"),
        _fact("captured", f"{_day(window['first'])} to {_day(window['last'])}" if window["first"] else "nothing"),
        _fact("left out, of other models", others or "none"),
        _fact("refused, because they broke the contract", f"{window['refused']:,} ({window['refused_share']:.1%})"),
        _fact("answered, but not captured", f"{window['dropped']:,} ({window['dropped_share']:.1%})"),
        _fact("files", f"{window['files']:,}"),
    ]
    rows += [_fact("could not be read", f"{name}: {why}") for name, why in window["unreadable"].items()]
    return _section("This window", _table([], rows))


def _fact(name: str, value: str) -> str:
    return f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _table(head: list[str], rows: Iterable[str], numbers: tuple[int, ...] = ()) -> str:
    cells = "".join(
        f'<th scope="col"{" class=number" if place in numbers else ""}>{escape(name)}</th>'
        for place, name in enumerate(head)
    )
    start = f"<thead><tr>{cells}</tr></thead>" if head else ""
    return f'<div class="scroll"><table>{start}<tbody>{"".join(rows)}</tbody></table></div>'


def _list(items: Iterable[str], *, escaped: bool = False) -> str:
    return "<ul>" + "".join(f"<li>{item if escaped else escape(item)}</li>" for item in items) + "</ul>"


def _day(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


EXPLANATION = """<section><h2>How to read this</h2>
<dl>
<dt>Window</dt><dd>The rows that came since the monitor ran before. One red window can be an odd day, so several are
needed for a red verdict.</dd>
<dt>Stability index</dt><dd>How much a distribution has changed (population stability index). Below 0.1: hardly.
From 0.2 on: much.</dd>
<dt>Data drift</dt><dd>What the model is asked has changed. It may still answer well; the performance tells, when
labels have come.</dd>
<dt>Prediction drift</dt><dd>What the model answers has changed.</dd>
<dt>Data quality</dt><dd>Values are missing, unknown or refused more than before, or scores are no numbers. New
training does not mend this; the source of the data has to.</dd>
<dt>Performance</dt><dd>How right the answers were, as far as the truth is known by now.</dd>
<dt>Staleness</dt><dd>How long ago the model was made.</dd>
</dl></section>"""
