"""Each metric, computed by hand on four rows and by scikit-learn on many."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from visits.problem import data, metrics

TARGET = np.array([0.0, 1.0, 2.0, 5.0])
SCORES = np.array([[1.0], [1.0], [2.0], [4.0]])
# Half of the deviance, by hand, of these forecasts and of the mean, which is 2.
OF_FORECASTS = 1 + 0 + 0 + (5 * np.log(5 / 4) - 1)
OF_THE_MEAN = 2 + (np.log(1 / 2) + 1) + 0 + (5 * np.log(5 / 2) - 3)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (metrics.deviance_explained, 1 - OF_FORECASTS / OF_THE_MEAN),
        (metrics.mean_absolute_error, (1 + 0 + 0 + 1) / 4),
        (metrics.root_mean_squared_error, np.sqrt((1 + 0 + 0 + 1) / 4)),
        (metrics.forecast_ratio, 8 / 8),
    ],
)
def test_by_hand(metric: metrics.Metric, expected: float) -> None:
    assert metric(TARGET, SCORES) == pytest.approx(expected)  # type: ignore[operator]


def test_as_scikit_learn_does() -> None:
    random = np.random.default_rng(0)
    target = random.poisson(random.gamma(1, 3, 500)).astype(float)
    forecast = random.gamma(1, 3, 500) + 0.1
    scores = forecast[:, np.newaxis]
    assert metrics.deviance_explained(target, scores) == pytest.approx(
        sklearn_metrics.d2_tweedie_score(target, forecast, power=1)
    )
    assert metrics.mean_absolute_error(target, scores) == pytest.approx(
        sklearn_metrics.mean_absolute_error(target, forecast)
    )
    assert metrics.root_mean_squared_error(target, scores) == pytest.approx(
        sklearn_metrics.root_mean_squared_error(target, forecast)
    )


def test_the_mean_explains_nothing_and_a_forecast_below_zero_has_a_value() -> None:
    assert metrics.deviance_explained(TARGET, np.full((4, 1), 2.0)) == pytest.approx(0)
    assert np.isfinite(metrics.deviance_explained(TARGET, -SCORES))


def test_without_visits_some_metrics_are_not_defined() -> None:
    with pytest.raises(ValueError, match="target varies"):
        metrics.deviance_explained(np.zeros(4), SCORES)
    assert np.isnan(metrics.forecast_ratio(np.zeros(4), SCORES))


def test_slices_and_groups_are_columns_of_the_contract() -> None:
    assert set(metrics.SLICES) | set(metrics.GROUPS) <= set(data.CONTRACT.columns)


def test_metrics_have_different_names() -> None:
    names = [metric.name for metric in metrics.METRICS]
    assert len(names) == len(set(names))
