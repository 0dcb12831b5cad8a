"""What windows lead to: what is known of drift and of loss, whether the verdict is red, and what to do.

Drift and loss of performance are two things. Inputs may change and the answers stay good; the answers may become worse
though inputs look as before. So there are four states beside the calm one, each with a sentence and a way on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from twoloops.outer_loop.monitoring.checks import DATA_DRIFT, PERFORMANCE, PREDICTION_DRIFT, QUALITY, Check
from twoloops.outer_loop.monitoring.history import PastWindow, State
from twoloops.params import Params

CALM: Final[State] = "calm"
DRIFT: Final[State] = "drift without loss"
LOSS: Final[State] = "loss without drift"
BOTH: Final[State] = "drift and loss"
UNKNOWN: Final[State] = "cannot tell yet"

SENTENCES: Final[dict[State, str]] = {
    CALM: "nothing that matters has changed",
    DRIFT: "what comes in has changed, and the answers are measured to be as good as demanded",
    LOSS: "the answers have become worse, though what comes in looks as before",
    BOTH: "what comes in has changed, and the answers have become worse",
    UNKNOWN: "what comes in has changed in what the model weighs, and whether its answers are worse cannot be told yet",
}
FAULT: Final = "the data that comes in has a fault"
OLD: Final = "what the model has learned is old"


def assess(checks: Sequence[Check]) -> State:
    """Say what one window tells of drift and of loss.

    Only drift in what the model weighs, or in its answers, makes the first red: see `checks`.
    """
    states = {check.name: check.state for check in checks}
    drifted = "red" in (states[DATA_DRIFT], states[PREDICTION_DRIFT])
    if states[PERFORMANCE] == "red":
        return BOTH if drifted else LOSS
    if not drifted:
        return CALM
    return DRIFT if states[PERFORMANCE] == "green" else UNKNOWN


def is_faulty(checks: Sequence[Check]) -> bool:
    """Say whether the data itself is at fault: no training mends that."""
    return any(check.name == QUALITY and check.state == "red" for check in checks)


def is_red(state: State, faulty: bool) -> bool:
    """Say whether a window asks for something to be done: drift with answers that stay good does not."""
    return faulty or state in (LOSS, BOTH, UNKNOWN)


@dataclass(frozen=True)
class Decision:
    """Whether something has to be done about the model, and whether that is to train another one."""

    red: bool
    retrain: bool  # training may help, and no retraining was started a short while ago
    reasons: tuple[str, ...]
    red_windows: int
    cooling_until: datetime | None
    cause: str  # in words; why it is red, or what the newest window shows
    state: State
    faulty: bool
    wants_training: bool  # training may help


def decide(windows: Sequence[PastWindow], stale: Check, cooling_until: datetime | None, params: Params) -> Decision:
    """Decide from the last windows of a model.

    Red are `monitor.red_windows` red windows of the last `monitor.windows`: one alone can be an odd day. Of a model
    that is too old it is red at once, because age is certain. A retraining is for windows that show loss, or drift of
    which no label tells yet what it does; not for a fault in the data, which a new model would learn.

    Args:
        windows: the last windows of this model, oldest first.
        stale: the check of the age.
        cooling_until: until when no other retraining is to be started.
        params: the thresholds.
    """
    last = windows[-params.monitor.windows :]
    of_last = [window for window in last if window.red]
    shown = (of_last or last)[-1:]
    enough = len(of_last) >= params.monitor.red_windows
    state, faulty = (shown[0].state, shown[0].faulty) if shown else (CALM, False)
    reasons: list[str] = []
    if enough:
        reasons.append(
            f"{len(of_last)} of the last {min(len(windows), params.monitor.windows)} windows are red "
            f"({params.monitor.red_windows} of {params.monitor.windows} are too many)."
        )
        reasons += of_last[-1].reasons
    if stale.state == "red":
        reasons += stale.findings
    learnable = [window for window in of_last if window.state in (LOSS, BOTH) or not window.faulty]
    wants = len(learnable) >= params.monitor.red_windows or (stale.state == "red" and stale.training_helps)
    red = bool(reasons)
    if red and not enough:
        cause = OLD
    elif faulty and state in (CALM, DRIFT, UNKNOWN):
        cause = FAULT
    else:
        cause = SENTENCES[state]
    return Decision(
        red, wants and cooling_until is None, tuple(reasons), len(of_last), cooling_until, cause, state, faulty, wants
    )


def headline(decision: Decision, window_red: bool) -> str:
    """Return the verdict in one line."""
    if decision.red:
        return f"Red: {decision.cause}"
    return f"Green, but the last window is red: {decision.cause}" if window_red else f"Green: {decision.cause}"


def advise(decision: Decision, window_red: bool, measured: bool, params: Params, command: str, day: str) -> list[str]:
    """Return what to do, one sentence or two each; words between backticks are commands and keys.

    Args:
        decision: on the last windows.
        window_red: whether the newest window is red.
        measured: whether labels tell the performance.
        params: the thresholds.
        command: how the project's verbs are called.
        day: until when no other retraining is started, for people.
    """
    if not decision.red:
        return _advise_green(decision, window_red, measured, params, command)
    source = (
        ["Look for the fault in what sends the data: a model that is trained on broken values learns the fault."]
        if decision.faulty
        else []
    )
    if not decision.wants_training:
        if not decision.faulty:  # it was too old when it was registered
            return [
                "No retraining is started: there were no newer rows when the model was made. Bring newer ones, with "
                "their labels, to `data.source`, or raise `monitor.maximum_age_days`."
            ]
        return [*source, "No retraining is started for it. The next windows turn green when the data is right again."]
    if not decision.retrain:
        return [
            *source,
            "A retraining was started. See what came of it: if it gave no better model, the data or the model needs "
            "work.",
            f"Another one is suggested from {day} on.",
        ]
    train = f"Train a new model: `{command} retrain`. It is put to use only if it passes the gate."
    ways: dict[str, list[str]] = {
        SENTENCES[LOSS]: [
            "Look at the labels first: where they are made otherwise, or some are late, it looks the same.",
            "If they are right, the same inputs mean something else now: only newer rows with labels tell a model so.",
        ],
        SENTENCES[BOTH]: ["Check that the newest rows, with their labels, are where `data.source` points."],
        SENTENCES[UNKNOWN]: [
            f"Bring labels of the newest answers, and see: `{command} monitor --labels FILE`. Where they show that the "
            "answers are good, nothing else is needed.",
            "Until then a new model is the careful way, if rows of the new world have labels.",
        ],
        OLD: ["Nothing says that its answers have become worse; nobody has tried whether a newer one is better."],
    }
    return [*source, *ways.get(decision.cause, []), train]


def _advise_green(decision: Decision, window_red: bool, measured: bool, params: Params, command: str) -> list[str]:
    if window_red:
        return [
            *(["Look for the fault in what sends the data."] if decision.faulty else []),
            f"Nothing yet. From {params.monitor.red_windows} red windows of the last {params.monitor.windows} on, the "
            "verdict is red.",
        ]
    if decision.state == DRIFT:
        return [
            "Nothing has to be trained. Look at which columns have changed, and whether somebody expected it.",
            "Go on bringing labels: they are what says that the answers stay good.",
        ]
    if not measured:
        return [f"Nothing. To know how good the answers were, bring labels: `{command} monitor --labels FILE`."]
    return ["Nothing."]


def as_dict(decision: Decision) -> dict[str, Any]:
    """Return what the report keeps of a decision, plain values."""
    return {
        "decision": "red" if decision.red else "green",
        "state": decision.state,
        "retrain": decision.retrain,
        "reasons": list(decision.reasons),
        "red_windows": decision.red_windows,
        "cooling_until": decision.cooling_until.isoformat(timespec="seconds") if decision.cooling_until else None,
    }
