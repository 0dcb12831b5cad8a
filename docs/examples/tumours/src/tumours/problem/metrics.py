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

# A malignant tumour that is missed weighs as much as this many needless biopsies.
MISSED_WEIGHT = 20.0

SLICES: list[str] = []  # no categories to look at one by one
GROUPS: list[str] = []  # the table says nothing about the people


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


def harm_per_tumour(target: Target, scores: Scores) -> float:
    """Return the harm per tumour, in needless biopsies, when a biopsy is made wherever it is worth one."""
    biopsy = scores[:, 1] * MISSED_WEIGHT > 1
    return float(np.mean(np.where(biopsy, target == 0, MISSED_WEIGHT * (target == 1))))


METRICS = [
    Metric("roc_auc", roc_auc, "higher"),
    Metric("average_precision", average_precision, "higher"),
    Metric("log_loss", log_loss, "lower"),
    Metric("brier_score", brier_score, "lower"),
    Metric("harm_per_tumour", harm_per_tumour, "lower", unit="biopsies"),
]

FAIRNESS: list[Metric] = []


def baseline(signature: Signature) -> Any:
    """Return the simple model that must be beaten: two yes-or-no questions in a row."""
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=2, random_state=0)
