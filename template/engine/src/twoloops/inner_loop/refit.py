"""After a green verdict: the same recipe, fitted on the holdout too, so that what is shipped knows the newest rows.

The verdict is about how well the recipe does on rows that come after those it was fitted on. It stays true of the
refitted model, whose training rows only reach further; what it cannot be is the measured value of this very fit. Where
that has to be shipped which was judged, `gate.refit: false` in params.yaml ships the judged model as it is. Why the
exam comes before the fit on all rows: Tashman, Out-of-sample tests of forecasting accuracy (2000).
"""

from __future__ import annotations

import hashlib
import shutil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twoloops import artifact, lineage, reference
from twoloops.artifact import Inputs, Scores
from twoloops.contracts.signature import Signature
from twoloops.contracts.split import Frozen
from twoloops.errors import ProjectError
from twoloops.inner_loop.evaluate import GREEN, primary
from twoloops.inner_loop.rule import failed_rules
from twoloops.inner_loop.train import fit_and_export, newest, read_parts
from twoloops.params import Params
from twoloops.paths import paths
from twoloops.problems import problem
from twoloops.problems.base import Target
from twoloops.storage import read_json, replacing

FOLDS = 2  # of the newest records, for scores of records that a fit has not seen


def refit(params: Params) -> dict[str, Any]:
    """Fit the judged recipe on training records and holdout, and write the artifact that is shipped.

    Parity is proved again, on all records. The reference is that of the newest records: their features, and the
    scores of fits that have not seen them (cross-fitting), because the shipped model has.

    Args:
        params: the checked params.yaml; with `gate.refit: false` the judged artifact is shipped as it is.

    Returns:
        The artifact's identity, the records, and the primary metric: judged, and cross-fitted on the newest records.

    Raises:
        ProjectError: the verdict is red, or about another model; no parity.
    """
    verdict = require_green(artifact.identity(paths().model) if paths().model.exists() else None)
    if not params.gate.refit:
        with replacing(paths().shipped) as new:
            shutil.copytree(paths().model, new)
        return {"artifact": str(paths().shipped), "identity": verdict["model"], "refitted": False}
    training_records, holdout = read_parts()
    signature = problem.signature()
    inputs = np.concatenate([problem.encode(part, signature) for part in (training_records, holdout)])
    target = np.concatenate([problem.target(part, signature) for part in (training_records, holdout)])
    file, fitted, difference = fit_and_export(params, inputs, target, inputs, signature)

    frozen = Frozen.model_validate(read_json(paths().frozen_holdout, "prepare"))
    entities = np.concatenate([problem.entities(part) for part in (training_records, holdout)])
    recent = _newest_places(training_records, holdout)
    scores = _cross_fit(params, inputs, target, entities if frozen.split == "group" else None, recent, signature)
    metric = primary(params)
    quality = {
        "metric": metric.name,
        "judged": verdict["metrics"][metric.name]["value"],
        "cross_fitted": metric.compute(target[recent], scores),
    }
    versions = [problem.version(part) for part in (training_records, holdout)]
    moments = _times(training_records, holdout)
    watched = problem.watch(inputs)
    documents = {
        artifact.REFERENCE: reference.describe(
            watched[recent],
            problem.watched(signature),
            scores,
            signature.outputs,
            entities[recent],
            None if moments is None else moments[recent],
            None if moments is None else reference.Rows(watched, fitted, times=moments),
        ),
        lineage.FILE: lineage.record(
            params,
            hashlib.sha256("".join(versions).encode()).hexdigest(),
            len(inputs),
            versions[1],
            newest(training_records, holdout),
            frozen,
        )
        | {"parity_difference": difference, "refitted": {"judged_model": verdict["model"], **quality}},
    }
    identity = artifact.write(paths().shipped, file, signature, documents)
    return {
        "artifact": str(paths().shipped),
        "identity": identity,
        "refitted": True,
        "train_rows": len(inputs),
        "parity_difference": difference,
        **quality,
    }


def require_green(model: str | None) -> dict[str, Any]:
    """Return the verdict, which has to be green and about this model.

    Args:
        model: the identity of the judged artifact; None: there is none.

    Raises:
        ProjectError: it is red, or about another model.
    """
    verdict: dict[str, Any] = read_json(paths().verdict, "evaluate")
    if verdict["model"] != model:
        raise ProjectError(
            "The verdict is about another model than the one that is here.", hint="Run the verb 'evaluate' again."
        )
    if verdict["verdict"] != GREEN:
        raise ProjectError(
            "The model's verdict is red, so it is not registered:\n"
            + "\n".join(f"  - {line}" for line in failed_rules(verdict)),
            hint="reports/model_card.md shows where it fails; improve the model or the data, then run again.",
        )
    return verdict


def _newest_places(training_records: Any, holdout: Any) -> NDArray[np.int64]:
    """Return the places of the newest records of both parts, as many as are held out; without a time: the holdout."""
    times, total = _times(training_records, holdout), len(training_records) + len(holdout)
    if times is None:
        return np.arange(len(training_records), total)
    return np.sort(np.argsort(times, kind="stable")[total - len(holdout) :])


def _times(training_records: Any, holdout: Any) -> NDArray[np.datetime64] | None:
    trained, held_out = problem.times(training_records), problem.times(holdout)
    return None if trained is None or held_out is None else np.concatenate([trained, held_out])


def _cross_fit(
    params: Params,
    inputs: Inputs,
    target: Target,
    entities: NDArray[Any] | None,
    recent: NDArray[np.int64],
    signature: Signature,
) -> Scores:
    """Return the scores of the newest records, each by a fit that has not seen it, shape [recent, outputs].

    Args:
        params: the recipe.
        inputs: of all records.
        target: of all records.
        entities: of all records, where none may be on both sides; else None.
        recent: the places of the newest records.
        signature: names the outputs.
    """
    fold = np.random.default_rng(params.seed).permutation(len(recent)) % FOLDS
    if entities is not None:
        _, codes = np.unique(entities[recent].astype(str), return_inverse=True)
        fold = codes % FOLDS
    scores = np.empty((len(recent), len(signature.outputs)))
    for number in range(FOLDS):
        judged = recent[fold == number]
        if not len(judged):
            continue
        seen = np.ones(len(inputs), dtype=bool)
        seen[judged] = False
        if entities is not None:
            seen &= ~np.isin(entities.astype(str), entities[judged].astype(str))
        estimator = problem.learn(params, params.model, inputs[seen], target[seen], signature)
        scores[fold == number] = problem.answer(estimator, inputs[judged], signature)
    return scores
