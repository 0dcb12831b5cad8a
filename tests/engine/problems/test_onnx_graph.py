"""A graph answers as the estimator that it came from, on tables as they are: rounded, large, and without categories.

`benchmarks/thresholds.py` has the whole grid of tables, sizes and seeds; here is a small part of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    BaggingRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from twoloops.problems.tabular import onnx_graph

from benchmarks.thresholds import TABLES, TOLERANCE, answers, draw, largest_difference, pipeline


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("seed", range(3))
def test_the_shipped_model_has_parity_on_rounded_values(table: str, seed: int) -> None:
    assert largest_difference(table, 300, seed) < TOLERANCE


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
