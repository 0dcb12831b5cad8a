"""Leaks that `prepare` refuses: how often an honest table is refused, how often a leak passes, and the time it takes.

    uv run python -m benchmarks.leaks --tables 200

Honest: ten features without effect, five with one (among them a category, and one that is missing more often where it
happened). Leaks: a value that is missing unless it happened, a category in the middle of its list, an amount that
tells on both sides, each also with a share of wrong rows. Per table; several rates of the rarer class.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from commands.rendering import render

CASES = ("honest", "missing unless", "category", "two sides", "two sides, 0.1 % wrong", "two sides, 2 % wrong")


def main() -> None:
    """Simulate, examine, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=200, help="of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        render(Path(name) / "project", {})
        os.chdir(Path(name) / "project")
        sys.path.insert(0, "src")
        print(f"refused, of {options.tables} tables | " + " | ".join(CASES))
        for rows, rate in ((500, 0.2), (2_000, 0.05), (2_000, 0.01), (8_000, 0.2)):
            found = [sum(_refused(rows, rate, case, seed) for seed in range(options.tables)) for case in CASES]
            print(f"{rows:,} rows, {rate:.0%} | " + " | ".join(map(str, found)), flush=True)
        for rows in (10_000, 200_000):
            began = time.perf_counter()
            _refused(rows, 0.05, "honest", 0, features=100)
            print(f"100 features, {rows:,} rows: {time.perf_counter() - began:.1f} s", flush=True)


def _refused(rows: int, rate: float, case: str, seed: int, features: int = 10) -> bool:
    """Say whether a simulated table is refused."""
    import pandas as pd  # noqa: PLC0415
    from twoloops import params  # noqa: PLC0415
    from twoloops.errors import ProjectError  # noqa: PLC0415
    from twoloops.problem import data  # noqa: PLC0415
    from twoloops.problems.tabular import examining  # noqa: PLC0415
    from twoloops.problems.tabular.signature import Feature, Signature  # noqa: PLC0415

    random = np.random.default_rng([seed, rows, int(rate * 1000)])
    known = random.normal(size=rows)
    happened = random.permutation(rows) < rate * rows
    known += 1.5 * happened  # an honest feature with an area of 0.86
    columns: dict[str, Any] = {f"noise {place}": random.normal(size=rows) for place in range(features)}
    columns |= {"known": known, "turned": np.abs(known - 1), "rounded": known.round()}
    columns["holes"] = np.where(random.uniform(size=rows) < 0.2 + 0.5 * happened, np.nan, known)
    columns["plan"] = random.choice(["a", "b", "c"], rows, p=[0.5, 0.3, 0.2])
    listed: dict[str, tuple[str, ...]] = {"plan": ("a", "b", "c")}
    wrong = {"two sides, 0.1 % wrong": 0.001, "two sides, 2 % wrong": 0.02}.get(case, 0.0)
    written = happened ^ (random.uniform(size=rows) < wrong)
    if case == "missing unless":
        columns["leak"] = np.where(written, random.uniform(size=rows), np.nan)
    elif case == "category":
        columns["leak"] = np.where(written, "m", random.choice(["a", "z", "b", "y"], rows))
        listed["leak"] = ("a", "b", "m", "y", "z")
    elif case != "honest":
        side = random.choice([-1, 1], rows)
        columns["leak"] = np.where(written, side * random.uniform(50, 90, rows), random.normal(0, 10, rows))
    frame = pd.DataFrame({data.ENTITY: np.arange(rows).astype(str), data.TARGET: happened.astype(int), **columns})
    signature = Signature(
        task="classification",
        features=tuple(
            Feature(
                name=name,
                kind="category" if name in listed else "number",
                nullable=True,
                categories=listed.get(name, ()),
            )
            for name in columns
        ),
        entity=data.ENTITY,
        event_time=None,
        target=data.TARGET,
        classes=(0, 1),
    )
    try:
        examining.refuse_leaks(frame, signature, params.load().data, seed)
    except ProjectError:
        return True
    return False


if __name__ == "__main__":
    main()
