# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"
"""The pipeline as a BentoML service. MODEL names the folder with pipeline.joblib."""

import os
from pathlib import Path
from typing import Any

import bentoml
import joblib
import pandas as pd


@bentoml.service
class Classifier:
    """Answers the probability of the second class."""

    def __init__(self) -> None:
        """Load the model."""
        self.pipeline = joblib.load(Path(os.environ["MODEL"]) / "pipeline.joblib")

    @bentoml.api
    def predict(self, row: dict[str, Any]) -> float:
        """Predict one row."""
        return float(self.pipeline.predict_proba(pd.DataFrame([row]))[0, 1])
