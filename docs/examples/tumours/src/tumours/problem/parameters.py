"""The section `model` of params.yaml: the model's own numbers, with the ranges they may have."""

from pydantic import BaseModel, ConfigDict, Field


class ModelParams(BaseModel):
    """Hyperparameters of the logistic regression in model.py."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    freedom: float = Field(gt=0, le=1e6)  # scikit-learn's C: the smaller, the stronger the penalty
