# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call"
"""Make a model with 20 columns in both forms, and tables for it. Runs in the environment of the rendered project.

    python twenty_columns.py model FOLDER        artifact/, pipeline.joblib, graph.onnx, rows.json
    python twenty_columns.py table FILE ROWS     ROWS rows as Parquet; a third argument shifts them

The project fits its own model on codes. Everyone else gets the same trees behind an encoder that
reads the categories as they are: one model, so answers can be compared.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
from churn.problem import model as problem
from pyarrow import parquet
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from twoloops import params as parameters
from twoloops import reference
from twoloops.artifact import Predictor, write
from twoloops.problems import problem as task
from twoloops.problems.tabular.encoding import encode
from twoloops.problems.tabular.signature import Feature, Signature

NUMBERS = [f"number_{place:02}" for place in range(15)]
CATEGORIES = {f"category_{place}": [f"value_{value}" for value in range(3 + place)] for place in range(5)}
LARGEST = 100.0
TRAINING_ROWS = 20_000
TREES, LEAVES = 100, 31
ENTITY, TARGET = "row_id", "target"
ROWS_AT_ONCE = 250_000  # of a row group
ROWS_TO_COMPARE = 200


def rows(count: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    """Return the 20 columns. Numbers are exact in float32, so that all forms of the model see the same."""
    random = np.random.default_rng(seed)
    numbers = np.clip(random.normal(shift, 1, (count, len(NUMBERS))), -LARGEST, LARGEST).astype(np.float32)
    columns: dict[str, Any] = {name: numbers[:, place].astype(np.float64) for place, name in enumerate(NUMBERS)}
    columns |= {name: np.array(values)[random.integers(len(values), size=count)] for name, values in CATEGORIES.items()}
    return pd.DataFrame(columns)


def target(frame: pd.DataFrame, seed: int) -> np.ndarray:
    """Return a class for each row: some numbers and two categories decide, and some noise."""
    random = np.random.default_rng(seed)
    risk = (
        2 * frame["number_00"]
        + 1.5 * frame["number_01"] * (frame["category_0"] == "value_0")
        - frame["number_02"] ** 2
        + 1.2 * (frame["number_03"] > 0.5)
        + frame["category_4"].isin(["value_1", "value_5"])
    )
    return (risk + random.normal(0, 0.5, len(frame)) > 0).to_numpy(np.int64)


def model(folder: Path) -> None:
    """Fit the model and write it in the forms that services of all kinds load."""
    numbers = [Feature(name=name, kind="number", nullable=False, minimum=-LARGEST, maximum=LARGEST) for name in NUMBERS]
    categories = [
        Feature(name=name, kind="category", nullable=False, categories=tuple(values))
        for name, values in CATEGORIES.items()
    ]
    signature = Signature(
        task=task.name,
        features=(*numbers, *categories),
        entity=ENTITY,
        event_time=None,
        target=TARGET,
        classes=(0, 1),
    )
    frame = rows(TRAINING_ROWS, seed=1)
    known = target(frame, seed=2)
    matrix = encode(frame, signature.features)
    chosen = parameters.load().model.model_copy(update={"trees": TREES, "leaves": LEAVES})
    fitted = problem.build(chosen, signature, seed=7).fit(pd.DataFrame(matrix, columns=signature.names), known)
    file = problem.export(fitted, signature)
    predictor = Predictor(file, signature)
    documents = {
        "reference.json": reference.describe(
            matrix, predictor.layout.watched, predictor.score_inputs(matrix), predictor.layout.outputs
        )
    }
    write(folder / "artifact", file, signature, documents)

    encoder = make_column_transformer(
        (OneHotEncoder(categories=list(CATEGORIES.values()), sparse_output=False), list(CATEGORIES)),
        ("passthrough", NUMBERS),
    ).fit(frame)
    pipeline = make_pipeline(encoder, fitted[-1])
    joblib.dump(pipeline, folder / "pipeline.joblib")
    types = [(name, FloatTensorType([None, 1])) for name in NUMBERS]
    types += [(name, StringTensorType([None, 1])) for name in CATEGORIES]
    graph = to_onnx(pipeline, initial_types=types, options={"zipmap": False})
    (folder / "graph.onnx").write_bytes(graph.SerializeToString())

    unseen = rows(ROWS_TO_COMPARE, seed=3)
    expected = predictor.scores(unseen)[:, 1]
    np.testing.assert_allclose(expected, pipeline.predict_proba(unseen)[:, 1], atol=1e-5)
    content = {"rows": unseen.to_dict("records"), "expected": expected.tolist()}
    (folder / "rows.json").write_text(json.dumps(content), encoding="utf-8")


def table(file: Path, count: int, shift: float) -> None:
    """Write a table with an identifier for each row, in row groups that fit in little memory."""
    writer = None
    for start in range(0, count, ROWS_AT_ONCE):
        size = min(ROWS_AT_ONCE, count - start)
        part = rows(size, seed=100 + start, shift=shift)
        part.insert(0, ENTITY, np.arange(start, start + size).astype(str))
        content = pa.Table.from_pandas(part, preserve_index=False)
        writer = writer or parquet.ParquetWriter(file, content.schema, compression="zstd")
        writer.write_table(content)
    if writer:
        writer.close()


if __name__ == "__main__":
    what, place, *rest = sys.argv[1:]
    if what == "model":
        model(Path(place))
    else:
        table(Path(place), int(rest[0]), float(rest[1]) if len(rest) > 1 else 0.0)
