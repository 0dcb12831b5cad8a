"""What each column brings to a model of tables, and on which rows it is judged apart."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twoloops.artifact import Predictor
from twoloops.inner_loop.measure import Metric, Target
from twoloops.pages import table
from twoloops.problems.tabular.encoding import Matrix, encode
from twoloops.problems.tabular.signature import Feature, Signature

if TYPE_CHECKING:
    import pandas as pd

# A feature whose shuffling costs less than this share of the best feature's cost is called useless.
USELESS_SHARE = 0.01
REPEATS = 5  # of each shuffle
SURE = 2.776  # Student's t with 4 degrees of freedom, 95 % on two sides
ALIKE = 0.7  # a rank correlation from which columns may stand in for one another
MOST_ROWS = 20_000  # more would only take longer


def slices(frame: pd.DataFrame, columns: Sequence[str], minimum_rows: int) -> dict[str, NDArray[np.int64]]:
    """Return the row numbers of each slice `column=value` that has at least `minimum_rows` rows."""
    found = {}
    for column in columns:
        values = frame[column].astype(object).where(frame[column].notna(), "(missing)")
        for value in sorted(values.unique(), key=str):
            rows = np.flatnonzero((values == value).to_numpy())
            if len(rows) >= minimum_rows:
                found[f"{column}={value}"] = rows
    return found


def importance(
    predictor: Predictor, holdout: pd.DataFrame, signature: Signature, target: Target, metric: Metric, seed: int
) -> list[dict[str, Any]]:
    """Return what each feature brings and what it costs, best first.

    Args:
        predictor: the model.
        holdout: checked rows.
        signature: names the columns.
        target: the encoded target, shape [rows].
        metric: what is lost is measured in this.
        seed: for the shuffling.
    """
    costs = {}
    for feature in signature.features:
        start = time.perf_counter()
        encode(holdout, (feature,))
        seconds = time.perf_counter() - start
        size = holdout[feature.name].memory_usage(index=False, deep=True)
        costs[feature.name] = (size / len(holdout), seconds / len(holdout) * 1e6)
    matrix = encode(holdout, signature.features)
    return [asdict(each) for each in report_features(predictor, matrix, target, metric, signature, costs, seed)]


@dataclass(frozen=True)
class FeatureReport:
    """What one feature brings and what it costs."""

    name: str
    importance: float  # how much worse the primary metric gets when the feature's values are shuffled: a mean
    spread: float  # the standard deviation of that, from shuffle to shuffle
    alike: list[str]  # features that go along with this one, and could stand in for it
    joint_importance: float  # the same when it is shuffled together with these
    useless: bool  # neither alone nor with these is the loss above its noise
    bytes_per_row: float  # in memory, as the data frame holds it
    encoding_us_per_row: float  # time to encode it, in microseconds


def report_features(
    predictor: Predictor,
    matrix: Matrix,
    target: Target,
    metric: Metric,
    signature: Signature,
    costs: dict[str, tuple[float, float]],
    seed: int,
) -> list[FeatureReport]:
    """Return the permutation importance (Breiman, 2001) and the cost of each feature, best first.

    Each is shuffled several times, for one shuffle is luck. Columns that go along with one another are also shuffled
    together: each alone looks useless, because the others stand in for it (Strobl et al., Conditional Variable
    Importance for Random Forests, 2008). A feature is called useless only where both losses are below their noise.

    Args:
        predictor: scores an encoded matrix.
        matrix: the encoded holdout, shape [rows, features].
        target: the encoded target, shape [rows].
        metric: what is lost is measured in this.
        signature: names the columns.
        costs: bytes and microseconds per row, by feature.
        seed: for the shuffling.
    """
    random = np.random.default_rng(seed)
    if len(matrix) > MOST_ROWS:
        kept = random.choice(len(matrix), MOST_ROWS, replace=False)
        matrix, target = matrix[kept], target[kept]
    whole = metric.compute(target, predictor.score_inputs(matrix))

    def losses(places: list[int]) -> NDArray[np.float64]:
        found = []
        for _ in range(REPEATS):
            shuffled = matrix.copy()
            shuffled[:, places] = shuffled[random.permutation(len(matrix))][:, places]
            found.append(metric.gain(whole, metric.compute(target, predictor.score_inputs(shuffled))))
        return np.asarray(found)

    alone = [losses([place]) for place in range(len(signature.names))]
    best = max(float(loss.mean()) for loss in alone)
    together: dict[int, tuple[list[int], NDArray[np.float64]]] = {}
    for group in correlated(matrix):
        joint = losses(group) if len(group) > 1 else alone[group[0]]
        together |= dict.fromkeys(group, (group, joint))
    reports = []
    for place, name in enumerate(signature.names):
        group, joint = together[place]
        useless = _is_noise(alone[place], best) and _is_noise(joint, best)
        alike = [signature.names[other] for other in group if other != place]
        loss, spread = float(alone[place].mean()), float(alone[place].std(ddof=1))
        reports.append(FeatureReport(name, loss, spread, alike, float(joint.mean()), useless, *costs[name]))
    return sorted(reports, key=lambda report: -report.importance)


def _is_noise(losses: NDArray[np.float64], best: float) -> bool:
    """Say whether a loss is not above what shuffling gives by chance, or is next to nothing beside the best one's."""
    lowest = losses.mean() - SURE * losses.std(ddof=1) / np.sqrt(len(losses))
    return bool(lowest <= 0 or losses.mean() <= USELESS_SHARE * max(best, 0.0))


def correlated(matrix: Matrix) -> list[list[int]]:
    """Return the columns in groups of those that go along with one another: |Spearman's rho| of 0.7 and more.

    By average linkage of 1 - |rho|, on at most 20,000 rows; a missing value counts as the column's median.

    Args:
        matrix: shape [rows, features].
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from scipy.stats import rankdata

    columns = matrix.shape[1]
    if columns < 2:
        return [[place] for place in range(columns)]
    known = np.nan_to_num(matrix, nan=np.inf)
    middle = np.array(
        [np.median(column[np.isfinite(column)]) if np.isfinite(column).any() else 0 for column in known.T]
    )
    ranks = rankdata(np.where(np.isfinite(known), known, middle), axis=0)
    varies = ranks.std(axis=0) > 0
    rho = np.eye(columns)
    if varies.sum() > 1:
        rho[np.ix_(varies, varies)] = np.corrcoef(ranks[:, varies], rowvar=False)
    distance = np.clip(1 - np.abs(rho), 0, 1)
    np.fill_diagonal(distance, 0)
    labels = fcluster(linkage(squareform(distance, checks=False), "average"), 1 - ALIKE, criterion="distance")
    return sorted(np.flatnonzero(labels == label).tolist() for label in np.unique(labels))


def card(verdict: Mapping[str, Any], signature: Signature) -> list[str]:
    """Return the lines of the model card that tell what goes in."""
    known = {feature.name: feature for feature in signature.features}
    useless = [each["name"] for each in verdict["features"] if each["useless"]]
    rows = [
        [
            each["name"],
            _allowed(known[each["name"]]),
            each["importance"],
            each["spread"],
            ", ".join(each["alike"]),
            each["joint_importance"] if each["alike"] else None,
            each["bytes_per_row"],
            each["encoding_us_per_row"],
        ]
        for each in verdict["features"]
    ]
    advice = (
        f"Of no measurable use on these rows: {', '.join(useless)}. Remove one at a time, and judge again."
        if useless
        else "Every feature is of use."
    )
    head = [
        "feature", "allowed", "importance", "spread", "goes along with", "importance with these", "bytes a row",
        "µs a row to encode",
    ]  # fmt: skip
    return ["## What goes in", "", *table(head, rows), "", advice]


def _allowed(feature: Feature) -> str:
    if feature.kind == "category":
        return ", ".join(map(str, feature.categories))
    return f"{feature.minimum} to {feature.maximum} {feature.unit}".strip()
