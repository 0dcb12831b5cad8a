"""The model can learn, is shipped faithfully, and moves in the direction that experience expects."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from problem.example import example_rows

from visits import contract, params, task
from visits.artifact import Predictor, Signature
from visits.inner_loop.train import inputs
from visits.problem import data, model
from visits.problem.parameters import ModelParams


@pytest.fixture(scope="module")
def signature() -> Signature:
    return contract.signature(data.CONTRACT, data, task.NAME)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return example_rows().dropna(subset=[data.TARGET])


@pytest.fixture(scope="module")
def fitted(rows: pd.DataFrame, signature: Signature) -> Any:
    target = task.encode_target(rows[data.TARGET], signature.classes)
    return model.build(params.load().model, signature, seed=1).fit(inputs(rows, signature), target)


def test_it_overfits_a_small_batch(rows: pd.DataFrame, signature: Signature) -> None:
    batch = rows.drop_duplicates(signature.names).head(20)  # equal people do not go equally often
    target = task.encode_target(batch[data.TARGET], signature.classes)
    free = ModelParams(learning_rate=0.3, trees=100, leaves=31, minimum_leaf_rows=1, l2=0.0)
    estimator = model.build(free, signature, seed=1).fit(inputs(batch, signature), target)
    np.testing.assert_allclose(task.scores(estimator, inputs(batch, signature))[:, 0], target, atol=0.1)


def test_a_step_of_training_reduces_the_loss(rows: pd.DataFrame, signature: Signature) -> None:
    from sklearn.metrics import mean_squared_error

    target = task.encode_target(rows[data.TARGET], signature.classes)
    losses = []
    for trees in (1, 5, 25):
        candidate = params.load().model.model_copy(update={"trees": trees})
        estimator = model.build(candidate, signature, seed=1).fit(inputs(rows, signature), target)
        losses.append(mean_squared_error(target, task.scores(estimator, inputs(rows, signature))))
    assert losses == sorted(losses, reverse=True)


def test_the_shipped_model_answers_like_the_estimator(fitted: Any, rows: pd.DataFrame, signature: Signature) -> None:
    shipped = Predictor(model.export(fitted, signature), signature)
    np.testing.assert_allclose(shipped.scores(rows), task.scores(fitted, inputs(rows, signature)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("column", "seldom", "often"), [("disea", 0.0, 30.0), ("physlm", 0.0, 1.0), ("lncoins", 4.6, 0.0)]
)
def test_who_is_ill_or_pays_less_sees_a_doctor_more_often(
    fitted: Any, rows: pd.DataFrame, signature: Signature, column: str, seldom: float, often: float
) -> None:
    low = task.scores(fitted, inputs(rows.assign(**{column: seldom}), signature)).mean()
    high = task.scores(fitted, inputs(rows.assign(**{column: often}), signature)).mean()
    assert high > low


def test_every_draw_of_the_search_space_is_allowed() -> None:
    from optuna import create_study

    study = create_study()
    for _ in range(20):
        ModelParams.model_validate(model.search_space(study.ask()))
