"""The model can learn, is shipped faithfully, and moves in the direction that experience expects."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from problem.example import example_rows

from tumours import contract, params, task
from tumours.artifact import Predictor, Signature
from tumours.inner_loop.train import inputs
from tumours.problem import data, model
from tumours.problem.parameters import ModelParams


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


def test_it_fits_a_small_batch(rows: pd.DataFrame, signature: Signature) -> None:
    batch = rows.groupby(data.TARGET).head(10)
    target = task.encode_target(batch[data.TARGET], signature.classes)
    estimator = model.build(ModelParams(freedom=1e3), signature, seed=1).fit(inputs(batch, signature), target)
    assert (task.scores(estimator, inputs(batch, signature)).argmax(axis=1) == target).all()


def test_the_shipped_model_answers_like_the_estimator(fitted: Any, rows: pd.DataFrame, signature: Signature) -> None:
    shipped = Predictor(model.export(fitted, signature), signature)
    np.testing.assert_allclose(shipped.scores(rows), task.scores(fitted, inputs(rows, signature)), atol=1e-5)


@pytest.mark.parametrize("column", ["worst_radius", "worst_texture", "worst_concave_points"])
def test_larger_and_rougher_cells_raise_the_probability(
    fitted: Any, rows: pd.DataFrame, signature: Signature, column: str
) -> None:
    low, high = rows[column].quantile([0.1, 0.9])
    calm = task.scores(fitted, inputs(rows.assign(**{column: low}), signature))[:, 1].mean()
    worrying = task.scores(fitted, inputs(rows.assign(**{column: high}), signature))[:, 1].mean()
    assert worrying > calm


def test_every_draw_of_the_search_space_is_allowed() -> None:
    from optuna import create_study

    study = create_study()
    for _ in range(20):
        ModelParams.model_validate(model.search_space(study.ask()))
