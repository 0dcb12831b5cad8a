"""What a project's own tests want of the engine: its contract, its inputs and its scores, in a word each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from twoloops.problems import problem
from twoloops.problems.tabular import learning
from twoloops.problems.tabular.signature import Signature

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from twoloops.artifact import Scores


def project_signature() -> Signature:
    """Return what goes into a model of the current project and what comes out, as its contract says.

    Raises:
        ProjectError: a feature is neither a number nor a category, or there is none.
    """
    return cast(Signature, problem.signature())


def encode_features(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the features of rows that keep the contract, as estimators see them.

    Returns:
        Shape [rows, features], float32, with the features' names.
    """
    return learning.inputs(rows, project_signature())


def encode_target(rows: pd.DataFrame) -> NDArray[Any]:
    """Return the target of labelled rows, shape [rows]: int64 class places, or float64 amounts.

    Raises:
        ProjectError: a label is missing or not allowed, or all are the same.
    """
    return problem.target(rows, project_signature())


def estimator_scores(estimator: Any, rows: pd.DataFrame) -> Scores:
    """Return what a fitted estimator answers on rows, float64.

    Returns:
        Shape [rows, classes] with probabilities for classes, [rows, 1] for an amount.
    """
    signature = project_signature()
    return problem.answer(estimator, problem.encode(rows, signature), signature)
