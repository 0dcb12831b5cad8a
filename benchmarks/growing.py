"""A table grows into a new world: what the judged, the shipped (refitted) and the champion of before are worth there.

    uv run python -m benchmarks.growing --seeds 4

Log-loss on rows of the new world that nothing was fitted on, and the largest stability index of the features against
the reference: of the oldest three quarters (as it was), and of the newest rows. Means over seeds.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from commands.rendering import render

DAYS = 335  # of a simulated year that have their labels
ROWS = 8000  # a year


def main() -> None:
    """Simulate, fit, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--days", type=int, nargs="+", default=[60, 120, 240, 330], help="of the new world")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        render(Path(name) / "project", {})
        os.chdir(Path(name) / "project")
        sys.path.insert(0, "src")
        print("days of the new world | champion of before | judged | refitted | index, oldest rows | newest rows")
        for days in options.days:
            found = np.mean([one(seed, days) for seed in range(options.seeds)], axis=0)
            print(f"{days} | " + " | ".join(f"{value:.3f}" for value in found), flush=True)


def one(seed: int, days: int) -> list[float]:
    """Return the three log-losses and the two indices of one growing table."""
    import pandas as pd  # noqa: PLC0415
    from sklearn.metrics import log_loss  # noqa: PLC0415
    from twoloops import drift, params, reference  # noqa: PLC0415
    from twoloops.contracts.watched import Layout  # noqa: PLC0415
    from twoloops.inner_loop.train import fit  # noqa: PLC0415
    from twoloops.problem import module  # noqa: PLC0415
    from twoloops.problems import problem  # noqa: PLC0415

    checked, signature, simulate = params.load(), problem.signature(), module("sample").simulate

    def world(rows: int, drawn: int, moved: float, until: int) -> Any:
        frame = simulate(rows, drawn, moved)
        return frame[(frame["observed_at"] - frame["observed_at"].min()).dt.days < until].dropna(subset=["churned"])

    def scores(model: Any, frame: Any) -> Any:
        return problem.answer(model, problem.encode(frame, signature), signature)

    def index(known: Any) -> float:
        about = reference.describe(
            problem.watch(problem.encode(known, signature)), layout.watched, scores(refitted, known), layout.outputs
        )
        now = problem.watch(problem.encode(test, signature))
        report = drift.compare(now, scores(refitted, test), layout, about, checked.monitor)
        return max(each.psi for each in report.features)

    layout = Layout(problem.watched(signature), tuple(signature.outputs))
    old, new = world(ROWS, 100 + seed, 0, DAYS), world(ROWS, 200 + seed, 1, days)
    test = world(ROWS, 300 + seed, 1, DAYS)
    whole = pd.concat([old, new], ignore_index=True)
    first = int(len(whole) * 0.75)
    champion = fit(checked, old, signature)
    judged, refitted = fit(checked, whole[:first], signature), fit(checked, whole, signature)
    target = problem.target(test, signature)
    losses = [float(log_loss(target, scores(each, test)[:, 1])) for each in (champion, judged, refitted)]
    return [*losses, index(whole[:first]), index(whole[first:])]


if __name__ == "__main__":
    main()
