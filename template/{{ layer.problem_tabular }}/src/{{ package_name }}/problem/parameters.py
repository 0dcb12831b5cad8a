"""The section `model` of params.yaml: the model's own numbers, with the ranges they may have."""

from pydantic import Field
from twoloops import ModelSection


class ModelParams(ModelSection):
    """Hyperparameters of the gradient boosting in model.py."""

    learning_rate: float = Field(gt=0, le=1)
    trees: int = Field(ge=1, le=5000)
    leaves: int = Field(ge=2, le=1024)
    minimum_leaf_rows: int = Field(ge=1)
    l2: float = Field(ge=0)
