"""The search for hyperparameters, every trial recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twoloops import params as parameters
from twoloops import registry
from twoloops.artifact import Scores
from twoloops.errors import ProjectError
from twoloops.inner_loop import folds, measure
from twoloops.inner_loop.evaluate import primary
from twoloops.inner_loop.train import read_parts
from twoloops.params import Params
from twoloops.paths import paths
from twoloops.problem import model
from twoloops.problems import problem
from twoloops.storage import replacing, write_json

if TYPE_CHECKING:
    from optuna import Trial
    from pydantic import BaseModel


def tune(params: Params, progress: Callable[[int, float], None] | None = None) -> dict[str, Any]:
    """Search with Optuna's seeded TPE sampler (Bergstra et al., 2011) by cross-validation on the training rows.

    The holdout is never looked at. Folds are parted as it is: by time, with the same gap
    for labels, or by entity. The best of many trials is better by chance too: see `judge_gain`.

    Args:
        params: the checked params.yaml; its `model` section is the first trial.
        progress: called after each trial with its number and the best value so far.

    Returns:
        The best hyperparameters, their value and that of the present ones, the gain and its noise.

    Raises:
        ProjectError: no fold has enough of each class.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    metric = primary(params)
    training_records, _ = read_parts()
    signature = problem.signature()
    inputs, target = problem.encode(training_records, signature), problem.target(training_records, signature)
    parted = _folds(training_records, target, params)

    def answers(candidate: BaseModel) -> list[Scores]:
        fits = [problem.learn(params, candidate, inputs[fitted], target[fitted], signature) for fitted, _ in parted]
        return [problem.answer(fit, inputs[judged], signature) for fit, (_, judged) in zip(fits, parted, strict=True)]

    def value(found: list[Scores]) -> float:
        return float(
            np.mean([metric.compute(target[judged], each) for each, (_, judged) in zip(found, parted, strict=True)])
        )

    def objective(trial: Trial) -> float:
        return value(answers(type(params.model).model_validate(model.search_space(trial))))

    study = optuna.create_study(
        direction="maximize" if metric.direction == "higher" else "minimize",
        sampler=optuna.samplers.TPESampler(seed=params.seed),
    )
    of_present = answers(params.model)
    present = value(of_present)
    study.optimize(
        objective,
        n_trials=params.tune.trials,
        callbacks=[lambda study, trial: progress(trial.number, study.best_value)] if progress else None,
    )
    best = type(params.model).model_validate(params.model.model_dump() | study.best_params)
    judged = [target[places] for _, places in parted]
    entities = problem.entities(training_records)[np.concatenate([places for _, places in parted])]
    events = problem.outputs.rarest(np.concatenate(judged))
    jackknife = measure.Jackknife(entities, params.gate, params.seed, events=events)
    gain = judge_gain(metric, judged, (answers(best), of_present), jackknife)
    noise = measure.quantile(1 - (1 - params.gate.confidence) / params.tune.trials, gain.carriers) * gain.error
    result = {
        "metric": metric.name,
        "present": present,
        "best": study.best_value,
        "gain": gain.value,
        "noise": noise if gain.known else None,
        "within_noise": not gain.known or gain.value <= noise,
        "params": study.best_params,
        "trials": [{"value": trial.value, "params": trial.params} for trial in study.trials],
    }
    write_json(paths().reports / "tuning.json", result)
    registry.log_run(
        study.best_params | {"trials": params.tune.trials, "folds": params.tune.folds, "seed": params.seed},
        {f"tune_{metric.name}": study.best_value, f"present_{metric.name}": present},
        {"kind": "tuning"},
        {},
    )
    return result


def judge_gain(
    metric: measure.Metric,
    targets: list[measure.Target],
    answers: tuple[list[Scores], list[Scores]],
    jackknife: measure.Jackknife,
) -> measure.Interval:
    """Return the gain of one candidate over another, with the error that the judged rows leave.

    The best of k trials counts as better where its gain exceeds the one-sided limit at the level
    (1 - gate.confidence) / k (Bonferroni). Not counted is how much the fits themselves vary with the training rows
    (Nadeau and Bengio, Inference for the Generalization Error, 2003): the same folds fit both.

    Args:
        metric: in which the gain is measured: its mean over the folds.
        targets: of each fold's judged rows.
        answers: of the one candidate and of the other, a fold each.
        jackknife: of the judged rows, fold after fold.
    """
    fold = np.repeat(np.arange(len(targets)), [len(target) for target in targets])
    target, one, other = np.concatenate(targets), *(np.concatenate(each) for each in answers)

    def statistic(rows: NDArray[Any]) -> float:
        gains = []
        for number in range(len(targets)):
            part = rows[fold[rows] == number]
            values = [metric.compute(target[part], scores[part]) for scores in (one, other)]
            gains.append(metric.gain(*values))
        return float(np.mean(gains))

    return jackknife.interval(statistic)


def _folds(records: Any, target: measure.Target, params: Params) -> list[folds.Fold]:
    """Return folds as the holdout is parted: by time, or by entity; those in which every class is there."""
    times = problem.times(records)
    if times is not None and folds.by_time():
        found = folds.rolling(times, params.tune.folds, params.data)
    else:
        found = folds.grouped(problem.entities(records), params.tune.folds)
    usable = folds.with_every_class(found, target)
    if not usable:
        rarest = problem.outputs.rarest(target)
        about = (
            "is long enough for data.label_days"
            if rarest is None or not found
            else (f"has rows of every class: the rarest has {rarest:,} training rows")
        )
        raise ProjectError(
            f"No fold of the search {about}.",
            hint="Lower tune.folds in params.yaml, or bring more rows, of the rarest class above all.",
        )
    return usable


def apply(best: dict[str, Any]) -> None:
    """Write hyperparameters into the section `model` of params.yaml; comments stay as they are."""
    path = paths().params
    text = parameters.edited(path.read_text(encoding="utf-8"), {"model": best})
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")
