"""All columns together: a classifier that tries to tell the window's rows from training rows.

What changes only jointly no single column shows: two features that went together may part, or all may move a little
the same way. A classifier that can tell which side a row comes from has found a difference, whatever it is: the
classifier two-sample test (Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, 2017; among tests for shift:
Rabanser, Guennemann and Lipton, Failing Loudly, 2019). Here it is shallow boosted trees, judged on rows that they were
not fitted on, by the area under the ROC curve. Without a difference the ranks of either side are as good as drawn: that
gives the p-value (Mann and Whitney, 1947; over the folds: van Elteren, 1960).

One row of each entity is drawn for each side: twenty answers about one user tell one thing. Training rows are taken
from the same weekdays as the window's, and, where that differs, from the same months: as in `drift`, what looks like
either has not drifted. `benchmarks/judgement.py joint` shows the error rates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from twoloops import drift
from twoloops.artifact import Predictor
from twoloops.contracts.watched import Watched
from twoloops.outer_loop.monitoring import captures
from twoloops.outer_loop.monitoring.training import Side, TrainingRows
from twoloops.params import MonitorParams, Params

MOST_ROWS: Final = 2_000  # of each side: with more the trees tell little more, and take longer
FEWEST: Final = 50  # of each side: with fewer the trees learn nothing that holds
FOLDS: Final = 3
TREES: Final = {"max_iter": 60, "max_depth": 4, "learning_rate": 0.1}
TELLING: Final = 0.25  # of the largest loss: a column whose shuffling costs this much is named
POWER: Final = 0.8
OTHERS: Final = "{} holds other rows than the model has learned ({}): all columns together were not compared."
NOTHING: Final = "The model weighs fewer than two columns, so there is nothing to look at together."
TOO_FEW: Final = (
    "All columns together were not compared: {:,} rows of different entities, and {:,} are needed on each side."
)


@dataclass(frozen=True)
class Joint:
    """What a classifier found that looks at all weighed columns together.

    Attributes:
        area: under the ROC curve, of rows that it was not fitted on: 0.5 tells nothing, 1 everything.
        p_value: of a larger one by chance.
        least: the area from which on it is drift: see `least_area`.
        shown: the area that so many rows show in 8 of 10 cases.
        rows: of the window, each of another entity.
        training_rows: that they were told from.
        drifted: whether the area is that large, and no chance.
        columns: by what it tells them apart, the most telling first; none where nothing has drifted.
    """

    area: float
    p_value: float
    least: float
    shown: float
    rows: int
    training_rows: int
    drifted: bool
    columns: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


def look(
    window: captures.Rows,
    training: TrainingRows,
    predictor: Predictor,
    params: Params,
    weights: Mapping[str, float] | None,
    until: np.datetime64 | None,
) -> Joint | str:
    """Compare the window with training rows, in all columns together that the model weighs.

    Args:
        window: rows that were asked.
        training: the table.
        predictor: the model; its reference tells whether the table is the one that it has learned.
        params: the thresholds and the seed.
        weights: each feature's importance; None: not known, and all count.
        until: the newest row that the model has learned; None: not known, or rows have no time.

    Returns:
        What was found, or a sentence that says why there is nothing.
    """
    watched = predictor.layout.watched
    weighed = [place for place, each in enumerate(watched) if drift.is_weighed((weights or {}).get(each.name))]
    if len(weighed) < 2:
        return NOTHING
    learned = training.rows
    if learned.times is not None and until is not None:
        learned = learned.take(np.flatnonzero(learned.times <= until))
    newest = learned
    if learned.times is not None:  # as many as the reference is of
        newest = learned.take(np.argsort(learned.times, kind="stable")[-int(predictor.reference.get("rows", 0)) :])
    if other := _foreign(newest, predictor, params.monitor):
        return OTHERS.format(training.origin, other)
    moments = None if np.isnat(window.moments).any() else window.moments
    asked = Side(window.values, captures.whom(window.entities), moments)
    return compare(asked, newest, learned, watched, weighed, params.monitor, params.seed)


def _foreign(newest: Side, predictor: Predictor, params: MonitorParams) -> str:
    """Say why these are not the rows that a model has learned; empty where they are, as far as counts tell."""
    if not len(newest.values):
        return "none is as old as the model"
    layout, reference = predictor.layout, predictor.reference
    scores = np.zeros((len(newest.values), len(layout.outputs)))
    report = drift.judge(
        drift.count(newest.values, scores, layout, reference, newest.entities), layout, reference, params
    )
    return f"{report.drifted_features[0]} differs from its reference" if report.drifted_features else ""


def compare(
    asked: Side,
    newest: Side,
    learned: Side,
    watched: Sequence[Watched],
    weighed: Sequence[int],
    params: MonitorParams,
    seed: int,
) -> Joint | str:
    """Compare rows with the newest training rows of their weekdays, and if they differ, with those of their months.

    Args:
        asked: the window's.
        newest: training rows.
        learned: all training rows.
        watched: names the columns.
        weighed: the places of the columns that count.
        params: the thresholds.
        seed: for all that is drawn.

    Returns:
        As `look`.
    """
    random = np.random.default_rng(seed)
    found: Joint | str = ""
    for known, stratum in ((newest, "weekday"), (learned, "month")):
        if found and (known.times is None or asked.times is None):
            break
        now = draw(asked, random)
        before = draw_alike(known, now, stratum, random)
        if before is None:  # no rows of these months
            break
        least = min(len(now.values), len(before.values))
        if least < FEWEST:
            return found or TOO_FEW.format(least, FEWEST)
        one, other = (Side(each.values[:, list(weighed)], each.entities) for each in (now, before))
        names = [watched[place].name for place in weighed]
        again = tell_apart(one, other, names, params, len(watched) + 1, seed)
        if not again.drifted:
            return again
        found = found or again
    return found


def draw(rows: Side, random: np.random.Generator) -> Side:
    """Return one row of each entity, drawn, and of at most `MOST_ROWS` entities."""
    order = random.permutation(len(rows.values))
    _, first = np.unique(rows.entities[order].astype(str), return_index=True)
    return rows.take(order[np.sort(first)[:MOST_ROWS]])


def draw_alike(known: Side, now: Side, stratum: str, random: np.random.Generator) -> Side | None:
    """Return one row of each entity, with the same shares of weekdays or months as other rows have.

    Where one of these has too few rows: for weekdays, rows of any, for months, None.
    """
    if known.times is None or now.times is None:
        return draw(known, random)
    size = drift.STRATA[stratum]
    of_now = np.bincount(drift.strata(now.times)[stratum], minlength=size) / max(len(now.values), 1)
    needed = np.flatnonzero(of_now)
    order = random.permutation(np.flatnonzero(np.isin(drift.strata(known.times)[stratum], needed)))
    _, first = np.unique(known.entities[order].astype(str), return_index=True)
    order = order[np.sort(first)]
    of_known = drift.strata(known.times)[stratum][order]
    sizes = np.bincount(of_known, minlength=size)
    if (sizes[needed] < drift.MINIMUM_STRATUM).any():
        return draw(known, random) if stratum == "weekday" else None
    total = min(MOST_ROWS, float((sizes[needed] / of_now[needed]).min()))
    return known.take(np.concatenate([order[of_known == each][: int(total * of_now[each])] for each in needed]))


def least_area(threshold: float) -> float:
    """Return the area from which on it is drift.

    It is what the best classifier reaches where one normal feature has moved by so much that its stability index is
    `monitor.drift_threshold`: the index of a move by d standard deviations is d^2, the area Phi(d / sqrt 2).
    """
    return 0.5 * (1 + math.erf(math.sqrt(threshold) / 2))


def tell_apart(
    now: Side, before: Side, names: Sequence[str], params: MonitorParams, comparisons: int, seed: int
) -> Joint:
    """Fit the classifier and judge it on rows of other entities.

    Args:
        now: one side.
        before: the other.
        names: of the columns.
        params: the thresholds.
        comparisons: among how many the significance is shared (Bonferroni).
        seed: for the folds and the shuffling.
    """
    from scipy.stats import norm
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    random = np.random.default_rng(seed)
    values, is_now = (
        np.concatenate([before.values, now.values]),
        np.repeat([0, 1], [len(before.values), len(now.values)]),
    )
    known, codes = np.unique(np.concatenate([before.entities, now.entities]).astype(str), return_inverse=True)
    folds = (random.permutation(len(known)) % FOLDS)[codes]  # an entity that is on both sides is in one fold
    models = []
    with threadpool_limits(1):  # so few rows are not worth sharing
        for fold in range(FOLDS):
            kept = folds != fold
            models.append(HistGradientBoostingClassifier(**TREES, random_state=seed).fit(values[kept], is_now[kept]))

        def judge(place: int | None = None) -> tuple[float, float]:
            """Return the area and its standardized distance from one half, with one column shuffled."""
            found = []
            for fold, model in enumerate(models):
                rows, inside = values[folds == fold], is_now[folds == fold] == 1
                if place is not None:
                    rows = rows.copy()
                    rows[:, place] = random.permutation(rows[:, place])
                found.append(_wins(model.predict_proba(rows)[:, 1], inside))
            wins, pairs, variance = (sum(each) for each in zip(*found, strict=True))
            return wins / pairs, (wins - pairs / 2) / math.sqrt(variance) if variance else 0.0

        area, distance = judge()
        level = params.significance / comparisons
        p_value, least = float(norm.sf(distance)), least_area(params.drift_threshold)
        drifted = area >= least and p_value < level
        losses = np.asarray([area - judge(place)[0] for place in range(len(names))]) if drifted else np.empty(0)
    error = math.sqrt((len(values) + 1) / (12 * len(now.values) * len(before.values)))
    order = np.argsort(-losses, kind="stable")
    return Joint(
        area=area,
        p_value=p_value,
        least=least,
        shown=max(least, 0.5 + float(norm.isf(level) + norm.ppf(POWER)) * error),
        rows=len(now.values),
        training_rows=len(before.values),
        drifted=drifted,
        columns=tuple(names[place] for place in order if losses[place] >= TELLING * losses[order[0]] > 0),
    )


def _wins(scores: NDArray[np.float64], inside: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return how many pairs rows inside win, how many there are, and the variance where ranks are drawn.

    Ties count half, and make the variance smaller.
    """
    from scipy.stats import rankdata

    ones, total = int(inside.sum()), len(scores)
    pairs = ones * (total - ones)
    if not pairs:
        return 0.0, 0.0, 0.0
    _, ties = np.unique(scores, return_counts=True)
    variance = pairs / 12 * (total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1)))
    return float(rankdata(scores)[inside].sum()) - ones * (ones + 1) / 2, pairs, variance
