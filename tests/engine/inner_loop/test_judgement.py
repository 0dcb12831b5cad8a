"""What the verdict concludes from its rows, and what it leaves open: intervals, three outcomes, gains, calibration.

Error rates are shown by `benchmarks/judgement.py`; here is the mechanism.
"""

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata
from twoloops.inner_loop import calibration, parts
from twoloops.inner_loop.evaluate import gain_as_dict
from twoloops.inner_loop.measure import FEWEST, Interval, Jackknife, Metric
from twoloops.inner_loop.rule import FAILS, HOLDS, UNDECIDED, Rule, failed_rules
from twoloops.params import GateParams
from twoloops.problems.outputs import amounts, classes

GATE = GateParams(
    primary_metric="roc_auc",
    threshold=0.8,
    slice_threshold=0.6,
    minimum_slice_rows=30,
    minimum_gain_over_baseline=0,
    compare_with_champion=True,
    minimum_gain_over_champion=0,
    minimum_group_ratio=0.6,
    maximum_latency_ms=20,
    parity_tolerance=1e-5,
    confidence=0.95,
    jackknife_groups=400,
)
VALUES = np.random.default_rng(0).normal(size=400)
AUC = Metric("roc_auc", lambda target, scores: 0.0, "higher")


def mean(rows: Any) -> float:
    return float(VALUES[rows].mean())


def known(value: float, error: float, carriers: float = 1000) -> Interval:
    return Interval(value, value - 2 * error, value + 2 * error, error, carriers)


# ---------------------------------------------------------------------------------------------- intervals


def test_an_interval_is_that_of_the_mean() -> None:
    interval = Jackknife(np.arange(400), GATE, seed=1).interval(mean)
    assert interval.value == pytest.approx(VALUES.mean())
    # Leaving out one row at a time gives the standard error of a mean, exactly.
    assert interval.error == pytest.approx(VALUES.std(ddof=1) / 20)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * VALUES.std() / 20, rel=0.03)


def test_rows_of_one_entity_are_left_out_together() -> None:
    entities, alike = np.repeat(np.arange(100), 4), np.repeat(VALUES[:100], 4)
    interval = Jackknife(entities, GATE, seed=1).interval(lambda rows: float(alike[rows].mean()))
    # Four equal rows tell no more than one.
    assert interval.error == pytest.approx(VALUES[:100].std(ddof=1) / 10)


def test_rows_may_be_sorted_once_for_all_groups() -> None:
    random = np.random.default_rng(3)
    target, score = random.random(500) < 0.3, random.random(500)

    def area(rows: Any) -> float:
        return classes.area_under_roc(target[rows], score[rows])

    sorted_once = Jackknife(np.arange(500), GATE, 1, order=np.argsort(score)).interval(area)
    assert sorted_once.low == pytest.approx(Jackknife(np.arange(500), GATE, 1).interval(area).low, rel=1e-9)


def test_the_area_is_that_of_ranks_to_the_last_bit() -> None:
    """In any order of the rows, with equal scores, infinite ones and NaN."""
    random = np.random.default_rng(5)

    def by_ranks(inside: Any, score: Any) -> float:
        ones = inside.sum()
        return float((rankdata(score)[inside].sum() - ones * (ones + 1) / 2) / (ones * (len(inside) - ones)))

    for digits in (0, 1, 2, 9) * 25:
        score = np.round(random.random(random.integers(2, 60)), digits)
        score[random.random(len(score)) < 0.1] = random.choice([np.inf, -np.inf, 0.5])
        inside = np.arange(len(score)) % random.integers(2, 5) == 0
        order = np.argsort(score)
        expected = by_ranks(inside, score)
        assert classes.area_under_roc(inside, score) == expected
        assert classes.area_under_roc(inside[order], score[order]) == expected
        score[random.integers(len(score))] = np.nan
        assert np.isnan(by_ranks(inside, score))
        assert np.isnan(classes.area_under_roc(inside, score))


def test_rows_that_come_sorted_are_not_sorted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    target, score = np.arange(100) % 3 == 0, np.repeat(np.arange(50.0), 2)
    monkeypatch.setattr(np, "argsort", lambda *_, **__: pytest.fail("sorted"))
    assert 0 < classes.area_under_roc(target, score) < 1


@pytest.mark.parametrize(
    ("values", "events", "reason"),
    [
        (np.repeat([0.0, 1.0], [397, 3]), None, "about 3 rows carry it, and 10 are needed"),
        (VALUES, 9, "only 9 rows of the rarest class"),
        (VALUES[:8], None, "only 8 entities"),
        (np.zeros(400), None, "no row changes it"),
        (np.full(400, np.nan), None, "not a number"),
    ],
)
def test_no_interval_without_enough_to_rest_on(values: np.ndarray, events: int | None, reason: str) -> None:
    jackknife = Jackknife(np.arange(len(values)), GATE, 1, events=events)
    interval = jackknife.interval(lambda rows: float(values[rows].mean()))
    assert reason in interval.reason
    assert np.isnan([interval.low, interval.high, interval.limit(1, 0.05)]).all()
    assert interval.as_dict()["low"] is None


def test_an_old_project_names_the_groups_as_resamples() -> None:
    old = GATE.model_dump() | {"bootstrap_samples": 70}
    del old["jackknife_groups"]
    assert GateParams.model_validate(old).jackknife_groups == 70


def test_the_rarest_class_is_counted() -> None:
    assert classes.rarest(np.array([0, 0, 0, 1])) == 1
    assert classes.rarest(np.array([0, 0])) == 0, "of the other class there is none"


# ---------------------------------------------------------------------------------------------- three outcomes


@pytest.mark.parametrize(
    ("value", "direction", "outcome"),
    [
        (0.7, "higher", HOLDS),
        (0.5, "higher", FAILS),
        (0.59, "higher", UNDECIDED),
        (0.61, "higher", UNDECIDED),
        (0.5, "lower", HOLDS),
        (0.7, "lower", FAILS),
    ],
)
def test_a_slice_has_three_outcomes(value: float, direction: str, outcome: str) -> None:
    assert parts.decide(known(value, 0.02), 0.6, direction, 0.05) == outcome


def test_with_more_slices_each_must_be_surer() -> None:
    # 2 standard errors below: beyond doubt for one slice, not for thirty.
    assert parts.decide(known(0.56, 0.02), 0.6, "higher", 0.05) == FAILS
    assert parts.decide(known(0.56, 0.02), 0.6, "higher", 0.05 / 30) == UNDECIDED


def test_a_slice_says_what_would_be_found() -> None:
    found = parts.found_from(known(0.7, 0.02), 0.6, "higher", 0.05)
    assert found == pytest.approx(0.6 - (1.645 + 0.842) * 0.02, abs=2e-4)
    rule = parts.Slice("plan=a", 40, parts.NOTHING).rule(AUC, 0.6, 0.05)
    assert (rule.outcome, rule.passed) == (UNDECIDED, True)
    assert "it is not defined on these rows" in rule.detail


def test_what_cannot_be_told_is_kept_and_closes_nothing() -> None:
    rules = [parts.Slice("plan=a", 40, parts.NOTHING).rule(AUC, 0.6, 0.05).as_dict()]
    assert (rules[0]["value"], rules[0]["outcome"], rules[0]["passed"]) == (None, UNDECIDED, True)
    assert failed_rules({"rules": rules}) == []
    assert not Rule("threshold", "x", math.nan, 0.5, "higher").passed, "without an outcome the value decides"


def groups(one: Interval, other: Interval, everybody: Interval = parts.NOTHING) -> parts.Groups:
    return parts.Groups("selected by age", {"a": one, "b": other}, {"a": 500, "b": 500}, everybody)


@pytest.mark.parametrize(
    ("one", "outcome"),
    [(known(0.3, 0.01), HOLDS), (known(0.1, 0.01), FAILS), (known(0.17, 0.02), UNDECIDED)],
)
def test_groups_have_three_outcomes(one: Interval, outcome: str) -> None:
    assert groups(one, known(0.3, 0.01)).decide(0.6, 0.05)[0] == outcome


def test_a_group_of_which_nobody_is_selected_is_found() -> None:
    nobody = Interval(0.0, math.nan, math.nan, 0.0, 0.0, "no row changes it")
    unequal = groups(nobody, known(0.3, 0.02), known(0.15, 0.011))
    assert unequal.ratio == 0
    assert unequal.decide(0.6, 0.01)[0] == FAILS


def test_nobody_selected_at_all_is_no_equality() -> None:
    nobody = Interval(0.0, math.nan, math.nan, 0.0, 0.0, "no row changes it")
    none = groups(nobody, nobody, nobody)
    assert math.isnan(none.ratio)
    assert none.decide(0.6, 0.05)[0] == UNDECIDED
    assert none.as_dict(0.6, 0.05)["ratio"] is None


# ---------------------------------------------------------------------------------------------- gains


def test_the_noise_of_a_gain_grows_with_the_models_that_were_judged() -> None:
    gain = known(0.02, 0.01)
    alone, many = (gain_as_dict(gain, before, 0.95) for before in (0, 99))
    assert alone["noise"] == pytest.approx(1.645 * 0.01, rel=0.01)
    assert not alone["within_noise"]
    assert many["noise"] == pytest.approx(3.29 * 0.01, rel=0.01)  # the level is 0.05 / 100
    assert many["within_noise"]


def test_the_margin_is_a_share_of_the_threshold_unless_it_is_said() -> None:
    assert GATE.margin == pytest.approx(0.02)
    assert GATE.model_copy(update={"champion_margin": 0.005}).margin == 0.005


# ---------------------------------------------------------------------------------------------- calibration


def draw(slope: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Return events, and probabilities whose calibration is known."""
    random = np.random.default_rng(5)
    logit = random.normal(-1, 1.5, 20_000)
    event = random.random(len(logit)) < 1 / (1 + np.exp(-(slope * logit + shift)))
    return event, 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.6, 0.0), (1.0, 0.7)])
def test_slope_and_intercept_are_found(slope: float, shift: float) -> None:
    event, probability = draw(slope, shift)
    found = calibration.measure_calibration(Jackknife(np.arange(len(event)), GATE, 1), event, probability)
    assert found.slope.value == pytest.approx(slope, abs=0.04)
    if slope == 1:
        assert found.intercept.value == pytest.approx(shift, abs=0.04)
    outcomes = {rule.subject.split()[4]: rule.outcome for rule in calibration.rules({"1": found}, 0.3, 0.025)}
    assert outcomes["slope"] == (HOLDS if slope == 1 else FAILS)
    assert outcomes["intercept"] == (HOLDS if shift == 0 and slope == 1 else FAILS if shift else outcomes["intercept"])


def test_calibration_is_not_judged_unless_asked_or_where_it_cannot_be() -> None:
    few = calibration.Calibration(parts.NOTHING, parts.NOTHING)
    assert calibration.rules({"1": few}, None, 0.05) == []
    assert {rule.outcome for rule in calibration.rules({"1": few}, 0.3, 0.05)} == {UNDECIDED}
    assert amounts.events(VALUES, VALUES[:, None], ()) == {}
    assert list(classes.events(np.array([0, 1]), np.eye(2), ("no", "yes"))) == ["yes"]
    assert FEWEST == 10, "the docs say ten"
