"""Does the untouched model pass its own parity check on real tables? `uv run python -m benchmarks.thresholds`.

A graph of ONNX keeps the thresholds of trees as float32. Rounded to the nearest, one in two lies above the value that
the estimator asked for, and rows between the two go the other way: on tables with rounded values a gate of parity
refuses a model that nobody has touched (https://github.com/onnx/sklearn-onnx/issues/1192). The engine takes the largest
float32 that is not above. Here both are counted, over 20 seeds of each table; nothing is timed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Final
from unittest import mock

import numpy as np
import onnxruntime
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from twoloops.problems.tabular import onnx_graph

TOLERANCE: Final = 1e-4  # of gate.parity_tolerance in a fresh project
SIZES: Final = (300, 2_000, 60_000)
Draw = Callable[[np.random.Generator, int], Any]
TABLES: Final[dict[str, Draw]] = {
    "rounded to 0.1": lambda random, rows: np.round(random.normal(50, 20, (rows, 4)), 1),
    "rounded to 0.01": lambda random, rows: np.round(random.lognormal(3, 1, (rows, 4)), 2),
    "cents": lambda random, rows: np.round(random.lognormal(11, 2, (rows, 4)), 2),
    # Between two neighbours of float32 a threshold has no place: rounded up, it is the upper one.
    "neighbours": lambda random, rows: 5592405.5 + 0.5 * random.integers(0, 40, (rows, 4)),
}


def pipeline(estimator: Any, categories: list[str], numbers: list[str]) -> Any:
    """Return the shipped model's pipeline around an estimator."""
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(make_column_transformer((encoder, categories), ("passthrough", numbers)), estimator)


def answers(estimator: Any, features: pd.DataFrame, **options: Any) -> Any:
    """Return what the graph of a fitted estimator answers to the features, shape [rows, outputs]."""
    content = onnx_graph.from_estimator(estimator, list(features), "features.matrix", options or None)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"features.matrix": features.to_numpy(np.float32)})[-1]


def draw(table: str, rows: int, seed: int) -> tuple[pd.DataFrame, Any]:
    """Return features, float32, and a score of them: shapes [rows, 5] and [rows]."""
    random = np.random.default_rng(seed)
    features = pd.DataFrame(TABLES[table](random, rows).astype(np.float32)).rename(columns=lambda place: f"x{place}")
    score = (features.rank() / rows).sum(axis="columns") + random.normal(0, 0.5, rows)
    features["category"] = random.integers(1, 4, rows).astype(np.float32)
    return features, score.to_numpy()


def largest_difference(table: str, rows: int, seed: int, *, exact: bool = True) -> float:
    """Return the largest difference between a model and its graph on the rows that it was fitted on.

    Args:
        table: of TABLES.
        rows: how many.
        seed: of the table and the model.
        exact: whether thresholds are made exact first, as the engine does.
    """
    features, score = draw(table, rows, seed)
    boosting = HistGradientBoostingClassifier(max_iter=30, early_stopping=False, random_state=seed)
    model = pipeline(boosting, ["category"], [name for name in features if name != "category"])
    model.fit(features, score > np.median(score))
    before = mock.patch.object(onnx_graph, "with_exact_thresholds", lambda estimator: estimator)
    with nullcontext() if exact else before:
        found = answers(model, features, zipmap=False)
    return float(np.abs(found - model.predict_proba(features)).max())


def main() -> None:
    """Print for each table and size how many of the seeds are refused, with the thresholds of before and of now."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rows", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--demand", action="store_true", help="exit with 1 if one is refused")
    arguments = parser.parse_args()
    print(f"Refused at a tolerance of {TOLERANCE:g}, of {arguments.seeds} seeds, and the largest difference:\n")
    print("| table | rows | rounded to the nearest | exact |\n| --- | ---: | ---: | ---: |")
    refused = 0
    for table in TABLES:
        for rows in arguments.rows:
            cells = []
            for exact in (False, True):
                found = [largest_difference(table, rows, seed, exact=exact) for seed in range(arguments.seeds)]
                number = sum(each >= TOLERANCE for each in found)
                cells.append(f"{number} ({max(found):.1e})")
            refused += number
            print(f"| {table} | {rows:,} | {cells[0]} | {cells[1]} |", flush=True)
    if refused and arguments.demand:
        sys.exit(1)


if __name__ == "__main__":
    main()
