"""Estimators see tables as data frames of encoded columns, with their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twoloops.problem import metrics as measures
from twoloops.problem import model
from twoloops.problems.tabular.encoding import Matrix, encode
from twoloops.problems.tabular.signature import Signature

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import BaseModel

    from twoloops.params import Params


def inputs(frame: pd.DataFrame, signature: Signature) -> pd.DataFrame:
    """Return the features as estimators see them: shape [rows, features], float32, named columns."""
    return named(encode(frame, signature.features), signature)


def named(matrix: Matrix, signature: Signature) -> pd.DataFrame:
    """Return a matrix, shape [rows, features], with the features' names."""
    import pandas as pd

    return pd.DataFrame(matrix, columns=signature.names)


def learn(params: Params, candidate: BaseModel, matrix: Matrix, target: Any, signature: Signature) -> Any:
    """Build the estimator with the hyperparameters of `candidate` and fit it.

    Args:
        params: for the seed and the number of threads: sums depend on how they are shared out, so
            the same artifact comes only from the same number.
        candidate: the hyperparameters.
        matrix: the features, shape [rows, features], float32.
        target: the encoded target, shape [rows].
        signature: names the columns.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(params.threads):
        return model.build(candidate, signature, params.seed).fit(named(matrix, signature), target)


def baseline(matrix: Matrix, target: Any, signature: Signature) -> Any:
    """Return the project's simple model, fitted; arguments as in `learn`."""
    return measures.baseline(signature).fit(named(matrix, signature), target)
