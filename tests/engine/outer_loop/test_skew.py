"""Features that a client computes otherwise: captured rows beside the training table's of the same entity and time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from twoloops.contracts.watched import Watched
from twoloops.outer_loop.monitoring import skew
from twoloops.params import MonitorParams

WATCHED = (Watched("usage"), Watched("plan", ("a", "b")), Watched("age"))


def held(rows: int) -> NDArray[Any]:
    random = np.random.default_rng(1)
    values = np.column_stack([random.normal(size=rows), random.integers(1, 3, rows), random.normal(size=rows)])
    values[::10, 2] = np.nan
    return values.astype(np.float32)


def test_a_column_in_another_unit_is_named_and_the_others_are_not() -> None:
    table = held(100)
    asked = table * np.asarray([1024, 1, 1 + 1e-7], np.float32)
    found = skew.judge(asked, table, WATCHED, "rows.parquet", MonitorParams())
    assert [each.name for each in found.differing] == ["usage"]
    assert [each.share for each in found.columns] == [0.0, 1.0, 1.0]


def test_a_few_that_differ_are_no_reason_and_a_category_or_a_missing_value_that_differs_is_one() -> None:
    table = held(100)
    few = table.copy()
    few[:5, 0] += 1
    assert skew.judge(few, table, WATCHED, "", MonitorParams()).differing == []
    many = table.copy()
    many[:40, 1] = 3 - many[:40, 1]
    many[:40, 2] = np.nan
    assert {each.name for each in skew.judge(many, table, WATCHED, "", MonitorParams()).differing} == {"plan", "age"}
    # Of one row nobody can say that more than 5 % differ.
    assert skew.judge(many[:1], table[:1], WATCHED, "", MonitorParams()).differing == []
