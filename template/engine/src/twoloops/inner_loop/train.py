"""Fit the model and write it as an artifact that answers like the estimator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from twoloops import artifact, lineage, reference
from twoloops.artifact import Inputs, ModelFile, Predictor, Scores
from twoloops.contracts.signature import Signature
from twoloops.contracts.split import Frozen
from twoloops.errors import ProjectError
from twoloops.params import Params
from twoloops.paths import paths
from twoloops.problems import problem
from twoloops.problems.base import Target
from twoloops.storage import read_json, require


def read_parts() -> tuple[Any, Any]:
    """Return the training records and the holdout that `prepare` wrote."""
    for path in (paths().train, paths().holdout):
        require(path, "prepare")
    return problem.read(paths().train), problem.read(paths().holdout)


def fit(params: Params, records: Any, signature: Signature) -> Any:
    """Build the estimator of problem/model.py and fit it on training records."""
    inputs, target = problem.encode(records, signature), problem.target(records, signature)
    return problem.learn(params, params.model, inputs, target, signature)


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
    training_records, holdout = read_parts()
    signature = problem.signature()
    inputs, target = problem.encode(training_records, signature), problem.target(training_records, signature)
    held_out = problem.encode(holdout, signature)
    file, scores, difference = fit_and_export(params, inputs, target, held_out, signature)
    watched = problem.watched(signature)
    documents = {
        # Of the holdout: where rows have a time those are the newest, and the scores are of rows that were not learnt.
        artifact.REFERENCE: reference.describe(
            problem.watch(held_out),
            watched,
            scores,
            signature.outputs,
            problem.entities(holdout),
            problem.times(holdout),
        ),
        lineage.FILE: lineage.record(
            params,
            problem.version(training_records),
            len(training_records),
            problem.version(holdout),
            newest(training_records),
            Frozen.model_validate(read_json(paths().frozen_holdout, "prepare")),
        )
        | {"parity_difference": difference},
    }
    identity = artifact.write(folder, file, signature, documents)
    return {
        "artifact": str(folder),
        "identity": identity,
        "train_rows": len(training_records),
        "holdout_rows": len(holdout),
        "parity_difference": difference,
    }


def fit_and_export(
    params: Params, inputs: Inputs, target: Target, compared: Inputs, signature: Signature
) -> tuple[ModelFile, Scores, float]:
    """Fit the recipe of params.yaml, and return the shipped form with its scores and its largest difference.

    Args:
        params: the hyperparameters and the tolerance.
        inputs: what is learned from.
        target: the encoded target of these.
        compared: inputs on which the estimator and its shipped form have to agree.
        signature: names what goes in.

    Raises:
        ProjectError: no export, no parity, or scores that are not finite.
    """
    estimator = problem.learn(params, params.model, inputs, target, signature)
    file = problem.export(estimator, signature)
    scores = Predictor(file, signature).score_inputs(compared)
    difference = check_parity(scores, problem.answer(estimator, compared, signature), params.gate.parity_tolerance)
    return file, scores, difference


def newest(*parts: Any) -> str | None:
    """Return the newest event time of all records, ISO 8601, UTC; None where they have no time."""
    times = [each.max() for each in map(problem.times, parts) if each is not None]
    return f"{max(times)}Z" if len(times) == len(parts) else None


def check_parity(shipped: Scores, fitted: Scores, tolerance: float) -> float:
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
