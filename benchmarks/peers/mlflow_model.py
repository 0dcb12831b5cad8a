# mypy: disable-error-code="import-not-found,import-untyped"
"""Save the pipeline as an MLflow model, with a signature as its documentation advises.

python mlflow_model.py FOLDER        reads pipeline.joblib and rows.json, writes mlflow-model/
"""

import json
import sys
from pathlib import Path

import joblib
import mlflow
import pandas as pd

folder = Path(sys.argv[1])
pipeline = joblib.load(folder / "pipeline.joblib")
example = pd.DataFrame(json.loads((folder / "rows.json").read_text(encoding="utf-8"))["rows"])
mlflow.sklearn.save_model(
    pipeline,
    folder / "mlflow-model",
    signature=mlflow.models.infer_signature(example, pipeline.predict_proba(example)),
    pyfunc_predict_fn="predict_proba",  # as the others: probabilities, not classes
    serialization_format="cloudpickle",
    pip_requirements=[],  # it is served in the environment that is there
)
