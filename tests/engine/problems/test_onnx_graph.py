"""A graph answers as the estimator that it came from, on tables as they are: rounded, large, and without categories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    BaggingRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from twoloops.problems.tabular import onnx_graph

from tests.support.twins import twins

TOLERANCE = 1e-4  # of gate.parity_tolerance in a fresh project
Draw = Callable[[np.random.Generator, int], Any]
TABLES: dict[str, Draw] = {
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


def largest_difference(table: str, rows: int, seed: int) -> float:
    features, score = draw(table, rows, seed)
    boosting = HistGradientBoostingClassifier(max_iter=30, early_stopping=False, random_state=seed)
    model = pipeline(boosting, ["category"], [name for name in features if name != "category"])
    model.fit(features, score > np.median(score))
    return float(np.abs(answers(model, features, zipmap=False) - model.predict_proba(features)).max())


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("seed", range(3))
def test_the_shipped_model_has_parity_on_rounded_values(table: str, seed: int) -> None:
    assert largest_difference(table, 300, seed) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("rows", [300, 2_000, *twins([60_000])])
def test_no_table_of_many_is_refused(table: str, rows: int) -> None:
    refused = [seed for seed in range(20) if largest_difference(table, rows, seed) >= TOLERANCE]
    assert refused == []


@pytest.mark.parametrize(
    "estimator",
    [
        HistGradientBoostingRegressor(max_iter=20),
        RandomForestRegressor(10),
        GradientBoostingRegressor(n_estimators=20),
        BaggingRegressor(n_estimators=5),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_every_kind_of_trees_has_parity_between_neighbours_of_float32(estimator: Any) -> None:
    features, score = draw("neighbours", 400, 0)
    numbers = features.drop(columns="category")
    model = pipeline(estimator, [], list(numbers)).fit(numbers, score)
    before = model.predict(numbers)
    np.testing.assert_allclose(answers(model, numbers).ravel(), before, atol=1e-4)
    np.testing.assert_array_equal(model.predict(numbers), before, err_msg="the estimator itself was changed")


def test_a_table_without_categories_is_converted() -> None:
    features = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 500)).astype(np.float32))
    features.columns = [f"x{place}" for place in features]
    model = pipeline(HistGradientBoostingClassifier(max_iter=10), [], list(features))
    model.fit(features, features["x0"] > 0)
    np.testing.assert_allclose(answers(model, features, zipmap=False), model.predict_proba(features), atol=1e-5)


def test_the_largest_float32_is_never_above() -> None:
    values = np.random.default_rng(0).normal(size=10_000) * 10.0 ** np.random.default_rng(1).integers(-30, 30, 10_000)
    values = np.concatenate([values, [0.0, -0.0, np.inf, -np.inf, 1e300, 2**24 + 1.5]])
    rounded = onnx_graph.largest_float32_not_above(values)
    assert (rounded <= values).all()
    with np.errstate(over="ignore"):
        assert (np.nextafter(rounded.astype(np.float32), np.float32(np.inf)).astype(float) > values)[
            np.isfinite(values)
        ].all()
    np.testing.assert_array_equal(rounded, rounded.astype(np.float32))
