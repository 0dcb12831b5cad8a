"""The monitor's verdict on the code host: one issue for each red episode, and a retraining when it is time.

An episode begins when the verdict turns red and ends when it is green again. While it lasts its
issue is brought up to date; there is never a second one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from twoloops import config
from twoloops.hosts import host
from twoloops.outer_loop.monitoring import history
from twoloops.outer_loop.monitoring.monitor import GREEN, RED
from twoloops.paths import paths

LABEL = "drift"


def respond(result: dict[str, Any], lines: list[str], tell: Callable[[str], None]) -> None:
    """Open, update or close the issue, and start the flow `train` when the monitor suggests a retraining.

    Args:
        result: what the monitor found.
        lines: the same, for people.
        tell: prints a line.

    Raises:
        ProjectError: the code host refuses or does not answer.
    """
    page = _page(result, lines)
    show(page)
    issue = host.find_issue(LABEL)
    if result["decision"] == RED:
        if issue:
            host.update_issue(issue, page)
        else:
            issue = host.open_issue(f"{config.current().package}: {result['headline']}", page, LABEL)
        tell(f"The issue about it: {issue.url}")
    elif result["decision"] == GREEN and issue:
        host.close_issue(issue, page)
        tell(f"Green again; closed: {issue.url}")
    if result["retrain"]:
        reason = "drift: " + " ".join(result["reasons"])[:200]
        where = host.start("train", {"reason": reason})
        # Noted now: the next run of the monitor must not start another before this one has begun.
        history.record(history.Retraining(started_at=datetime.now(UTC), reason=reason))
        tell(f"Retraining is started: {where or 'the flow train'}.")


def show(page: str) -> None:
    """Put what the monitor wrote where the flow takes its artifacts from, and the page with the run.

    Args:
        page: what to say of the run, in Markdown.
    """
    if paths().monitoring != paths().monitoring_copy and paths().monitoring.exists():
        shutil.copytree(paths().monitoring, paths().monitoring_copy, dirs_exist_ok=True)
    paths().monitoring_copy.mkdir(parents=True, exist_ok=True)
    summary = paths().monitoring_copy / "summary.md"
    summary.write_text(page, encoding="utf-8")
    host.add_summary(summary)


def _page(result: dict[str, Any], lines: list[str]) -> str:
    model, window = result["model"], result["window"]
    version = model["version"] or model["identity"][:12]
    parts = [f"**Verdict: {result['decision']}**, {result['at']}, version {version}, {window['rows']:,} rows."]
    parts.append(f"{result['headline']}.")
    parts.append("\n".join(f"- {line.strip()}" for line in lines))
    if result["retrain"]:
        parts.append("A retraining is started now.")
    elif result["cooling_until"]:
        parts.append(f"A retraining was started; no other one before {result['cooling_until']}.")
    if where := host.run_url():
        parts.append(f"The monitor's page is `reports/monitoring/index.html`, an artifact of [the run]({where}).")
    return "\n\n".join(parts) + "\n"
