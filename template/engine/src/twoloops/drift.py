"""How far rows and scores are from those that the model was trained on.

Rows are counted into the bins of reference.json, and everything is computed from these counts.
Counts can be added, so a table of any size is compared in bounded memory:

    tally = count(first_rows, …) + count(further_rows, …)
    report = judge(tally, …)

`compare` does both for rows that fit into memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
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
FLOOR: Final = 0.001  # the least share of a bin in a logarithm, whatever the number of rows
GROUPS: Final = 64  # of entities: how their rows go together is measured from group to group
MINIMUM_EXPECTED: Final = 5.0  # rows in a bin, for the chi-squared approximation to hold (Cochran, 1954)
WEIGHED: Final = 0.05  # of the most important feature's importance: below it a feature hardly moves an answer

Counts = NDArray[np.int64]
Reference = Mapping[str, Any]  # reference.json, as reference.py makes it


@dataclass(frozen=True)
class Tally:
    """Rows counted into the bins of a reference. Plain values: it can be kept as JSON.

    A number's bins are: below, the reference's bins, above, missing. A category's: its values,
    unknown, missing. Rows are counted by groups of entities: shape [groups, bins], of one group where entities are
    not known.
    """

    rows: int
    features: dict[str, list[list[int]]]
    scores: dict[str, list[list[int]]]
    not_finite: int  # rows with a score that is NaN or infinite
    calendar: dict[str, list[int]] = field(default_factory=dict)  # rows by weekday (from Monday on) and by month

    def __add__(self, other: Tally) -> Tally:
        """Return the counts of both."""
        return Tally(
            self.rows + other.rows,
            {name: _sum(counts, other.features[name]) for name, counts in self.features.items()},
            {name: _sum(counts, other.scores[name]) for name, counts in self.scores.items()},
            self.not_finite + other.not_finite,
            {name: _sum(counts, other.calendar[name]) for name, counts in self.calendar.items()},
        )


def _sum(one: Any, other: Any) -> Any:
    first, second = np.asarray(one), np.asarray(other)
    if first.shape != second.shape:  # or they would be added all the same, wrongly
        raise ValueError(f"counts of shapes {first.shape} and {second.shape} are not of the same bins and groups")
    return (first + second).tolist()


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


def count(
    values: NDArray[Any],
    scores: Scores,
    layout: Layout,
    reference: Reference,
    entities: NDArray[Any] | None = None,
    times: NDArray[np.datetime64] | None = None,
) -> Tally:
    """Count rows into the reference's bins; further arguments and errors as in `compare`.

    Args:
        values: what is watched of the rows.
        scores: of these rows.
        layout: names the columns.
        reference: says which bins there are.
        entities: whom each row is about, shape [rows]; None: not known, and each row is taken for another one's.
        times: when each row came, UTC, shape [rows]; None: not known.
    """
    groups = np.zeros(len(scores), dtype=np.int64) if entities is None else group(entities)
    number = 1 if entities is None else GROUPS

    def by_group(counted: tuple[NDArray[np.int64], int]) -> list[list[int]]:
        places, bins = counted
        counts: list[list[int]] = (
            np.bincount(groups * bins + places, minlength=number * bins).reshape(number, bins).tolist()
        )
        return counts

    features = {}
    for place, watched in enumerate(layout.watched):
        column, about = values[:, place], _about(reference, "features", watched.name)
        if watched.categories is None:
            features[watched.name] = by_group(place_numbers(column, about))
        else:
            features[watched.name] = by_group(place_codes(column, len(watched.categories)))
    return Tally(
        len(scores),
        features,
        {
            name: by_group(place_numbers(scores[:, place], _about(reference, "scores", name)))
            for place, name in enumerate(layout.outputs)
        },
        int((~np.isfinite(scores)).any(axis=1).sum()),
        {}
        if times is None
        else {name: np.bincount(part, minlength=STRATA[name]).tolist() for name, part in strata(times).items()},
    )


STRATA: Final = {"weekday": 7, "month": 12}


def strata(times: NDArray[np.datetime64]) -> dict[str, NDArray[np.int64]]:
    """Return the place of each time in the calendar: weekday, 0 is Monday, and month, 0 is January; shapes [rows]."""
    days = times.astype("datetime64[D]").astype(np.int64)
    months = times.astype("datetime64[M]").astype(np.int64)
    return {"weekday": (days + 3) % 7, "month": months % 12}  # 1970-01-01 was a Thursday


def group(entities: NDArray[Any]) -> NDArray[np.int64]:
    """Return a number below `GROUPS` for each entity, the same in each run, shape [rows]."""
    known, places = np.unique(np.asarray(entities, dtype=str), return_inverse=True)
    numbers = np.asarray([zlib.crc32(each.encode()) % GROUPS for each in known.tolist()], dtype=np.int64)
    return numbers[places] if len(known) else np.empty(0, np.int64)


def _about(reference: Reference, part: str, name: str) -> Mapping[str, Any]:
    about: Mapping[str, Any] | None = reference.get(part, {}).get(name)
    if about is None:
        raise ProjectError(
            f"The model's reference.json says nothing of {name!r} ({part}).",
            hint="The artifact is not whole, or of an old format: train and register the model anew.",
        )
    return about


def place_numbers(column: NDArray[Any], about: Mapping[str, Any]) -> tuple[NDArray[np.int64], int]:
    """Return the bin of each number, shape [rows], and how many bins there are: below, the edges', above, missing."""
    values = column.astype(np.float64)
    edges = about["edges"]
    # Bins are closed on the left, the last one on both sides, as numpy.histogram has them.
    cuts = [*edges[:-1], np.nextafter(edges[-1], np.inf)] if edges else []
    bins = max(len(edges) - 1, 0) + 3
    places = np.searchsorted(np.asarray(cuts), values, side="right")
    return np.where(np.isnan(values), bins - 1, places), bins


def place_codes(column: NDArray[Any], categories: int) -> tuple[NDArray[np.int64], int]:
    """Return the bin of each category's code, shape [rows], and how many there are: the known, unknown, missing."""
    codes = column.astype(np.int64)
    places = np.where(codes == UNKNOWN, categories, codes - FIRST_CATEGORY)
    return np.where(codes == MISSING, categories + 1, places), categories + 2


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
    divided by the number of columns and one, which is for all of them together (Bonferroni: see
    outer_loop/monitoring/joint.py). The second keeps small windows from crying wolf, the first large ones.

    Rows of one entity go together: both reckon with as many rows as would tell as much if they were independent
    (Rao and Scott, 1981). And a window is compared with all reference rows, with those of its weekdays, and with
    those of its months: what any of these looks like has not drifted.

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
    level = params.significance / (len(layout.watched) + 1)
    features = []
    for watched in layout.watched:
        about, now = _about(reference, "features", watched.name), tally.features[watched.name]
        if watched.categories is None:
            found = _number(watched.name, about, now, tally, params, level)
        else:
            bins = (*map(str, watched.categories), UNKNOWN_BIN, MISSING_BIN)
            found = _column(watched.name, "category", bins, about, now, tally, params, level)
        features.append(replace(found, weight=(weights or {}).get(watched.name)))
    names = layout.outputs
    level = params.significance / len(names)
    scores = [
        _number(name, _about(reference, "scores", name), tally.scores[name], tally, params, level) for name in names
    ]
    return Report(tally.rows, _sorted(features), tuple(scores), tally.not_finite / tally.rows)


def _sorted(columns: list[Column]) -> tuple[Column, ...]:
    return tuple(sorted(columns, key=lambda column: (not column.drifted, not column.lacking, -column.psi)))


def _number(
    name: str, about: Mapping[str, Any], now: list[list[int]], tally: Tally, params: MonitorParams, level: float
) -> Column:
    bins = (BELOW, *(_range(low, high) for low, high in pairwise(about["edges"])), ABOVE, MISSING_BIN)
    return _column(name, "number", bins, about, now, tally, params, level)


def _range(low: float, high: float) -> str:
    if high <= np.nextafter(low, np.inf):  # the bin of one frequent value: see reference.py
        return f"{low:.4g}"
    return f"{low:.4g} to {high:.4g}"


def _column(
    name: str,
    kind: str,
    bins: tuple[str, ...],
    about: Mapping[str, Any],
    now: list[list[int]],
    tally: Tally,
    params: MonitorParams,
    level: float,
) -> Column:
    grouped = np.asarray(now, dtype=np.int64)
    sample = Sample.of_groups(grouped)
    references = _references(about, kind, bins, tally)
    # Far from all of them is drift: so the nearest decides.
    stability, before = min(
        ((population_stability(each, sample), each) for each in references), key=lambda pair: pair[0]
    )
    p_value = homogeneity(before, sample)
    shares = np.stack([before.shares, sample.shares])
    missing_more = shares[1, -1] - shares[0, -1]
    return Column(
        name=name,
        kind=kind,
        psi=stability,
        jensen_shannon=jensen_shannon(shares),
        kolmogorov_smirnov=kolmogorov_smirnov(shares[:, :-1]) if kind == "number" else None,
        p_value=p_value,
        missing=float(shares[1, -1]),
        missing_before=float(shares[0, -1]),
        unknown=float(shares[1, -2]) if kind == "category" else 0.0,
        drifted=stability >= params.drift_threshold and p_value < level,
        lacking=bool(missing_more > params.missing_increase) and homogeneity(before.halves(), sample.halves()) < level,
        weight=None,
        bins=bins,
        before=tuple(shares[0].tolist()),
        now=tuple(shares[1].tolist()),
    )


@dataclass(frozen=True)
class Sample:
    """A distribution over bins, and how many independent rows would tell as much of it."""

    shares: NDArray[np.float64]  # shape [bins]
    rows: float  # effective: as many independent ones
    groups: int | None = None  # of entities, from which this is estimated; None: it is not estimated
    uneven: float = 1.0  # by how much fewer degrees of freedom there are, because bins do not vary alike

    @classmethod
    def of_groups(cls, counts: Counts) -> Sample:
        """Measure how rows of one entity go together, by the spread from group to group.

        The design effects of Rao and Scott, The Analysis of Categorical Data from Complex Sample Surveys (1981): the
        variance of the shares, of ratios (Cochran, Sampling Techniques, 1977), to that of as many independent rows.
        Their mean gives the rows; how unequal they are, the degrees of freedom (Satterthwaite's approximation).

        Args:
            counts: shape [groups, bins]; one group: nothing is known of entities.
        """
        sizes = counts.sum(axis=1)
        total = float(sizes.sum())
        shares = counts.sum(axis=0) / total
        filled, seen = int((sizes > 0).sum()), shares > 0
        freedom = int(seen.sum()) - 1
        if filled < 2 or freedom < 1:
            return cls(shares, total)
        spread = (counts - sizes[:, np.newaxis] * shares)[:, seen]
        effects = filled / (filled - 1) * spread.T @ spread / total / shares[seen]
        whole, squares = float(np.trace(effects)), float((effects * effects.T).sum())
        # The squares of estimates are too large by their own noise, as of a Wishart matrix.
        squares = (squares - whole**2 / (filled - 1)) / (1 + 1 / (filled - 1))
        uneven = float(np.clip(freedom * squares / whole**2, 1, freedom)) if whole > 0 else 1.0
        return cls(shares, total / max(1.0, whole / freedom), filled, uneven)

    def halves(self) -> Sample:
        """Return the same of two bins: all known values, and the missing ones, which are last."""
        return Sample(np.asarray([1 - self.shares[-1], self.shares[-1]]), self.rows, self.groups)


MINIMUM_STRATUM: Final = 50  # reference rows on a weekday or in a month from which it is compared with


def _references(about: Mapping[str, Any], kind: str, bins: tuple[str, ...], tally: Tally) -> list[Sample]:
    """Return what a column is compared with: all reference rows, those of the window's weekdays, of its months."""
    known = about["counts"]
    within = [0, *known, 0] if kind == "number" else [*(known.get(each, 0) for each in bins[:-2]), 0]
    whole = np.asarray([*within, about["missing"]], dtype=np.int64)
    total = float(whole.sum())
    effect = total / about.get("effective_rows", total)
    found = [Sample(whole / total, total / effect)]
    for name, rows in tally.calendar.items():
        parts = about.get("calendar", {}).get(name)
        if not parts or not sum(rows):
            continue
        shares = np.asarray(rows) / sum(rows)
        counts = np.asarray(parts, dtype=np.int64)
        sizes = counts.sum(axis=1)
        needed = shares > 0
        if (sizes[needed] < MINIMUM_STRATUM).any():
            continue
        # Of each stratum as much as the window has: post-stratification (Holt and Smith, 1979).
        mixed = (shares[needed, np.newaxis] * counts[needed] / sizes[needed, np.newaxis]).sum(axis=0)
        found.append(Sample(mixed, 1 / float((shares[needed] ** 2 / sizes[needed]).sum()) / effect))
    return found


def population_stability(before: Sample, now: Sample) -> float:
    """Return the population stability index, less what chance alone gives: the sum of (now - before) ln(now / before).

    Both are shares of the rows. It is the symmetric Kullback-Leibler divergence (Jeffreys, 1946); as an
    index of stability: Siddiqi, Credit Risk Scorecards (2006). Rules of thumb: below 0.1 nothing
    has changed, from 0.2 on much has. Without a change it is distributed as chi-squared with one degree of freedom less
    than bins, times the sum of the inverse numbers of rows (Yurdakul and Naranjo, Statistical Properties of the
    Population Stability Index, 2020): this mean is taken away. In a logarithm no share is below 0.001, whatever the
    number of rows: else the index of a bin that is empty on one side would grow with the number of training rows.
    """
    seen = (before.shares > 0) | (now.shares > 0)
    one, other = (np.maximum(each.shares[seen], FLOOR) for each in (before, now))
    index = float(((now.shares[seen] - before.shares[seen]) * np.log(other / one)).sum())
    return max(0.0, index - (int(seen.sum()) - 1) * (1 / before.rows + 1 / now.rows))


def jensen_shannon(table: NDArray[Any]) -> float:
    """Return the Jensen-Shannon distance, base 2: 0 (alike) to 1 (no bin in common).

    The root of the divergence of Lin, Divergence Measures Based on the Shannon Entropy (1991).

    Args:
        table: counts or shares before and now, shape [2, bins].
    """
    from scipy.spatial.distance import jensenshannon

    # Rounding can leave a root of a tiny negative number where both are alike.
    return float(np.nan_to_num(jensenshannon(table[0], table[1], base=2)))


def kolmogorov_smirnov(table: NDArray[Any]) -> float:
    """Return the largest difference of the two cumulative shares, at the bins' edges.

    Between the edges the rows' own difference can be larger, by at most the share of one bin.
    `table` as in `jensen_shannon`, bins in the order of their values, without the missing.
    """
    totals = table.sum(axis=1, keepdims=True)
    if not totals.all():
        return 0.0  # nothing is known on one side: the missing share tells it
    before, now = table.cumsum(axis=1) / totals
    return float(np.abs(before - now).max())


def homogeneity(before: Sample, now: Sample) -> float:
    """Return the p-value of the chi-squared test that both samples are of one distribution.

    Pearson's test of homogeneity, with the effective numbers of rows in place of the rows (Rao and Scott, 1981). Where
    these are estimated from groups, F in place of chi-squared reckons with that (Thomas and Rao, 1987), with as many
    degrees of freedom below as there are groups less one: with more, few users are falsely red. Bins in which
    fewer than 5 rows are expected are put together (Cochran, Some Methods for Strengthening the Common chi-squared
    Tests, 1954).
    """
    from scipy.stats import chi2, f

    sizes = np.asarray([before.rows, now.rows])
    shares = np.stack([before.shares, now.shares])
    pooled = (sizes @ shares) / sizes.sum()
    order = pooled.argsort(kind="stable")
    expected = pooled[order] * sizes.min()
    together = int((expected < MINIMUM_EXPECTED).sum())
    if together and expected[:together].sum() < MINIMUM_EXPECTED:
        together += 1
    if together:
        kept = shares[:, order]
        shares = np.column_stack([kept[:, :together].sum(axis=1), kept[:, together:]])
        pooled = (sizes @ shares) / sizes.sum()
    bins = shares.shape[1]
    if bins < 2 or (pooled <= 0).any():
        return 1.0  # too few rows to say anything
    statistic = float(((shares[0] - shares[1]) ** 2 / pooled).sum() / (1 / sizes).sum())
    if now.groups is None:
        return float(chi2.sf(statistic, bins - 1))
    freedom = max(1.0, (bins - 1) / now.uneven)
    return float(f.sf(statistic / (bins - 1), freedom, now.groups - 1))
