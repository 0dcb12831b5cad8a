"""The holdout stays the same rows until somebody freezes another, and intervals on it are honest."""

import numpy as np
import pandas as pd
import pytest
from twoloops import Split, by_group, by_time
from twoloops.errors import ProjectError
from twoloops.inner_loop.prepare import refuse_shared_entities
from twoloops.problems.tabular import classification

from tests.engine.support.project import Project

DAYS = pd.date_range("2025-01-01", periods=100, tz="UTC")
ROWS = pd.DataFrame({"key": [f"k{number % 50}" for number in range(100)], "day": DAYS, "value": range(100)})
VALUES = np.repeat(np.random.default_rng(0).normal(size=100), 4)


def test_time_holds_out_the_newest_rows() -> None:
    split = by_time(ROWS.sample(frac=1, random_state=1), "day", 0.2, None)
    assert list(split.holdout["value"]) == list(range(80, 100))
    assert split.train["day"].max() < split.holdout["day"].min()


def test_a_frozen_holdout_does_not_grow_with_the_data() -> None:
    frozen = by_time(ROWS.head(80), "day", 0.25, None).frozen
    split = by_time(ROWS, "day", 0.25, frozen)
    assert list(split.holdout["value"]) == list(range(60, 80))
    assert split.frozen == frozen
    assert split.train["value"].max() == 59


@pytest.mark.parametrize("change", ["value", "row"])
def test_a_changed_holdout_is_refused(change: str) -> None:
    frozen = by_time(ROWS, "day", 0.2, None).frozen
    rows = ROWS.drop(index=90) if change == "row" else ROWS.assign(value=ROWS["value"].replace(90, 0))
    with pytest.raises(ProjectError, match="frozen holdout") as raised:
        by_time(rows, "day", 0.2, frozen)
    assert "--new-holdout" in raised.value.hint


def test_another_rule_than_the_frozen_one_is_refused() -> None:
    frozen = by_time(ROWS, "day", 0.2, None).frozen
    with pytest.raises(ProjectError, match="20% by time; now 30% by time"):
        by_time(ROWS, "day", 0.3, frozen)
    with pytest.raises(ProjectError, match="now 20% by group"):
        by_group(ROWS, "key", 0.2, frozen)


@pytest.fixture
def keyed(bare_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the project's rows be about what the column `key` names."""
    monkeypatch.setattr("churn.problem.data.ENTITY", "key")
    monkeypatch.setattr("churn.problem.data.EVENT_TIME", "day")


@pytest.mark.usefixtures("keyed")
def test_groups_stay_on_their_side() -> None:
    split = by_group(ROWS, "key", 0.3, None)
    assert refuse_shared_entities(split, "key", None) == 0
    assert 0.1 < len(split.holdout) / len(ROWS) < 0.5
    # Rows of groups that are trained on may be added: the holdout stays.
    more = pd.concat([ROWS, split.train.assign(value=0)], ignore_index=True)
    assert set(by_group(more, "key", 0.3, split.frozen).holdout["key"]) == set(split.holdout["key"])


@pytest.mark.usefixtures("keyed")
def test_a_new_holdout_of_new_data_holds_other_groups() -> None:
    before, again = by_group(ROWS, "key", 0.3, None), by_group(ROWS, "key", 0.3, None)
    assert before.frozen == again.frozen, "nobody draws holdouts of the same rows until one is easy"
    renewed = by_group(pd.concat([ROWS, ROWS.head(5)]), "key", 0.3, None)
    assert set(renewed.holdout["key"]) != set(before.holdout["key"])
    # A new feature is no new data: the champion has not seen these rows either.
    richer = by_group(ROWS.assign(feature=1.5), "key", 0.3, None)
    assert list(richer.holdout["value"]) == list(before.holdout["value"])


@pytest.mark.usefixtures("keyed")
def test_an_entity_on_both_sides_is_refused() -> None:
    split = by_time(ROWS, "day", 0.2, None)
    with pytest.raises(ProjectError, match="20 values of 'key' are on both sides"):
        refuse_shared_entities(split, "key", None)
    # Whom the model was asked about before, it is asked about again: where time and a gap part the two sides.
    assert refuse_shared_entities(split, "key", 30) == 20
    mixed = Split(split.holdout, split.train, split.frozen)
    with pytest.raises(ProjectError, match="both sides"):
        refuse_shared_entities(mixed, "key", 30)


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(ProjectError, match="0 rows to train on"):
        by_time(ROWS.assign(day=DAYS[0]), "day", 0.2, None)


def test_slices_name_the_missing_and_leave_out_the_small() -> None:
    frame = pd.DataFrame({"plan": ["a", "a", None, None, "b"]})
    assert {name: list(rows) for name, rows in classification.slices(frame, ["plan"], 2).items()} == {
        "plan=(missing)": [2, 3],
        "plan=a": [0, 1],
    }
