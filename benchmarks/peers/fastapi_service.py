# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,valid-type"
"""The service that one writes in an afternoon: FastAPI, Pydantic and ONNX Runtime, without metrics and capture.

MODEL names the folder with graph.onnx, a graph with an input for each column, and the artifact's signature.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel, Field, create_model

folder = Path(os.environ["MODEL"])
features = json.loads((folder / "artifact" / "signature.json").read_text(encoding="utf-8"))["features"]


def kind(feature: dict[str, Any]) -> Any:
    """Return the type of a column: the same rules that the project's service checks."""
    if feature["kind"] == "category":
        return Literal[tuple(feature["categories"])]
    return Annotated[float, Field(ge=feature["minimum"], le=feature["maximum"], allow_inf_nan=False)]


columns: dict[str, Any] = {feature["name"]: (kind(feature), ...) for feature in features}
Row: Any = create_model("Row", **columns)


class Prediction(BaseModel):
    """The answer."""

    prediction: int
    probability: float


options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(folder / "graph.onnx", options, providers=["CPUExecutionProvider"])
output = session.get_outputs()[-1].name
types = {feature["name"]: np.float32 if feature["kind"] == "number" else object for feature in features}
app = FastAPI()


@app.post("/predict", response_model=Prediction)
async def predict(row: Row) -> Prediction:
    """Predict one row."""
    feeds = {name: np.array([[value]], dtype=types[name]) for name, value in row.model_dump().items()}
    (scores,) = session.run([output], feeds)
    probability = float(scores[0, 1])
    return Prediction(prediction=int(probability > 0.5), probability=probability)
