"""All columns together: what no single one shows is found, what the calendar and one user's rows bring is not."""

from typing import Any

import numpy as np
import pytest
from twoloops import drift, reference
from twoloops.contracts.watched import Layout, Watched
from twoloops.outer_loop.monitoring import joint
from twoloops.outer_loop.monitoring.joint import Joint
from twoloops.outer_loop.monitoring.training import Side
from twoloops.params import MonitorParams

COLUMNS = 4
LIMITS = MonitorParams()
WATCHED = tuple(Watched(f"f{place}") for place in range(COLUMNS))
MONDAY, DAY = np.datetime64("2026-01-05", "us"), np.timedelta64(86_400_000_000, "us")


def rows(number: int, seed: int, correlation: float = 0.0) -> Side:
    random = np.random.default_rng(seed)
    values = random.normal(size=(number, COLUMNS)).astype(np.float32)
    values[:, 1] = correlation * values[:, 0] + np.sqrt(1 - correlation**2) * values[:, 1]
    return Side(values, np.arange(number) + 1_000_000 * seed, MONDAY + random.integers(0, 119, number) * DAY)


def look(now: Side, before: Side, learned: Side | None = None) -> Joint:
    found = joint.compare(now, before, learned or before, WATCHED, range(COLUMNS), LIMITS, 1)
    assert isinstance(found, Joint), found
    return found


def univariate(now: Side, before: Side) -> list[str]:
    layout = Layout(WATCHED, ("score",))
    scores = [np.full((len(each.values), 1), 0.5) for each in (before, now)]
    known = reference.describe(before.values, WATCHED, scores[0], layout.outputs, before.entities, before.times)
    tally = drift.count(now.values, scores[1], layout, known, now.entities, now.times)
    return drift.judge(tally, layout, known, LIMITS).drifted


def test_a_correlation_that_turns_is_found_and_named_where_each_column_looks_as_before() -> None:
    before, now = rows(1000, 1, 0.8), rows(500, 2, -0.8)
    assert univariate(now, before) == []
    found = look(now, before)
    assert found.drifted
    assert set(found.columns) == {"f0", "f1"}
    assert found.shown >= found.least == pytest.approx(0.624, abs=0.001)
    same = look(rows(500, 3, 0.8), before)
    assert not same.drifted
    assert same.columns == ()


def test_rows_of_one_user_count_once() -> None:
    """Twenty copies of the rows of 60 users, whom training rows never had: each row alone would tell them by heart."""
    before, few = rows(1000, 1), rows(60, 2)
    now = few.take(np.repeat(np.arange(60), 20))
    found = look(now, before)
    assert (found.rows, found.drifted) == (60, False)
    alone = Side(now.values, np.arange(len(now.values)))
    assert look(alone, before).drifted


def test_a_weekend_is_compared_with_weekends_and_a_winter_with_winters() -> None:
    def world(number: int, seed: int, days: Any) -> Side:
        found = rows(number, seed)
        times = MONDAY + np.random.default_rng(seed).choice(days, number) * DAY
        calendar = drift.strata(times)
        found.values[:, 0] += 2.0 * (calendar["weekday"] >= 5) + 2.0 * np.isin(calendar["month"], (0, 1, 11))
        return Side(found.values, found.entities, times)

    year = np.arange(365)
    learned = world(6000, 1, year)
    summer, winter = world(1500, 2, year[150:240]), year[:50]
    assert not look(world(500, 3, year[150:240][year[150:240] % 7 >= 5]), summer).drifted
    now = world(500, 4, winter)
    assert look(now, summer).drifted
    assert not look(now, summer, learned).drifted


def test_too_few_entities_are_said() -> None:
    found = joint.compare(rows(49, 1), rows(500, 2), rows(500, 2), WATCHED, range(COLUMNS), LIMITS, 1)
    assert isinstance(found, str)
    assert "49 rows of different entities" in found


def test_missing_values_tell_too_and_no_column_is_named_where_nothing_is_found() -> None:
    before, now = rows(1000, 1), rows(500, 2)
    # As many are missing as before, but now of those who are high elsewhere.
    for side, place in ((before, 2), (now, 0)):
        side.values[side.values[:, place] > 0.5, 3] = np.nan
    found = look(now, before)
    assert found.drifted
    assert "f3" in found.columns
