"""The model can learn, is shipped faithfully, and moves in the direction that experience expects."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from example import example_rows
from twoloops import Predictor, encode_features, encode_target, estimator_scores, load_params, project_signature

from visits.problem import data, model
from visits.problem.parameters import ModelParams


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return example_rows().dropna(subset=[data.TARGET])


@pytest.fixture(scope="module")
def fitted(rows: pd.DataFrame) -> Any:
    estimator = model.build(load_params().model, project_signature(), seed=1)
    return estimator.fit(encode_features(rows), encode_target(rows))


def test_it_overfits_a_small_batch(rows: pd.DataFrame) -> None:
    batch = rows.drop_duplicates(signature.names).head(20)  # equal people do not go equally often
    target = encode_target(batch)
    free = ModelParams(learning_rate=0.3, trees=100, leaves=31, minimum_leaf_rows=1, l2=0.0)
    estimator = model.build(free, project_signature(), seed=1).fit(encode_features(batch), target)
    np.testing.assert_allclose(estimator_scores(estimator, batch)[:, 0], target, atol=0.1)


def test_a_step_of_training_reduces_the_loss(rows: pd.DataFrame) -> None:
    from sklearn.metrics import mean_squared_error

    target = encode_target(rows)
    losses = []
    for trees in (1, 5, 25):
        candidate = load_params().model.model_copy(update={"trees": trees})
        estimator = model.build(candidate, project_signature(), seed=1).fit(encode_features(rows), target)
        losses.append(mean_squared_error(target, estimator_scores(estimator, rows)))
    assert losses == sorted(losses, reverse=True)


def test_the_shipped_model_answers_like_the_estimator(fitted: Any, rows: pd.DataFrame) -> None:
    shipped = Predictor(model.export(fitted, project_signature()), project_signature())
    np.testing.assert_allclose(shipped.scores(rows), estimator_scores(fitted, rows), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("column", "seldom", "often"), [("disea", 0.0, 30.0), ("physlm", 0.0, 1.0), ("lncoins", 4.6, 0.0)]
)
def test_who_is_ill_or_pays_less_sees_a_doctor_more_often(
    fitted: Any, rows: pd.DataFrame, column: str, seldom: float, often: float
) -> None:
    low = estimator_scores(fitted, rows.assign(**{column: seldom})).mean()
    high = estimator_scores(fitted, rows.assign(**{column: often})).mean()
    assert high > low


def test_every_draw_of_the_search_space_is_allowed() -> None:
    from optuna import create_study

    study = create_study()
    for _ in range(20):
        ModelParams.model_validate(model.search_space(study.ask()))
