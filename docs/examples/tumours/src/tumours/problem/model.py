"""The model: features, estimator, search space, and the form it is shipped in."""

from typing import TYPE_CHECKING, Any

from twoloops import ModelFile, Signature, as_onnx

from .parameters import ModelParams

if TYPE_CHECKING:
    from optuna import Trial
    from sklearn.pipeline import Pipeline


def build(params: ModelParams, signature: Signature, seed: int) -> "Pipeline":
    """Return the estimator, not yet fitted: a logistic regression on all measurements."""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = make_column_transformer((StandardScaler(), signature.numeric))
    return make_pipeline(features, LogisticRegression(C=params.freedom, max_iter=5000, random_state=seed))


def search_space(trial: "Trial") -> dict[str, Any]:
    """Return one draw of the hyperparameters, for `tune`."""
    return {"freedom": trial.suggest_float("freedom", 1e-3, 1e3, log=True)}


def export(estimator: Any, signature: Signature) -> ModelFile:
    """Return the fitted estimator in the form in which it is shipped."""
    return as_onnx(estimator, signature, zipmap=False)
