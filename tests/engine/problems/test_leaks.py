"""A feature that was written after the fact is found in whatever form it tells the target; an honest one is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from twoloops import params
from twoloops.errors import ProjectError
from twoloops.problem import data
from twoloops.problems import problem
from twoloops.problems.tabular import examining
from twoloops.problems.tabular.signature import Feature, Signature

from tests.engine.support.project import Project, example_rows

STATES = ("active", "at rest", "cancelled", "new", "paused")


def number(name: str) -> Feature:
    return Feature(name=name, kind="number", nullable=True)


def labelled(rows: int = 1500, seed: int = 1) -> tuple[pd.DataFrame, Any]:
    frame = problem.labelled(problem.check(example_rows(seed=seed), "the example")).head(rows)
    return frame, frame[data.TARGET].to_numpy(dtype=float)


def examine(frame: pd.DataFrame, *features: Feature, threshold: float = 0.999) -> None:
    signature = problem.signature()
    assert isinstance(signature, Signature)
    asked = signature.model_copy(update={"features": (*signature.features, *features)})
    limits = params.DataParams(source="any", minimum_rows=20, leakage_threshold=threshold)
    examining.refuse_leaks(frame, asked, limits)


def test_what_is_missing_unless_it_happened_is_a_leak(bare_project: Project) -> None:
    frame, left = labelled()
    days = np.where(left == 1, np.random.default_rng(1).uniform(0, 30, len(left)), np.nan)
    with pytest.raises(ProjectError, match=r"'days_until_cancelled' alone tells 'churned'.*by whether it is missing"):
        examine(frame.assign(days_until_cancelled=days), number("days_until_cancelled"))
    invoice = np.where(left == 1, np.nan, np.random.default_rng(2).uniform(0, 99, len(left)))
    with pytest.raises(ProjectError, match=r"last_invoice.*by whether it is missing"):
        examine(frame.assign(last_invoice=invoice), number("last_invoice"))


def test_a_category_that_tells_is_a_leak_wherever_it_stands_in_the_list(bare_project: Project) -> None:
    frame, left = labelled()
    others = np.random.default_rng(3).choice([state for state in STATES if state != "cancelled"], len(left))
    state = Feature(name="state", kind="category", nullable=False, categories=STATES)
    with pytest.raises(ProjectError, match="'state' alone tells 'churned'"):
        examine(frame.assign(state=np.where(left == 1, "cancelled", others)), state)
    examine(frame.assign(state=others), state)


def test_an_amount_that_tells_on_both_sides_is_a_leak(bare_project: Project) -> None:
    frame, left = labelled()
    random = np.random.default_rng(4)
    booked = np.where(left == 1, random.choice([-1, 1], len(left)) * random.uniform(50, 90, len(left)), 0)
    booked += random.normal(0, 5, len(left))
    with pytest.raises(ProjectError, match="'booked' alone tells 'churned'"):
        examine(frame.assign(booked=booked), number("booked"))


@pytest.mark.parametrize("seed", range(3))
def test_an_honest_table_is_none_whatever_is_missing_and_however_rare(bare_project: Project, seed: int) -> None:
    frame, left = labelled(seed=seed + 1)
    random = np.random.default_rng(seed)
    holes = np.where(random.uniform(size=len(left)) < 0.3 + 0.5 * left, np.nan, random.normal(size=len(left)))
    seldom = np.where(random.uniform(size=len(left)) < 0.004, random.normal(size=len(left)), np.nan)
    more = frame.assign(holes=holes, seldom=seldom)
    examine(more, number("holes"), number("seldom"))
    # One event among many rows is first in the order of some column by chance.
    rare = more[(left == 0) | (np.cumsum(left) <= 1)].assign(order=lambda rows: rows[data.TARGET].astype(float))
    examine(rare, number("holes"), number("order"))


def test_one_who_comes_back_stands_in_one_fold(bare_project: Project) -> None:
    """A number of its own for each entity, and the same label each time: its other rows would tell it."""
    frame, _ = labelled()
    random = np.random.default_rng(5)
    who = np.arange(len(frame)) // 30
    per_entity = random.permutation(who.max() + 1)
    back = frame.assign(
        **{data.ENTITY: who.astype(str), data.TARGET: (random.permutation(who.max() + 1) % 2)[who]},
        shop=per_entity[who].astype(float),
    )
    examine(back, number("shop"), threshold=0.9)


def test_amounts_are_told_on_both_sides_too() -> None:
    from twoloops.problems.outputs import amounts

    random = np.random.default_rng(6)
    value = random.normal(size=3000)
    target = np.abs(value)
    folds = np.arange(3000) % 3
    tree = {"min_samples_leaf": examining.LEAF}
    assert amounts.separation(value, target) < 0.6
    assert amounts.told_by_tree(value[:, None], target, folds, tree) > 0.999
    assert amounts.told_by_tree(value[:, None], random.normal(size=3000), folds, tree) < 0.6
