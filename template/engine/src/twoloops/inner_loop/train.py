"""A fitted model that became an artifact, proved to answer as the estimator does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twoloops import artifact, lineage
from twoloops.artifact import Predictor, Signature, encode
from twoloops.errors import ProjectError
from twoloops.inner_loop import reference
from twoloops.params import Params
from twoloops.paths import paths
from twoloops.problem import data as problem
from twoloops.problem import model
from twoloops.problems import task
from twoloops.problems.tabular import contract
from twoloops.storage import require

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import BaseModel


def read_parts() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training rows and the holdout that `prepare` wrote."""
    import pandas as pd

    for path in (paths().train, paths().holdout):
        require(path, "prepare")
    return pd.read_parquet(paths().train), pd.read_parquet(paths().holdout)


def inputs(frame: pd.DataFrame, signature: Signature) -> pd.DataFrame:
    """Return the features as estimators see them: shape [rows, features], float32, named columns."""
    import pandas as pd

    return pd.DataFrame(encode(frame, signature.features), columns=signature.names)


def fit(params: Params, train: pd.DataFrame, signature: Signature) -> Any:
    """Build the estimator of problem/model.py and fit it on `train`."""
    target = task.encode_target(train[problem.TARGET], signature.classes)
    return learn(params, params.model, inputs(train, signature), target, signature)


def learn(params: Params, candidate: BaseModel, frame: pd.DataFrame, target: Any, signature: Signature) -> Any:
    """Build the estimator with the hyperparameters of `candidate` and fit it.

    Args:
        params: for the seed and the number of threads: sums depend on how they are shared out, so
            the same artifact comes only from the same number.
        candidate: the hyperparameters.
        frame: the features, shape [rows, features], float32.
        target: the encoded target, shape [rows].
        signature: names the columns.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(params.threads):
        return model.build(candidate, signature, params.seed).fit(frame, target)


def train(params: Params, folder: Path | None = None) -> dict[str, Any]:
    """Fit, export, check parity on the whole holdout, and write the artifact.

    Args:
        params: the checked params.yaml.
        folder: where the artifact goes, without it artifacts/model; it is replaced as a whole, or left as it was.

    Returns:
        The artifact's identity, the rows and the largest difference of graph and estimator.

    Raises:
        ProjectError: no data, no export, no parity, or scores that are not finite.
    """
    folder = folder or paths().model
    training_rows, holdout = read_parts()
    signature = contract.signature(problem.CONTRACT, problem, task.NAME)
    estimator = fit(params, training_rows, signature)
    file = model.export(estimator, signature)
    scores = Predictor(file, signature).scores(holdout)
    difference = check_parity(scores, task.scores(estimator, inputs(holdout, signature)), params.gate.parity_tolerance)
    documents = {
        artifact.REFERENCE: reference.describe(encode(training_rows, signature.features), scores, signature),
        "lineage.json": lineage.record(params, training_rows, holdout) | {"parity_difference": difference},
    }
    identity = artifact.write(folder, file, signature, documents)
    return {
        "artifact": str(folder),
        "identity": identity,
        "train_rows": len(training_rows),
        "holdout_rows": len(holdout),
        "parity_difference": difference,
    }


def check_parity(shipped: artifact.Scores, fitted: artifact.Scores, tolerance: float) -> float:
    """Return the largest difference between the shipped model's scores and the estimator's.

    Both have shape [rows, outputs]. A difference counts relative to the fitted score, or to the
    mean fitted score or 1 where these are larger: a graph computes in float32, so its error grows
    with the size of what it predicts, and the same tolerance serves probabilities and amounts.

    Raises:
        ProjectError: a score is not finite, or the difference exceeds `tolerance`.
    """
    if not np.isfinite(shipped).all():
        rows = int((~np.isfinite(shipped)).any(axis=1).sum())
        raise ProjectError(f"The model answers {rows:,} holdout rows with NaN or infinity; nothing was written.")
    scale = np.maximum(max(1.0, float(np.abs(fitted).mean())), np.abs(fitted))
    difference = float(np.max(np.abs(shipped - fitted) / scale))
    if difference > tolerance:
        raise ProjectError(
            f"The exported model and the estimator differ by up to {difference:.3g} on the holdout; "
            f"gate.parity_tolerance allows {tolerance:.3g}. Nothing was written.",
            hint="Look for a step that the export treats otherwise, or ship Python: docs/your-data.md.",
        )
    return difference
