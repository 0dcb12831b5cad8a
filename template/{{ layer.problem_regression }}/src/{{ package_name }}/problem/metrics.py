"""What "good" means: metrics with their direction, slices, groups, baseline and business value.

Every metric is a function of the target (amounts in EUR, shape [rows]) and the scores (predicted
amounts, shape [rows, 1]). scikit-learn is imported inside, to keep the command quick.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from twoloops import Metric, Signature

Target = NDArray[np.float64]
Scores = NDArray[np.float64]

# What each EUR of a wrong forecast costs: capacity that must be bought in a hurry is dearer than
# capacity that stands idle.
UNDER_FORECAST_COST = 0.3
OVER_FORECAST_COST = 0.1

SLICES = ["plan", "region", "channel"]  # quality must hold on each of their values
GROUPS = ["age_group"]  # groups of people who must be treated alike


def mean_absolute_error(target: Target, scores: Scores) -> float:
    """Mean distance of forecast and spend, in EUR."""
    return float(np.mean(np.abs(target - scores[:, 0])))


def root_mean_squared_error(target: Target, scores: Scores) -> float:
    """Root of the mean squared distance of forecast and spend, in EUR: large errors weigh more."""
    return float(np.sqrt(np.mean((target - scores[:, 0]) ** 2)))


def r2(target: Target, scores: Scores) -> float:
    """Share of the target's variance that the model explains.

    Raises:
        ValueError: all rows have the same target.
    """
    total = np.sum((target - target.mean()) ** 2)
    if total == 0:
        raise ValueError("R2 is defined only where the target varies.")
    return float(1 - np.sum((target - scores[:, 0]) ** 2) / total)


def planning_cost_per_subscriber(target: Target, scores: Scores) -> float:
    """Return EUR lost per subscriber because capacity for all was planned by the sum of their forecasts."""
    missing = float(np.mean(target - scores[:, 0]))  # per subscriber; errors of single ones cancel in the sum
    return UNDER_FORECAST_COST * missing if missing > 0 else -OVER_FORECAST_COST * missing


METRICS = [
    Metric("mean_absolute_error", mean_absolute_error, "lower", unit="EUR"),
    Metric("root_mean_squared_error", root_mean_squared_error, "lower", unit="EUR"),
    Metric("r2", r2, "higher"),
    Metric("planning_cost_per_subscriber", planning_cost_per_subscriber, "lower", unit="EUR"),
]


def relative_error(target: Target, scores: Scores) -> float:
    """Mean absolute error as a share of the mean spend, so that groups that spend little count alike."""
    return mean_absolute_error(target, scores) / float(target.mean()) if target.any() else float("nan")


def forecast_ratio(target: Target, scores: Scores) -> float:
    """Mean forecast as a share of the mean spend: 1 where a group is neither over- nor underrated."""
    return float(scores[:, 0].mean() / target.mean()) if target.any() else float("nan")


FAIRNESS = [
    Metric("relative_error", relative_error, "lower"),
    Metric("forecast_ratio", forecast_ratio, "higher"),
]


def baseline(signature: Signature) -> Any:
    """Return the simple model that must be beaten: a ridge regression."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    features = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), signature.categorical),
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), signature.numeric),
    )
    return make_pipeline(features, Ridge())
