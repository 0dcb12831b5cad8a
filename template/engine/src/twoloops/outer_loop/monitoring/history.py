"""What the monitor remembers from run to run: files it has read, its windows, the last retraining."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from twoloops.errors import ProjectError
from twoloops.params import MonitorParams
from twoloops.paths import paths
from twoloops.storage import write_json

MOST_WINDOWS = 1000
# What is known of a window: see assessment.py.
State = Literal["calm", "drift without loss", "loss without drift", "drift and loss", "cannot tell yet"]


class Stored(BaseModel):
    """A part of history.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PastWindow(Stored):
    """One judged window."""

    at: datetime
    model: str  # identity
    rows: int
    red: bool
    reasons: tuple[str, ...]
    # A window of before 0.3.0 says only that it is red: of drift, and whatever it did to the answers.
    state: State = "cannot tell yet"
    faulty: bool = False  # the data has a fault that no training mends
    feature_drift: float | None  # the largest population stability index; None: too few rows
    score_drift: float | None
    performance: float | None


class Retraining(Stored):
    """The last retraining that was started."""

    started_at: datetime
    reason: str
    # None: it is under way, or was interrupted. Failed: it ended before a verdict.
    outcome: Literal["challenger", "no challenger", "failed"] | None = None


class History(Stored):
    """The whole of history.json."""

    format_version: Literal[1] = 1
    consumed: tuple[str, ...] = ()  # capture files that are part of a window
    windows: tuple[PastWindow, ...] = ()
    retraining: Retraining | None = None

    def of_model(self, identity: str) -> tuple[PastWindow, ...]:
        """Return the windows of this model, oldest first: another model's say nothing about it."""
        return tuple(window for window in self.windows if window.model == identity)

    def cooling_until(self, params: MonitorParams, now: datetime) -> datetime | None:
        """Return until when no other retraining is to be started, or None.

        A clock that was set back, or forward for a while, must neither start a second retraining
        nor forbid one for ever: only the distance to the start counts.
        """
        if self.retraining is None or self.retraining.outcome == "failed":
            return None
        length = timedelta(hours=params.cool_down_hours)
        if abs(now - self.retraining.started_at) >= length:
            return None
        return self.retraining.started_at + length


def load() -> History:
    """Return what is remembered; nothing, before the first window.

    Raises:
        ProjectError: the file is damaged.
    """
    if not paths().history.exists():
        return History()
    try:
        return History.model_validate_json(paths().history.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise ProjectError(
            f"{paths().history} is damaged: {str(error).splitlines()[0]}",
            hint="Restore it from a copy. Or delete it: then the captures that are still on disk are read again, "
            "as one window, and earlier windows and retrainings are forgotten.",
        ) from error


def save(history: History) -> None:
    """Write history.json, atomically."""
    write_json(paths().history, history.model_dump(mode="json"))


def record(retraining: Retraining) -> None:
    """Remember a retraining as the last one; all else stays, also what another process has added meanwhile."""
    save(load().model_copy(update={"retraining": retraining}))


def with_window(history: History, window: PastWindow, files: list[str]) -> History:
    """Return the history with one window more; files that are gone from disk are forgotten."""
    consumed = [name for name in history.consumed if (paths().state / name).exists()]
    return history.model_copy(
        update={"consumed": (*consumed, *files), "windows": (*history.windows, window)[-MOST_WINDOWS:]}
    )
