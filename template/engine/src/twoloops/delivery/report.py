"""What a reviewer sees of a change: one page, the same on every code host."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from twoloops import params
from twoloops.delivery import supply_chain
from twoloops.errors import ProjectError
from twoloops.hosts import host
from twoloops.hosts.web import HostError
from twoloops.inner_loop import sample
from twoloops.inner_loop.evaluate import GREEN
from twoloops.inner_loop.rule import failed_rules
from twoloops.paths import paths
from twoloops.storage import read_json, replacing

MARK = f"<!-- {__name__.partition('.')[0]}: report on the change -->"
BAR = 20  # characters of a full bar


def report() -> Path:
    """Write the page about what this checkout would bring, and return its path.

    It is written from what the verbs before have left in reports/; what is not there is said.
    """
    sections = [_verdict(), _difference(), _slices(), _scan()]
    page = "\n\n".join([MARK, "# What this change does to the model", *filter(None, sections), _links()])
    with replacing(paths().change_page) as new:
        new.write_text(page + "\n", encoding="utf-8")
    if paths().metrics.exists():
        values = _leaves(read_json(paths().metrics, "evaluate"))
        with replacing(paths().reports / "metrics.txt") as new:
            new.write_text("".join(f"{_plain(name)} {value}\n" for name, value in values.items()), encoding="utf-8")
    return paths().change_page


def publish(page: Path, mark: str = MARK) -> list[str]:
    """Show the page with the run, and as the one comment on the change that bears the mark; say in lines where.

    A change from a fork has no right to comment: then the run's own page is where it can be read.
    """
    host.add_summary(page)
    change = host.change()
    if change is None:
        return []
    if host.from_fork():
        return [f"The change comes from a fork, which may not comment: the report is with the run, {host.run_url()}."]
    try:
        return [f"The report is at {host.comment(change, mark, page.read_text(encoding='utf-8'))}."]
    except HostError as error:
        if error.status not in (401, 403):
            raise
        return [f"The report could not be put on the change, it is with the run only: {error} {error.hint}"]


def _verdict() -> str:
    if paths().failure.exists():
        failure = read_json(paths().failure, "run")
        text = failure["message"].replace("`", "'")
        stopped = f"**Not judged**: the step `{failure['step']}` stopped."
        return f"{stopped}\n\n```text\n{text}\n```\n\n{failure['hint']}"
    if not paths().verdict.exists():
        return "**Not judged**: there is no verdict. The log of the run says why."
    verdict = read_json(paths().verdict, "evaluate")
    rules = verdict["rules"]
    if verdict["verdict"] == GREEN:
        rows = verdict["holdout"]["rows"]
        return f"**Verdict: green.** All {len(rules)} demands of the gate are met, on {rows:,} held-out rows."
    missed = failed_rules(verdict)
    lines = "\n".join(f"- {line}" for line in missed)
    return f"**Verdict: red.** {len(missed)} of {len(rules)} demands of the gate are missed:\n\n{lines}"


def _difference() -> str:
    """Compare reports/metrics.json with that of the main branch, as DVC does."""
    base = host.base()
    if base is None or not paths().metrics.exists():
        return ""
    if _on_sample():
        return (
            f"## Metrics\n\nThe change was judged on a sample (`{paths().sample_record.name}`), not on the training "
            f"data: its metrics cannot be compared with those of {base}."
        )
    command = [sys.executable, "-m", "dvc", "metrics", "diff", "--json", base]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    head = f"## Metrics, against {base}"
    if done.returncode:
        return f"{head}\n\nThey cannot be compared: {' '.join(done.stderr.split())[:300]}"
    found = json.loads(done.stdout or "{}").get(paths().metrics.as_posix(), {})
    if not found:
        return f"{head}\n\nNone differs, or {base} holds no {paths().metrics.as_posix()} to compare with."
    rows = [
        f"| {name} | {_number(each.get('old'))} | {_number(each.get('new'))} | {_change(each.get('diff'))} |"
        for name, each in sorted(found.items())
    ]
    return "\n".join([head, "", "| metric | before | now | change |", "| --- | ---: | ---: | ---: |", *rows])


def _on_sample() -> bool:
    with suppress(ProjectError):
        return sample.in_use(params.load().data.source)
    return False


def _slices() -> str:
    if paths().failure.exists() or not paths().verdict.exists():
        return ""
    slices = read_json(paths().verdict, "evaluate")["slices"]
    if not slices:
        return ""
    largest = max(abs(each["value"] or 0.0) for each in slices.values()) or 1.0
    rows = [
        f"| {name} | {each['rows']:,} | {_number(each['value'])} | {_bar(abs(each['value'] or 0.0) / largest)} "
        f"| {each['outcome']} |"
        for name, each in slices.items()
    ]
    head = ["## By slice", "", "| slice | rows | primary metric | | the demand |", "| --- | ---: | ---: | --- | --- |"]
    return "\n".join([*head, *rows])


def _scan() -> str:
    path = paths().scan / supply_chain.FINDINGS
    if not path.exists():
        return ""
    found = read_json(path, "scan")
    lines = [f"- {each['level']}: {each['about']}" for each in found["findings"]]
    words = "\n".join(lines) or f"Nothing was found in {found['packages']} packages and in the files."
    return f"## Supply chain\n\n{words}"


def _links() -> str:
    where = host.run_url()
    plots = ", ".join(path.stem.replace("_", " ") for path in sorted(paths().plots.glob("*.png")))
    pictures = f"The plots ({plots}), the model card and all numbers are" if plots else "What there is to see is"
    return f"{pictures} in `reports/`" + (f", an artifact of [this run]({where})." if where else ".")


def _leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of a nested mapping by their dotted names."""
    found: dict[str, float] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[f"{prefix}{name}"] = value
    return found


def _plain(name: str) -> str:
    """Return a name that OpenMetrics allows."""
    return "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in name)


def _number(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _change(value: object) -> str:
    return f"{value:+.4g}" if isinstance(value, int | float) else ""


def _bar(share: float) -> str:
    full = round(share * BAR)
    return "█" * full + "░" * (BAR - full)
