"""What each column of a table brings: several shuffles, and columns that stand in for one another."""

from typing import Any

import numpy as np
import pytest
from twoloops.inner_loop.measure import Metric
from twoloops.problems.tabular.judging import FeatureReport, correlated, report_features
from twoloops.problems.tabular.signature import Feature, Signature

NAMES = ["strong", "copy", "other copy", "nothing"]
SIGNATURE = Signature(
    task="any",
    features=tuple(Feature(name=name, kind="number", nullable=True) for name in NAMES),
    entity="id",
    event_time=None,
    target="y",
)
ERROR = Metric("error", lambda target, scores: float(np.mean((target - scores[:, 0]) ** 2)), "lower")


class Linear:
    """A model that weighs each column."""

    def score_inputs(self, matrix: Any) -> Any:
        return np.nan_to_num(matrix) @ np.array([[1.0], [0.03], [0.03], [0.0]])


@pytest.fixture
def reports() -> dict[str, FeatureReport]:
    random = np.random.default_rng(4)
    strong, shared = random.normal(size=(2, 2000))
    noise = random.normal(size=(2000, 3))
    matrix = np.column_stack([strong, shared + 0.2 * noise[:, 0], shared + 0.2 * noise[:, 1], noise[:, 2]])
    target = strong + 0.06 * shared + 0.1 * random.normal(size=2000)
    costs = dict.fromkeys(NAMES, (8.0, 0.1))
    model: Any = Linear()
    return {each.name: each for each in report_features(model, matrix, target, ERROR, SIGNATURE, costs, seed=7)}


def test_an_importance_has_its_spread(reports: dict[str, FeatureReport]) -> None:
    assert reports["strong"].importance > 1 > reports["strong"].spread > 0
    assert not reports["strong"].useless
    assert (reports["nothing"].importance, reports["nothing"].useless) == (0, True)


def test_near_copies_are_shuffled_together(reports: dict[str, FeatureReport]) -> None:
    copy = reports["copy"]
    assert copy.alike == ["other copy"]
    assert copy.joint_importance > 1.5 * copy.importance
    assert reports["strong"].alike == []
    assert reports["strong"].joint_importance == reports["strong"].importance


def test_columns_are_grouped_whatever_is_missing_or_constant() -> None:
    rising = np.arange(100.0)
    holes = np.where(rising % 9 == 0, np.nan, -(rising**3))
    matrix = np.column_stack([rising, holes, np.ones(100), np.random.default_rng(0).random(100)]).astype(np.float32)
    assert correlated(matrix) == [[0, 1], [2], [3]]
    assert correlated(matrix[:, :1]) == [[0]]
