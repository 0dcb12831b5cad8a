"""What "good" means: metrics with their direction, slices, groups, baseline and business value.

Every metric is a function of the target (class places, shape [rows]) and the scores
(probabilities, shape [rows, classes]). scikit-learn is imported inside, to keep the command quick.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from twoloops import Metric, Signature, area_under_roc

Target = NDArray[np.int64]
Scores = NDArray[np.float64]

# What an offer costs, what a kept subscriber is worth, and how often an offer keeps one.
OFFER_COST_EUR = 5.0
KEPT_VALUE_EUR = 120.0
OFFER_SUCCESS = 0.3
# Who is likelier to leave than this is predicted to, and gets an offer: it is worth its cost.
DECISION_THRESHOLD = OFFER_COST_EUR / (OFFER_SUCCESS * KEPT_VALUE_EUR)

SLICES = ["plan", "region", "channel"]  # quality must hold on each of their values
GROUPS = ["age_group"]  # groups of people who must be treated alike


def roc_auc(target: Target, scores: Scores) -> float:
    """Area under the ROC curve."""
    return area_under_roc(target == 1, scores[:, 1])


def average_precision(target: Target, scores: Scores) -> float:
    """Area under the precision-recall curve, by steps."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(target, scores[:, 1]))


def log_loss(target: Target, scores: Scores) -> float:
    """Mean negative log-likelihood, in nats."""
    likelihood = scores[np.arange(len(target)), target].clip(np.finfo(float).eps)
    return float(-np.log(likelihood).mean())


def brier_score(target: Target, scores: Scores) -> float:
    """Mean squared difference of probability and outcome."""
    return float(np.mean((scores[:, 1] - target) ** 2))


def value_per_subscriber(target: Target, scores: Scores) -> float:
    """Return EUR gained per subscriber when all who look worth an offer get one."""
    gain = np.where(target == 1, OFFER_SUCCESS * KEPT_VALUE_EUR, 0.0) - OFFER_COST_EUR
    return float(np.mean(np.where(scores[:, 1] > DECISION_THRESHOLD, gain, 0.0)))


METRICS = [
    Metric("roc_auc", roc_auc, "higher"),
    Metric("average_precision", average_precision, "higher"),
    Metric("log_loss", log_loss, "lower"),
    Metric("brier_score", brier_score, "lower"),
    Metric("value_per_subscriber", value_per_subscriber, "higher", unit="EUR"),
]


def selection_rate(target: Target, scores: Scores) -> float:
    """Share of subscribers who get an offer."""
    return float(np.mean(scores[:, 1] > DECISION_THRESHOLD))


def true_positive_rate(target: Target, scores: Scores) -> float:
    """Share of the leaving subscribers who get an offer (equal opportunity; Hardt et al., 2016)."""
    leaving = target == 1
    return float(np.mean(scores[leaving, 1] > DECISION_THRESHOLD)) if leaving.any() else float("nan")


FAIRNESS = [
    Metric("selection_rate", selection_rate, "higher"),
    Metric("true_positive_rate", true_positive_rate, "higher"),
]


def baseline(signature: Signature) -> Any:
    """Return the simple model that must be beaten: a logistic regression."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    features = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), signature.categorical),
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), signature.numeric),
    )
    return make_pipeline(features, LogisticRegression(max_iter=1000))
