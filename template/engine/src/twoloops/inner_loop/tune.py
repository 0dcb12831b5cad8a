"""The search for hyperparameters, every trial recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from twoloops import registry
from twoloops.inner_loop.evaluate import primary
from twoloops.inner_loop.train import read_parts
from twoloops.params import Params
from twoloops.paths import paths
from twoloops.problem import data, model
from twoloops.problems import problem
from twoloops.storage import replacing, write_json

if TYPE_CHECKING:
    from optuna import Trial
    from pydantic import BaseModel

NULL = "tag:yaml.org,2002:null"


def tune(params: Params, progress: Callable[[int, float], None] | None = None) -> dict[str, Any]:
    """Search with Optuna's seeded TPE sampler (Bergstra et al., 2011) by cross-validation on the training rows.

    The holdout is never looked at. Folds keep time's order where rows have a time, else they keep
    the entities apart.

    Args:
        params: the checked params.yaml; its `model` section is the first trial.
        progress: called after each trial with its number and the best value so far.

    Returns:
        The best hyperparameters, their value and that of the present ones.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    metric = primary(params)
    training_records, _ = read_parts()
    signature = problem.signature()
    inputs, target = problem.encode(training_records, signature), problem.target(training_records, signature)
    folds = _folds(training_records, params.tune.folds)

    def value(candidate: BaseModel) -> float:
        values = []
        for fitted, judged in folds:
            estimator = problem.learn(params, candidate, inputs[fitted], target[fitted], signature)
            values.append(metric.compute(target[judged], problem.answer(estimator, inputs[judged], signature)))
        return float(np.mean(values))

    def objective(trial: Trial) -> float:
        return value(type(params.model).model_validate(model.search_space(trial)))

    study = optuna.create_study(
        direction="maximize" if metric.direction == "higher" else "minimize",
        sampler=optuna.samplers.TPESampler(seed=params.seed),
    )
    present = value(params.model)
    study.optimize(
        objective,
        n_trials=params.tune.trials,
        callbacks=[lambda study, trial: progress(trial.number, study.best_value)] if progress else None,
    )
    result = {
        "metric": metric.name,
        "present": present,
        "best": study.best_value,
        "gain": metric.gain(study.best_value, present),
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


def _folds(records: Any, folds: int) -> list[tuple[Any, Any]]:
    from sklearn.model_selection import GroupKFold, TimeSeriesSplit

    places = np.arange(len(records))
    if data.EVENT_TIME is not None:
        # `prepare` wrote the records in time's order.
        return list(TimeSeriesSplit(n_splits=folds).split(places))
    return list(GroupKFold(n_splits=folds).split(places, groups=problem.entities(records)))


def apply(best: dict[str, Any]) -> None:
    """Write hyperparameters into the section `model` of params.yaml; comments stay as they are."""
    from ruamel.yaml import YAML

    path = paths().params
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL, "null"))
    content = yaml.load(path.read_text(encoding="utf-8"))
    content["model"].update(best)
    with replacing(path) as new, new.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)
