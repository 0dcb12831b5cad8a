"""Where a model comes from: commit, data, parameters, libraries."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

from twoloops import git
from twoloops.contracts.split import Frozen
from twoloops.params import Params, as_flat

# The libraries that shape the numbers.
LIBRARIES = ("numpy", "pandas", "scikit-learn", "skl2onnx", "onnx", "onnxruntime")

FILE = "lineage.json"  # of an artifact

# A container has no history: who starts it says here which commit its code is.
CODE_VERSION = "CODE_VERSION"


def code_version() -> str:
    """Return the commit, with `-modified` when the code differs from it, or `uncommitted`."""
    if CODE_VERSION in os.environ:
        return os.environ[CODE_VERSION]
    commit = git.ask("rev-parse", "HEAD")
    if not commit:
        return "uncommitted"
    return commit + ("-modified" if git.ask("status", "--porcelain", "--", "src", "pyproject.toml") else "")


def record(
    params: Params, train_version: str, train_rows: int, holdout_version: str, until: str | None, frozen: Frozen
) -> dict[str, object]:
    """Return the lineage of a model as the artifact keeps it: plain values, no clock.

    Args:
        params: with which it was fitted.
        train_version: of the rows that it was fitted on.
        train_rows: how many.
        holdout_version: of the rows that its verdict is about.
        until: the newest event time of the rows that it was fitted on, ISO 8601, UTC; None where rows have no time.
        frozen: the identity of that holdout.
    """
    return {
        "code_version": code_version(),
        "train_version": train_version,
        "holdout_version": holdout_version,
        "train_rows": train_rows,
        # What a later verdict must know: a model is never judged on rows that it was fitted on.
        "until": until,
        "split": {"rule": frozen.split, "share": frozen.share, "group": frozen.group, "salt": frozen.salt},
        "params": as_flat(params),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def commits(path: str) -> int:
    """Return how many commits have changed what a pattern of paths matches; 0 without a history."""
    return len((git.ask("log", "--no-show-signature", "--format=%h", "--", path) or "").split())
