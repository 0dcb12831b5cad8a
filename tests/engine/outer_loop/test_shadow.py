"""A new version answers what was captured before it answers a user."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from twoloops.contracts.release import UnfitError
from twoloops.outer_loop import shadow
from twoloops.problems.outputs import classes


def predictor(names: tuple[str, ...] = ("no", "yes"), threshold: float | None = 0.3) -> Any:
    """Return as much of a Predictor as is asked of it."""
    signature = SimpleNamespace(classes=names)
    decide = SimpleNamespace(predictions=lambda scores, _: classes.predictions(scores, names, threshold))
    return SimpleNamespace(signature=signature, problem=decide)


def scores(*positive: float) -> Any:
    share = np.asarray(positive)
    return np.column_stack([1 - share, share])


def test_what_differs_is_told_and_refuses_nothing() -> None:
    seen = shadow.compare(scores(0.1, 0.2, 0.4, 0.6), scores(0.1, 0.2, 0.2, 0.9), predictor(), predictor())
    assert (seen.rows, seen.otherwise) == (4, 0.25)
    assert seen.difference == pytest.approx((0.2 + 0.3) / 4)
    assert seen.describe() == (
        "4 captured rows answered, 25.0% of them decided otherwise; the scores differ by 0.125 on average "
        "(mean 0.325, now 0.35)"
    )


def test_each_version_decides_by_its_own_threshold() -> None:
    same = scores(0.1, 0.4, 0.6)
    seen = shadow.compare(same, same, predictor(), predictor(threshold=0.5))
    assert (seen.difference, seen.otherwise) == (0, pytest.approx(1 / 3))


def test_amounts_have_no_decisions() -> None:
    amounts = predictor(names=())
    seen = shadow.compare(np.array([[1.0], [3.0]]), np.array([[2.0], [5.0]]), amounts, amounts)
    assert (seen.otherwise, seen.difference, seen.now) == (None, 1.5, 3.5)
    assert "decided" not in seen.describe()


def test_no_answer_and_one_answer_to_all_are_refused() -> None:
    given = scores(0.1, 0.2, 0.4)
    with pytest.raises(UnfitError, match="1 get an answer that is no finite number"):
        shadow.compare(given, scores(0.1, np.nan, 0.3), predictor(), predictor())
    with pytest.raises(UnfitError, match="get one answer"):
        shadow.compare(given, scores(0.2, 0.2, 0.2), predictor(), predictor())
    # Where users got one answer too, the rows are alike.
    shadow.compare(scores(0.2, 0.2), scores(0.3, 0.3), predictor(), predictor())
    # Broken answers of the version in use are no reason against the new one.
    assert shadow.compare(scores(np.nan, 0.2, 0.3), given, predictor(), predictor()).rows == 2
