"""The money of the example of regression rewards the model that its question asks for."""

import numpy as np
import pytest
from twoloops.problem import metrics

from tests.engine.support.project import Project


@pytest.mark.parametrize("problem_type", ["regression"], indirect=True)
def test_the_mean_costs_least_where_the_sum_is_planned(bare_project: Project) -> None:
    # Gneiting, Making and Evaluating Point Forecasts (2011): a measure must ask for what the forecast is.
    target = np.random.default_rng(0).lognormal(3, 0.8, 20_000)
    constant = {"mean": target.mean(), "median": np.median(target), "quantile": np.quantile(target, 0.75)}
    costs = {
        name: metrics.planning_cost_per_subscriber(target, np.full((len(target), 1), value))
        for name, value in constant.items()
    }
    assert min(costs, key=lambda name: costs[name]) == "mean"
    assert costs["mean"] == pytest.approx(0, abs=1e-9)
    assert min(costs["median"], costs["quantile"]) > 0.5
