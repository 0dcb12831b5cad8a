"""How far rows and scores are from those that the model was trained on.

Rows are counted into the bins of reference.json, and everything is computed from these counts.
Counts can be added, so a table of any size is compared in bounded memory:

    tally = count(first_rows, …) + count(further_rows, …)
    report = judge(tally, …)

`compare` does both for rows that fit into memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from twoloops.artifact import Scores
from twoloops.contracts.watched import FIRST_CATEGORY, MISSING, UNKNOWN, Layout
from twoloops.errors import ProjectError
from twoloops.params import MonitorParams

BELOW, ABOVE = "below", "above"  # what the training data holds
UNKNOWN_BIN, MISSING_BIN = "(unknown)", "(missing)"
MINIMUM_EXPECTED: Final = 5.0  # rows in a bin, for the chi-squared approximation to hold (Cochran, 1954)
WEIGHED: Final = 0.05  # of the most important feature's importance: below it a feature hardly moves an answer
EMPTY: Final = 0.5  # of a row, where a bin is empty and a logarithm is taken

Counts = NDArray[np.int64]
Reference = Mapping[str, Any]  # reference.json, as reference.py makes it


@dataclass(frozen=True)
class Tally:
    """Rows counted into the bins of a reference. Plain values: it can be kept as JSON.

    A number's bins are: below, the reference's bins, above, missing. A category's: its values,
    unknown, missing.
    """

    rows: int
    features: dict[str, list[int]]
    scores: dict[str, list[int]]
    not_finite: int  # rows with a score that is NaN or infinite

    def __add__(self, other: Tally) -> Tally:
        """Return the counts of both."""
        return Tally(
            self.rows + other.rows,
            {name: _sum(counts, other.features[name]) for name, counts in self.features.items()},
            {name: _sum(counts, other.scores[name]) for name, counts in self.scores.items()},
            self.not_finite + other.not_finite,
        )


def _sum(one: list[int], other: list[int]) -> list[int]:
    return [first + second for first, second in zip(one, other, strict=True)]


@dataclass(frozen=True)
class Column:
    """A feature or a score now, against the reference. Shares are between 0 and 1."""

    name: str
    kind: str  # "number" or "category"
    psi: float
    jensen_shannon: float
    kolmogorov_smirnov: float | None  # numbers only: categories have no order
    p_value: float
    missing: float
    missing_before: float
    unknown: float
    drifted: bool
    lacking: bool  # far more values are missing than before
    weight: float | None  # its importance to the model, of the most important feature's; None: not known
    bins: tuple[str, ...]
    before: tuple[float, ...]  # the share of each bin
    now: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """What a comparison found: features with the most drifted first, outputs in the model's order."""

    rows: int
    features: tuple[Column, ...]
    scores: tuple[Column, ...]
    not_finite: float  # share of the rows with a score that is no finite number

    @property
    def drifted_features(self) -> list[str]:
        """The features whose distribution has changed."""
        return [each.name for each in self.features if each.drifted]

    @property
    def weighed_drift(self) -> list[str]:
        """The features whose distribution has changed, and which the model weighs, as far as that is known."""
        return [each.name for each in self.features if each.drifted and is_weighed(each.weight)]

    @property
    def drifted_scores(self) -> list[str]:
        """The outputs whose distribution has changed."""
        return [each.name for each in self.scores if each.drifted]

    @property
    def drifted(self) -> list[str]:
        """The features and outputs whose distribution has changed."""
        return self.drifted_features + self.drifted_scores

    @property
    def lacking(self) -> list[str]:
        """The features of which far more values are missing than before."""
        return [each.name for each in self.features if each.lacking]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


def is_weighed(weight: float | None) -> bool:
    """Say whether a feature moves the answers: one of unknown weight is taken to."""
    return weight is None or weight >= WEIGHED


def compare(
    values: NDArray[Any], scores: Scores, layout: Layout, reference: Reference, params: MonitorParams
) -> Report:
    """Compare rows and their scores with the reference.

    Args:
        values: what is watched of the rows, shape [rows, watched].
        scores: the model's raw scores of these rows, shape [rows, outputs].
        layout: names the columns.
        reference: reference.json of the model that scored them.
        params: the thresholds.

    Raises:
        ProjectError: there are no rows, or the reference is about other columns.
    """
    return judge(count(values, scores, layout, reference), layout, reference, params)


def count(values: NDArray[Any], scores: Scores, layout: Layout, reference: Reference) -> Tally:
    """Count rows into the reference's bins; arguments and errors as in `compare`."""
    features = {}
    for place, watched in enumerate(layout.watched):
        column, about = values[:, place], _about(reference, "features", watched.name)
        if watched.categories is None:
            features[watched.name] = _count_numbers(column, about)
        else:
            features[watched.name] = _count_codes(column, len(watched.categories))
    return Tally(
        len(scores),
        features,
        {
            name: _count_numbers(scores[:, place], _about(reference, "scores", name))
            for place, name in enumerate(layout.outputs)
        },
        int((~np.isfinite(scores)).any(axis=1).sum()),
    )


def _about(reference: Reference, part: str, name: str) -> Mapping[str, Any]:
    about: Mapping[str, Any] | None = reference.get(part, {}).get(name)
    if about is None:
        raise ProjectError(
            f"The model's reference.json says nothing of {name!r} ({part}).",
            hint="The artifact is not whole, or of an old format: train and register the model anew.",
        )
    return about


def _count_numbers(column: NDArray[Any], about: Mapping[str, Any]) -> list[int]:
    values = column.astype(np.float64)
    known = values[~np.isnan(values)]
    edges = about["edges"]
    # Bins are closed on the left, the last one on both sides, as numpy.histogram has them.
    cuts = [*edges[:-1], np.nextafter(edges[-1], np.inf)] if edges else []
    places = np.searchsorted(np.asarray(cuts), known, side="right")
    return [*np.bincount(places, minlength=len(about["counts"]) + 2).tolist(), len(values) - len(known)]


def _count_codes(column: NDArray[Any], categories: int) -> list[int]:
    codes = column.astype(np.int64)
    known = np.bincount(codes[codes >= FIRST_CATEGORY], minlength=categories + FIRST_CATEGORY)
    return [*known[FIRST_CATEGORY:].tolist(), int((column == UNKNOWN).sum()), int((column == MISSING).sum())]


def judge(
    tally: Tally,
    layout: Layout,
    reference: Reference,
    params: MonitorParams,
    weights: Mapping[str, float] | None = None,
) -> Report:
    """Say what has drifted.

    A column has drifted when its population stability index reaches `monitor.drift_threshold`
    (the change is large) and the chi-squared test's p-value is below `monitor.significance`
    divided by the number of columns (Bonferroni: it is no chance, all columns together). The
    second keeps small windows from crying wolf, the first large ones.

    Args:
        tally: what `count` returned, or the sum of several.
        layout: names the columns.
        reference: the one by which was counted.
        params: the thresholds.
        weights: each feature's importance to the model, of the most important one's; None: not known.

    Raises:
        ProjectError: there are no rows.
    """
    if not tally.rows:
        raise ProjectError("There are no rows to compare with the training data.", hint="Wait until there are some.")
    level = params.significance / max(len(layout.watched), 1)
    features = []
    for watched in layout.watched:
        about, now = _about(reference, "features", watched.name), tally.features[watched.name]
        if watched.categories is None:
            found = _number(watched.name, about, now, params, level)
        else:
            bins = (*map(str, watched.categories), UNKNOWN_BIN, MISSING_BIN)
            before = [*(about["counts"].get(name, 0) for name in bins[:-2]), 0, about["missing"]]
            found = _column(watched.name, "category", bins, before, now, params, level)
        features.append(replace(found, weight=(weights or {}).get(watched.name)))
    names = layout.outputs
    level = params.significance / len(names)
    scores = [_number(name, _about(reference, "scores", name), tally.scores[name], params, level) for name in names]
    return Report(tally.rows, _sorted(features), tuple(scores), tally.not_finite / tally.rows)


def _sorted(columns: list[Column]) -> tuple[Column, ...]:
    return tuple(sorted(columns, key=lambda column: (not column.drifted, not column.lacking, -column.psi)))


def _number(name: str, about: Mapping[str, Any], now: list[int], params: MonitorParams, level: float) -> Column:
    bins = (BELOW, *(_range(low, high) for low, high in pairwise(about["edges"])), ABOVE, MISSING_BIN)
    return _column(name, "number", bins, [0, *about["counts"], 0, about["missing"]], now, params, level)


def _range(low: float, high: float) -> str:
    if high <= np.nextafter(low, np.inf):  # the bin of one frequent value: see reference.py
        return f"{low:.4g}"
    return f"{low:.4g} to {high:.4g}"


def _column(
    name: str,
    kind: str,
    bins: tuple[str, ...],
    before: list[int],
    now: list[int],
    params: MonitorParams,
    level: float,
) -> Column:
    table = np.asarray([before, now], dtype=np.int64)
    shares = table / table.sum(axis=1, keepdims=True)
    stability, p_value = population_stability(table), homogeneity(table)
    missing = np.stack([table[:, :-1].sum(axis=1), table[:, -1]], axis=1)
    more_missing = shares[1, -1] - shares[0, -1]
    return Column(
        name=name,
        kind=kind,
        psi=stability,
        jensen_shannon=jensen_shannon(table),
        kolmogorov_smirnov=kolmogorov_smirnov(table[:, :-1]) if kind == "number" else None,
        p_value=p_value,
        missing=float(shares[1, -1]),
        missing_before=float(shares[0, -1]),
        unknown=float(shares[1, -2]) if kind == "category" else 0.0,
        drifted=stability >= params.drift_threshold and p_value < level,
        lacking=bool(more_missing > params.missing_increase) and homogeneity(missing) < level,
        weight=None,
        bins=bins,
        before=tuple(shares[0].tolist()),
        now=tuple(shares[1].tolist()),
    )


def population_stability(table: Counts) -> float:
    """Return the population stability index: the sum over bins of (now - before) ln(now / before).

    Both are shares of the rows. It is the symmetric Kullback-Leibler divergence (Jeffreys, 1946); as an
    index of stability: Siddiqi, Credit Risk Scorecards (2006). Rules of thumb: below 0.1 nothing
    has changed, from 0.2 on much has. An empty bin counts as half a row, for the logarithm.

    Args:
        table: counts before and now, shape [2, bins].
    """
    before, now = np.maximum(table, EMPTY * (table.sum(axis=0) > 0)) / table.sum(axis=1, keepdims=True)
    seen = before > 0
    return float(((now - before)[seen] * np.log(now[seen] / before[seen])).sum())


def jensen_shannon(table: Counts) -> float:
    """Return the Jensen-Shannon distance, base 2: 0 (alike) to 1 (no bin in common).

    The root of the divergence of Lin, Divergence Measures Based on the Shannon Entropy (1991).
    `table` as in `population_stability`.
    """
    from scipy.spatial.distance import jensenshannon

    # Rounding can leave a root of a tiny negative number where both are alike.
    return float(np.nan_to_num(jensenshannon(table[0], table[1], base=2)))


def kolmogorov_smirnov(table: Counts) -> float:
    """Return the largest difference of the two cumulative shares, at the bins' edges.

    Between the edges the rows' own difference can be larger, by at most the share of one bin.
    `table` as in `population_stability`, bins in the order of their values, without the missing.
    """
    totals = table.sum(axis=1, keepdims=True)
    if not totals.all():
        return 0.0  # nothing is known on one side: the missing share tells it
    before, now = table.cumsum(axis=1) / totals
    return float(np.abs(before - now).max())


def homogeneity(table: Counts) -> float:
    """Return the p-value of the chi-squared test that both rows of counts are of one distribution.

    Pearson's test of homogeneity. Bins in which fewer than 5 rows are expected are put together
    (Cochran, Some Methods for Strengthening the Common chi-squared Tests, 1954). `table` as in
    `population_stability`.
    """
    from scipy.stats import chi2_contingency

    totals = table.sum(axis=0)
    ordered = table[:, totals.argsort(kind="stable")]
    expected = np.sort(totals) * table.sum(axis=1).min() / totals.sum()
    together = int((expected < MINIMUM_EXPECTED).sum())
    if together and expected[:together].sum() < MINIMUM_EXPECTED:
        together += 1
    pooled = np.column_stack([ordered[:, :together].sum(axis=1), ordered[:, together:]]) if together else ordered
    if pooled.shape[1] < 2:
        return 1.0  # too few rows to say anything
    return float(chi2_contingency(pooled, correction=False).pvalue)
