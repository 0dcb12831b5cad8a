"""Each metric, computed by hand on four tumours and by scikit-learn on many."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from tumours.problem import data, metrics

TARGET = np.array([0, 0, 1, 1])
MALIGNANT = np.array([0.1, 0.6, 0.4, 0.9])
SCORES = np.column_stack([1 - MALIGNANT, MALIGNANT])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (metrics.roc_auc, 3 / 4),
        (metrics.average_precision, 0.5 * 1 + 0.5 * 2 / 3),
        (metrics.log_loss, -np.log([0.9, 0.4, 0.4, 0.9]).mean()),
        (metrics.brier_score, np.mean([0.01, 0.36, 0.36, 0.01])),
        # A biopsy of all four, since each probability is above 1/20: two of them are needless.
        (metrics.harm_per_tumour, 2 / 4),
    ],
)
def test_by_hand(metric: metrics.Metric, expected: float) -> None:
    assert metric(TARGET, SCORES) == pytest.approx(expected)  # type: ignore[operator]


def test_as_scikit_learn_does() -> None:
    random = np.random.default_rng(0)
    target = random.integers(0, 2, 500)
    malignant = random.random(500).round(2)  # with ties
    scores = np.column_stack([1 - malignant, malignant])
    assert metrics.roc_auc(target, scores) == pytest.approx(sklearn_metrics.roc_auc_score(target, malignant))
    assert metrics.brier_score(target, scores) == pytest.approx(sklearn_metrics.brier_score_loss(target, malignant))
    assert metrics.log_loss(target, scores) == pytest.approx(sklearn_metrics.log_loss(target, scores))


def test_one_class_alone_has_no_roc() -> None:
    with pytest.raises(ValueError, match="both classes"):
        metrics.roc_auc(np.zeros(4, dtype=np.int64), SCORES)


def test_slices_and_groups_are_columns_of_the_contract() -> None:
    assert set(metrics.SLICES) | set(metrics.GROUPS) <= set(data.CONTRACT.columns)


def test_metrics_have_different_names() -> None:
    names = [metric.name for metric in metrics.METRICS]
    assert len(names) == len(set(names))
