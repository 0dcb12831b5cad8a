"""Tables from which nothing honest can be learned: too old, or with the target in a feature."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twoloops.contracts.watched import MISSING
from twoloops.errors import ProjectError
from twoloops.params import DataParams
from twoloops.problem import data
from twoloops.problems import problem
from twoloops.problems.tabular.encoding import encode
from twoloops.problems.tabular.signature import Feature, Signature

if TYPE_CHECKING:
    import pandas as pd

# Of the trees that look for leaks: enough leaves for an amount's two sides, too few to learn rows by heart.
DEPTH: Final = 6
LEAF: Final = 5
FOLDS: Final = 3
MOST_ROWS: Final = 6000  # a tree on so many takes some ten milliseconds, whatever the table's length
FEWEST_EVENTS: Final = 10  # of the rarest class


def refuse_old(frame: pd.DataFrame, params: DataParams) -> None:
    """Raise a ProjectError when the newest row is older than data.maximum_age_days allows."""
    if params.maximum_age_days is None or data.EVENT_TIME is None:
        return
    import pandas as pd

    newest = frame[data.EVENT_TIME].max()
    age = (pd.Timestamp.now(tz="UTC") - newest).days
    if age > params.maximum_age_days:
        raise ProjectError(
            f"The newest row of {params.source} is from {newest:%Y-%m-%d}, {age} days ago; "
            f"data.maximum_age_days allows {params.maximum_age_days}.",
            hint="Refresh the data, or raise data.maximum_age_days in params.yaml.",
        )


def refuse_leaks(labelled: pd.DataFrame, signature: Signature, params: DataParams, seed: int = 0) -> None:
    """Refuse a feature that alone tells the target: it was written after the fact.

    Two looks, of which the better counts. The order of the values (all rows): what only rises or falls with the
    target. And a tree (Breiman et al., Classification and Regression Trees, 1984) on the value and on whether it is
    missing, judged on rows that it was not fitted on: what is missing unless it happened, a category that tells, an
    amount that tells on both sides. Folds keep entities apart. Kaufman et al., Leakage in Data Mining (2012).

    Args:
        labelled: the rows whose target is known.
        signature: names the features.
        params: `leakage_threshold`.
        seed: draws the rows and the folds of the trees.

    Raises:
        ProjectError: there is such a feature.
    """
    target = problem.target(labelled, signature)
    events = problem.outputs.rarest(target)
    if events is not None and events < FEWEST_EVENTS:
        return  # a few rows come in perfect order by chance
    entities = problem.entities(labelled)
    for told in find_telling(encode(labelled, signature.features), signature.features, target, entities, seed):
        if told.separation >= params.leakage_threshold:
            by_absence = told.by_absence >= params.leakage_threshold
            raise ProjectError(
                f"The feature {told.name!r} alone tells {data.TARGET!r} almost completely"
                f"{', by whether it is missing' if by_absence else ''} "
                f"(separation {told.separation:.4f}, data.leakage_threshold {params.leakage_threshold}): the target "
                "leaks into it.",
                hint="Take the column out of CONTRACT in problem/data.py if it is known only after the event; "
                "if it is honest, raise data.leakage_threshold.",
            )


class Telling(NamedTuple):
    """How well a feature alone tells the target, from 0.5 (not at all) to 1: by all of it, and by its absence."""

    name: str
    separation: float
    by_absence: float


def find_telling(
    matrix: NDArray[np.floating[Any]],
    features: Sequence[Feature],
    target: NDArray[Any],
    entities: NDArray[Any],
    seed: int = 0,
) -> Iterator[Telling]:
    """Yield how well each feature alone tells the target, by the two looks of `refuse_leaks`.

    Args:
        matrix: the encoded features, shape [rows, features].
        features: of the matrix.
        target: the encoded target, shape [rows].
        entities: whom each row is about, shape [rows].
        seed: draws the rows and the folds of the trees.
    """
    matrix = matrix.astype(np.float64)
    events = problem.outputs.rarest(target)
    random = np.random.default_rng(seed)
    rows = _drawn(target, events is not None, random)
    _, group = np.unique(entities[rows].astype(str), return_inverse=True)
    folds = random.permutation(np.arange(group.max() + 1) % FOLDS)[group]
    for column, feature in enumerate(features):
        values = matrix[:, column]
        known = ~np.isnan(values) if feature.kind == "number" else values != MISSING
        in_order = _separation(values[known], target[known])
        flag = known.astype(np.float64)
        middle = np.median(values[known]) if known.any() else 0.0
        inputs = np.column_stack([np.where(known, values, middle), flag])[rows]
        # Each category has a leaf, and an amount needs as many as there are steps in what it tells.
        shallow = feature.kind == "number" and events is not None
        tree = {"max_depth": DEPTH if shallow else None, "min_samples_leaf": LEAF, "random_state": 0}
        by_tree = problem.outputs.told_by_tree(inputs, target[rows], folds, tree)
        yield Telling(feature.name, max(in_order, by_tree), _separation(flag, target))


def _separation(values: NDArray[np.float64], target: NDArray[Any]) -> float:
    """Return how well the order of values tells the target; 0.5 where so few rows have one that chance orders them."""
    told = problem.outputs.rarest(target) if len(target) else 0
    few = len(target) if told is None else told
    return float(problem.outputs.separation(values, target)) if few >= FEWEST_EVENTS else 0.5


def _drawn(target: NDArray[Any], is_class: bool, random: np.random.Generator) -> NDArray[np.int64]:
    """Return the places of at most MOST_ROWS rows, of classes equally many as far as there are."""
    if not is_class:
        return random.permutation(len(target))[:MOST_ROWS]
    classes = np.unique(target)
    share = max(MOST_ROWS // len(classes), FEWEST_EVENTS)
    return np.concatenate([random.permutation(np.flatnonzero(target == each))[:share] for each in classes])


def collisions(frame: pd.DataFrame, signature: Signature) -> list[str]:
    """Tell each feature of whose whole numbers some become one: models read float32, which has 24 bits for digits."""
    told = []
    for feature in signature.features:
        if feature.kind != "number":
            continue
        values = np.unique(frame[feature.name].dropna().to_numpy(dtype=np.float64))
        whole = values[np.mod(values, 1) == 0]
        read = whole.astype(np.float32)
        same = np.flatnonzero(read[1:] == read[:-1])
        if len(same):
            one, other = whole[same[0]], whole[same[0] + 1]
            told.append(
                f"{feature.name}: {len(same):,} of {len(whole):,} different whole numbers are one to a model, such as "
                f"{one:.0f} and {other:.0f}: it reads float32. Subtract what they have in common, such as the event "
                "time, or take the column out."
            )
    return told
