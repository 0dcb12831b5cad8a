"""The inner loop again, on the newest data: the answer to a red verdict of the monitor."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from twoloops import registry
from twoloops.contracts.graph import Step
from twoloops.errors import ProjectError, RedVerdictError
from twoloops.inner_loop.staleness import staleness, unsuitable
from twoloops.outer_loop.monitoring import history
from twoloops.params import Params
from twoloops.paths import RELATIVE, paths
from twoloops.storage import read_json

logger = logging.getLogger(__name__)

SAME = "The data gives the same model as before. Bring newer data to data.source, with its labels."


def study_ageing(params: Params, tell: Callable[[str], None]) -> None:
    """Study how fast models age, where it can be told: it says when the next retraining will be due."""
    if unsuitable():
        return
    tell("staleness:")
    try:
        staleness(params)
    except ProjectError as error:  # the model is registered: what cannot be studied takes nothing from it
        tell(str(error))
        return
    tell("How fast models age is in reports/staleness.png.")


def study_step(package: str) -> list[Step]:
    """Return the same study as a step of a run elsewhere, the last one; none where age cannot be told.

    Args:
        package: the project's.
    """
    if unsuitable():
        return []
    # The registration is read so that a red verdict spares the study.
    reads = (RELATIVE.train, RELATIVE.holdout, RELATIVE.registration)
    writes = tuple((RELATIVE.reports / f"staleness.{kind}").as_posix() for kind in ("json", "png"))
    return [Step("staleness", (f"{package} staleness",), tuple(each.as_posix() for each in reads), writes, writes)]


def retrain(
    run: Callable[[], object],
    study: Callable[[], object],
    params: Params,
    *,
    reason: str,
    force: bool,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Run the inner loop with a new holdout of the newest rows, and register a green model as challenger.

    The new holdout is what makes the verdict one on the world of today: champion and challenger are
    both judged on it. Afterwards the study of how fast models age is made anew.

    The start is written down first, so that the monitor asks for no second retraining meanwhile. A
    retraining that was interrupted, or that an error ended, may be repeated at once.

    Args:
        run: runs the inner loop; its `prepare` freezes a new holdout.
        study: studies how fast models age, on what the run has left.
        params: the checked params.yaml.
        reason: why, for the record.
        force: also within the cool-down.
        now: the time of the start; None: the clock's.

    Returns:
        The version that is challenger now, or None and why there is none.

    Raises:
        ProjectError: one was started a short while ago, or a step failed.
        RedVerdictError: the verdict is red; `evaluate` has said why.
    """
    now = now or datetime.now(UTC)
    past = history.load()
    cooling = past.cooling_until(params.monitor, now)
    under_way = past.retraining is not None and past.retraining.outcome is None
    if cooling and past.retraining and not under_way and not force:
        raise ProjectError(
            f"A retraining was started at {past.retraining.started_at:%Y-%m-%d %H:%M} UTC and ended with "
            f"{past.retraining.outcome}; monitor.cool_down_hours asks to wait until {cooling:%Y-%m-%d %H:%M} UTC.",
            hint="Wait, or give --force when the data or the code has changed since.",
        )
    history.record(history.Retraining(started_at=now, reason=reason))
    outcome: Literal["challenger", "no challenger", "failed"] | None = "failed"
    try:
        run()
        registration = read_json(paths().registration, "register")
        outcome = "challenger" if registration["alias"] == registry.CHALLENGER else "no challenger"
    except RedVerdictError:
        outcome = "no challenger"
        raise
    except KeyboardInterrupt:
        outcome = None
        raise
    finally:
        history.record(history.Retraining(started_at=now, reason=reason, outcome=outcome))
        logger.info("the retraining, %s, ended with %s", reason, outcome or "an interruption")
    study()
    if outcome == "no challenger":
        return {"challenger": None, "why": SAME, "reason": reason}
    return {"challenger": registration["version"], "identity": registration["identity"], "reason": reason}
