"""What a metric of classes would be without labels: right where probabilities are, blind where they are not."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from twoloops.inner_loop.label_free import estimate
from twoloops.inner_loop.measure import Metric
from twoloops.problems.outputs.classes import area_under_roc

AUC = Metric("roc_auc", lambda target, scores: area_under_roc(target == 1, scores[:, 1]), "higher")
HITS = Metric("accuracy", lambda target, scores: float((scores.argmax(axis=1) == target).mean()), "higher")


def of(probability: NDArray[Any]) -> NDArray[Any]:
    return np.column_stack([1 - probability, probability])


def test_it_follows_who_is_asked_and_not_what_inputs_mean() -> None:
    random = np.random.default_rng(1)
    for mean, spread in ((0, 1), (1, 1), (0, 2)):
        probability = 1 / (1 + np.exp(-(mean + spread * random.normal(size=20_000))))
        happened = random.random(20_000) < probability
        found = estimate(AUC, of(probability), 1)
        assert found is not None
        assert found.value == pytest.approx(area_under_roc(happened, probability), abs=0.015)
        assert found.low < found.value < found.high
        # The same inputs mean nothing any more: the truth is 0.5, and the estimate stays.
        assert found.value - area_under_roc(random.permutation(happened), probability) > 0.15


def test_three_classes_and_rows_without_a_number() -> None:
    scores = np.tile([[0.7, 0.2, 0.1]], (3000, 1))
    scores[0] = np.nan
    found = estimate(HITS, scores, 1)
    assert found is not None
    assert (found.rows, found.value) == (2999, pytest.approx(0.7, abs=0.005))


def test_nothing_is_said_where_the_metric_is_not_defined() -> None:
    assert estimate(AUC, of(np.zeros(100)), 1) is None
    assert estimate(AUC, of(np.full(3, np.nan)), 1) is None
