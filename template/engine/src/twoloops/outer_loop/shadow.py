"""A new version answers what users have asked the one in use, before it answers any user: a shadow without traffic.

The rows are those of the captures on this machine. What the answers are worth nobody can tell without labels; what can
be told is whether there are answers at all, and how far they are from those of the version in use.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twoloops.artifact import Predictor, Scores
from twoloops.contracts.release import UnfitError
from twoloops.outer_loop.monitoring import captures

MOST_ROWS = 10_000  # the newest
VARIES = 1e-9  # a spread of the scores below which all rows get one answer


@dataclass(frozen=True)
class Shadow:
    """What a new version answers to captured rows, beside the answers that users got."""

    rows: int
    difference: float  # the mean distance of the first score
    before: float  # the mean of the last score, as users got it
    now: float
    otherwise: float | None  # share of the rows that another class is predicted for; None: there are no classes

    def describe(self) -> str:
        """Say it in one line."""
        other = "" if self.otherwise is None else f", {self.otherwise:.1%} of them decided otherwise"
        return (
            f"{self.rows:,} captured rows answered{other}; the scores differ by {self.difference:.3g} on average "
            f"(mean {self.before:.4g}, now {self.now:.4g})"
        )


def answer_captured(paths: list[Path], before: Predictor, candidate: Predictor) -> Shadow | None:
    """Let a version score the newest rows that the one in use was asked.

    Args:
        paths: capture files, oldest first.
        before: the version in use.
        candidate: a version that reads the same inputs.

    Returns:
        What was seen; None where no rows are captured here, or captures do not hold the inputs.

    Raises:
        UnfitError: it fails on the rows, has no finite answer to one, or the same one to all while users got different
            ones.
    """
    values, given = captures.newest(paths, before, MOST_ROWS)
    inputs = candidate.problem.restore(values) if len(values) else None
    if inputs is None:
        return None
    try:
        scores = candidate.score_inputs(inputs)
    except Exception as error:
        # A version is its owner's code, which may raise anything. The text may hold a user's values: the trial's note
        # and the flow's log do without.
        raise UnfitError(
            f"Of {len(given):,} rows that users have asked, one or more end in {type(error).__name__}.",
            hint="'--debug deploy' shows where. Find the row in data/captures, and test problem/ with one like it.",
        ) from error
    return compare(given, scores, before, candidate)


def compare(given: Scores, scores: Scores, before: Predictor, candidate: Predictor) -> Shadow:
    """Compare the scores that users got with a new version's, both of shape [rows, outputs].

    Raises:
        UnfitError: as in `answer_captured`.
    """
    broken = int((~np.isfinite(scores)).any(axis=1).sum())
    if broken:
        raise UnfitError(
            f"Of {len(scores):,} rows that users have asked, {broken:,} get an answer that is no finite number.",
            hint="The holdout has no such rows. Find them in data/captures, and add one to the tests of problem/.",
        )
    whole = np.isfinite(given).all(axis=1)
    given, scores = given[whole], scores[whole]
    if len(given) > 1 and np.ptp(given, axis=0).max() > VARIES and np.ptp(scores, axis=0).max() <= VARIES:
        raise UnfitError(
            f"All of {len(given):,} rows that users have asked get one answer; the version in use tells them apart.",
            hint="It ignores its inputs, or they come in another form than in training. 'explain' follows one row.",
        )
    otherwise = None
    if candidate.signature.classes:
        decided = [
            each.problem.predictions(found, each.signature)["prediction"]
            for each, found in ((before, given), (candidate, scores))
        ]
        otherwise = float(np.mean(decided[0] != decided[1])) if len(given) else 0.0
    difference = float(np.abs(given - scores).mean()) if len(given) else 0.0
    means = [float(found[:, -1].mean()) if len(found) else 0.0 for found in (given, scores)]
    return Shadow(len(given), difference, means[0], means[1], otherwise)
