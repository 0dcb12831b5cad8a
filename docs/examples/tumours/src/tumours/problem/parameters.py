"""The section `model` of params.yaml: the model's own numbers, with the ranges they may have."""

from pydantic import Field
from twoloops import ModelSection


class ModelParams(ModelSection):
    """Hyperparameters of the logistic regression in model.py."""

    freedom: float = Field(gt=0, le=1e6)  # scikit-learn's C: the smaller, the stronger the penalty
