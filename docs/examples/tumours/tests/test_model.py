"""The model can learn, is shipped faithfully, and moves in the direction that experience expects."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from example import example_rows
from twoloops import Predictor, encode_features, encode_target, estimator_scores, load_params, project_signature

from tumours.problem import data, model
from tumours.problem.parameters import ModelParams


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return example_rows().dropna(subset=[data.TARGET])


@pytest.fixture(scope="module")
def fitted(rows: pd.DataFrame) -> Any:
    estimator = model.build(load_params().model, project_signature(), seed=1)
    return estimator.fit(encode_features(rows), encode_target(rows))


def test_it_fits_a_small_batch(rows: pd.DataFrame) -> None:
    batch = rows.groupby(data.TARGET).head(10)
    target = encode_target(batch)
    estimator = model.build(ModelParams(freedom=1e3), project_signature(), seed=1).fit(encode_features(batch), target)
    assert (estimator_scores(estimator, batch).argmax(axis=1) == target).all()


def test_the_shipped_model_answers_like_the_estimator(fitted: Any, rows: pd.DataFrame) -> None:
    shipped = Predictor(model.export(fitted, project_signature()), project_signature())
    np.testing.assert_allclose(shipped.scores(rows), estimator_scores(fitted, rows), atol=1e-5)


@pytest.mark.parametrize("column", ["worst_radius", "worst_texture", "worst_concave_points"])
def test_larger_and_rougher_cells_raise_the_probability(fitted: Any, rows: pd.DataFrame, column: str) -> None:
    low, high = rows[column].quantile([0.1, 0.9])
    calm = estimator_scores(fitted, rows.assign(**{column: low}))[:, 1].mean()
    worrying = estimator_scores(fitted, rows.assign(**{column: high}))[:, 1].mean()
    assert worrying > calm


def test_every_draw_of_the_search_space_is_allowed() -> None:
    from optuna import create_study

    study = create_study()
    for _ in range(20):
        ModelParams.model_validate(model.search_space(study.ask()))
