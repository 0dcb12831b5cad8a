"""The model: features, estimator, search space, and the form it is shipped in."""

from typing import TYPE_CHECKING, Any

from twoloops import ModelFile, Signature, as_onnx

from .parameters import ModelParams

if TYPE_CHECKING:
    from optuna import Trial
    from sklearn.pipeline import Pipeline


def build(params: ModelParams, signature: Signature, seed: int) -> "Pipeline":
    """Return the estimator, not yet fitted.

    It is fitted on a data frame with the signature's columns, all float32: a category is its code
    (see `twoloops.Signature`), a missing number is NaN, which gradient boosting takes as it is.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    features = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), signature.categorical),
        ("passthrough", signature.numeric),
    )
    classifier = HistGradientBoostingClassifier(
        learning_rate=params.learning_rate,
        max_iter=params.trees,
        max_leaf_nodes=params.leaves,
        min_samples_leaf=params.minimum_leaf_rows,
        l2_regularization=params.l2,
        early_stopping=False,
        random_state=seed,
    )
    return make_pipeline(features, classifier)


def search_space(trial: "Trial") -> dict[str, Any]:
    """Return one draw of the hyperparameters, for `tune`."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "trees": trial.suggest_int("trees", 40, 300, step=20),
        "leaves": trial.suggest_int("leaves", 4, 32),
        "minimum_leaf_rows": trial.suggest_int("minimum_leaf_rows", 5, 100, log=True),
        "l2": trial.suggest_float("l2", 1e-3, 10.0, log=True),
    }


def export(estimator: Any, signature: Signature) -> ModelFile:
    """Return the fitted estimator in the form in which it is shipped."""
    return as_onnx(estimator, signature, zipmap=False)
