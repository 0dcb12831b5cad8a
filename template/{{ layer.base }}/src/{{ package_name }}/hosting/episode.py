"""The monitor's verdict on the code host: one issue for each episode of drift, and a retraining when it is time.

An episode begins when the verdict turns red and ends when it is green again. While it lasts its
issue is brought up to date; there is never a second one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ..outer_loop.monitoring import history
from ..outer_loop.monitoring.monitor import GREEN, RED
from ..storage import REPORTS
from . import host

LABEL = "drift"
PROGRAM = __name__.partition(".")[0]
COPY = REPORTS / "monitoring"


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
            issue = host.open_issue(f"{PROGRAM}: the model is no longer trusted", page, LABEL)
        tell(f"The issue about it: {issue.url}")
    elif result["decision"] == GREEN and issue:
        host.close_issue(issue, page)
        tell(f"Green again; closed: {issue.url}")
    if result["retrain"]:
        reason = "drift: " + " ".join(result["reasons"])[:200]
        where = host.start("train", {"reason": reason})
        # Noted now: the next run of the monitor must not start another before this one has begun.
        history.note(history.Retraining(started_at=datetime.now(UTC), reason=reason))
        tell(f"Retraining is started: {where or 'the flow train'}.")


def show(page: str) -> None:
    """Put what the monitor wrote where the flow takes its artifacts from, and the page with the run.

    Args:
        page: what to say of the run, in Markdown.
    """
    if history.FOLDER != COPY and history.FOLDER.exists():
        shutil.copytree(history.FOLDER, COPY, dirs_exist_ok=True)
    COPY.mkdir(parents=True, exist_ok=True)
    summary = COPY / "summary.md"
    summary.write_text(page, encoding="utf-8")
    host.add_summary(summary)


def _page(result: dict[str, Any], lines: list[str]) -> str:
    model, window = result["model"], result["window"]
    version = model["version"] or model["identity"][:12]
    parts = [f"**Verdict: {result['decision']}**, {result['at']}, version {version}, {window['rows']:,} rows."]
    parts.append("\n".join(f"- {line.strip()}" for line in lines))
    if result["retrain"]:
        parts.append("A retraining is started now.")
    elif result["cooling_until"]:
        parts.append(f"A retraining was started; no other one before {result['cooling_until']}.")
    if where := host.run_url():
        parts.append(f"The monitor's page is `reports/monitoring/index.html`, an artifact of [the run]({where}).")
    return "\n\n".join(parts) + "\n"
