"""The model artifact: one folder that describes itself, written once, loaded everywhere.

    model.onnx (or model.skops)  the model
    signature.json               what goes in and what comes out
    reference.json               the training data's statistics, for monitoring
    lineage.json                 commit, data, parameters and libraries it came from
    manifest.json                the hash of each of these

Needs NumPy, Pydantic and ONNX Runtime alone, so that a service stays small.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from twoloops import config, problems
from twoloops.errors import ProjectError
from twoloops.storage import replacing

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
REFERENCE = "reference.json"
ModelName = Literal["model.onnx", "model.skops"]
ONNX_MODEL: Final = "model.onnx"
PYTHON_MODEL: Final = "model.skops"

MATRIX = "features.matrix"  # the graph's one input; no converted name of a column holds a dot
# A category reaches the model as a number. Codes of the known ones begin after these two.
UNKNOWN, MISSING, FIRST_CATEGORY = -1.0, 0.0, 1

OTHER_FORM = "Let export() in problem/model.py return as_python(estimator): docs/your-data.md tells how."

Matrix = NDArray[np.float32]
Scores = NDArray[np.float64]


class Feature(BaseModel):
    """One input column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Literal["number", "category"]
    nullable: bool
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str | int | bool, ...] = ()


class Signature(BaseModel):
    """What goes into a model and what comes out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    features: tuple[Feature, ...]
    entity: str
    event_time: str | None
    target: str
    classes: tuple[str | int | bool, ...] = ()
    personal: tuple[str, ...] = ()  # columns about people that may arrive with a row and are never kept

    @property
    def names(self) -> list[str]:
        """The input columns, in the model's order."""
        return [feature.name for feature in self.features]

    @property
    def outputs(self) -> list[str]:
        """The names of the scores' columns: the classes, or the target of a regression."""
        return [str(name) for name in self.classes] or [self.target]

    @property
    def categorical(self) -> list[str]:
        """The input columns that are categories."""
        return [feature.name for feature in self.features if feature.kind == "category"]

    @property
    def numeric(self) -> list[str]:
        """The input columns that are numbers."""
        return [feature.name for feature in self.features if feature.kind == "number"]


class Table(Protocol):
    """Columns by name, each of shape [rows]: a data frame, an Arrow table or a mapping."""

    def __getitem__(self, name: Any, /) -> Any:
        """Return a column; raise KeyError when there is none of this name."""


def encode(table: Table, features: tuple[Feature, ...]) -> Matrix:
    """Turn columns into the matrix that every model of this project reads.

    A number is taken as it is (missing: NaN). A category becomes its place in the feature's list,
    from 1 on; a missing value becomes 0, a value that is not in the list -1.

    Args:
        table: has the features' columns.
        features: the columns to take, in this order.

    Returns:
        An array of shape [rows, features], float32.

    Raises:
        ProjectError: a column is missing, or a number's column holds something else.
    """
    columns = []
    for feature in features:
        try:
            column = table[feature.name]
        except KeyError as error:
            raise ProjectError(
                f"The model needs the column {feature.name!r}, and the data has none of this name.",
                hint=f"Columns of the model: {', '.join(each.name for each in features)}.",
            ) from error
        columns.append(_codes(column, feature) if feature.kind == "category" else _numbers(column, feature))
    return np.column_stack(columns)


def codes_of(feature: Feature) -> dict[object, float]:
    """Return the number by which the model knows each category, and None."""
    return {None: MISSING} | {value: float(code) for code, value in enumerate(feature.categories, FIRST_CATEGORY)}


def row_encoder(features: tuple[Feature, ...]) -> Callable[[list[list[Any]]], Matrix]:
    """Return a function that encodes rows as `encode` does columns, for a few rows at a time.

    It takes rows of values in the features' order, missing ones None, shape [rows, features], and
    writes the codes into them. A value that is not in its category's list raises KeyError: who
    answers single rows can refuse them.
    """
    categories = [(place, codes_of(feature)) for place, feature in enumerate(features) if feature.kind == "category"]

    def encoded(rows: list[list[Any]]) -> Matrix:
        for row in rows:
            for place, codes in categories:
                row[place] = codes[row[place]]
        return np.array(rows, dtype=np.float32)

    return encoded


def _codes(column: ArrayLike, feature: Feature) -> Matrix:
    codes = codes_of(feature)
    if hasattr(column, "dictionary_encode"):
        return _codes_of_arrow(column, codes)
    values = np.array(column, dtype=object)
    values[values != values] = None  # noqa: PLR0124 - only NaN, a data frame's missing text, differs from itself
    return np.asarray([codes.get(value, UNKNOWN) for value in values], dtype=np.float32)


def _codes_of_arrow(column: Any, codes: Mapping[object, float]) -> Matrix:
    """Look up each different value of an Arrow column once, and not each row's."""
    whole = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    encoded = whole.dictionary_encode()
    values = [None if value != value else value for value in encoded.dictionary.to_pylist()]  # noqa: PLR0124 - NaN
    code = np.asarray([*(codes.get(value, UNKNOWN) for value in values), MISSING], dtype=np.float32)
    places = encoded.indices.cast("int64").fill_null(len(values))  # a row without a value: the last code
    return code[places.to_numpy(zero_copy_only=False)]


def _numbers(column: ArrayLike, feature: Feature) -> Matrix:
    try:
        return np.asarray(column, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ProjectError(
            f"The column {feature.name!r} must hold numbers: {error}.", hint="The contract in problem/data.py says so."
        ) from error


@dataclass(frozen=True)
class ModelFile:
    """A trained model as it lies in the artifact: the file's name says how it is loaded."""

    name: ModelName
    content: bytes


def as_onnx(estimator: Any, signature: Signature, **options: Any) -> ModelFile:
    """Convert a fitted scikit-learn estimator to an ONNX graph with one input, the matrix of `encode`.

    Args:
        estimator: fitted on a data frame with the signature's columns.
        signature: names the columns.
        options: passed to skl2onnx, such as `zipmap=False` for a classifier.

    Raises:
        ProjectError: the estimator has no converter; the hint tells the other way.
    """
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    from twoloops.problems.tabular import onnx_graph as graph

    try:
        content = graph.from_estimator(estimator, signature.names, MATRIX, options or None)
    except (MissingConverter, MissingShapeCalculator, NotImplementedError, RuntimeError) as error:
        raise ProjectError(
            f"{type(estimator).__name__} cannot become an ONNX graph: {str(error).strip().splitlines()[0]}",
            hint=OTHER_FORM,
        ) from error
    return ModelFile(ONNX_MODEL, content)


def as_python(estimator: Any) -> ModelFile:
    """Keep a fitted estimator as Python objects, for a model that has no ONNX form.

    skops is used in place of pickle: loading such a file runs no code that it brings along.
    """
    import skops.io

    return ModelFile(PYTHON_MODEL, skops.io.dumps(estimator))


class _Model(Protocol):
    def __call__(self, matrix: Matrix) -> Scores: ...


def _load_onnx(content: bytes, signature: Signature) -> _Model:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # or it tells its makers the graph's name and hash
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    # One row is far too little work to share: threads would only wait for one another.
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise ProjectError(f"ONNX Runtime cannot load the graph: {error}", hint=OTHER_FORM) from error
    output = session.get_outputs()[-1].name

    def run(matrix: Matrix) -> Scores:
        (scores,) = session.run([output], {MATRIX: matrix})
        return np.asarray(scores, dtype=np.float64).reshape(len(matrix), -1)

    return run


def _load_python(content: bytes, signature: Signature) -> _Model:
    import pandas as pd
    import skops.io

    # skops knows NumPy's and Python's plain types; of all others, these are what a model is built from.
    known = (config.current().package + ".", "twoloops.", "sklearn.", "numpy.dtype")
    found = skops.io.get_untrusted_types(data=content)
    foreign = [name for name in found if not name.startswith(known)]
    if foreign:
        raise ProjectError(
            f"The model holds objects of types that are not accepted: {', '.join(foreign)}.",
            hint="Build it from classes of scikit-learn and of this project.",
        )
    estimator = skops.io.loads(content, trusted=found)

    def run(matrix: Matrix) -> Scores:
        return problems.find(signature.task).scores(estimator, pd.DataFrame(matrix, columns=signature.names))

    return run


LOADERS = {ONNX_MODEL: _load_onnx, PYTHON_MODEL: _load_python}


class Predictor:
    """A loaded artifact: the one way to predict, online, in batch and in tests."""

    def __init__(
        self,
        model: ModelFile,
        signature: Signature,
        *,
        identity: str = "",
        reference: Mapping[str, Any] | None = None,
    ) -> None:
        """Load `model` from memory; `Predictor.load` is the usual way."""
        self.signature = signature
        self.identity = identity
        self.reference = reference or {}  # statistics of the training data
        self.task = problems.find(signature.task)
        self._run = LOADERS[model.name](model.content, signature)

    @classmethod
    def load(cls, uri: str | Path) -> Predictor:
        """Load an artifact from a folder or from the registry.

        Args:
            uri: a folder, or `models:/NAME@ALIAS` or `models:/NAME/VERSION` of the registry.

        Raises:
            ProjectError: there is none, or a file is missing or not the one that was written.
        """
        if str(uri).startswith("models:/"):
            from twoloops import registry

            with registry.downloaded(str(uri)) as folder:
                return cls._from_folder(folder)
        return cls._from_folder(Path(uri))

    @classmethod
    def _from_folder(cls, folder: Path) -> Predictor:
        read_manifest(folder)
        signature = Signature.model_validate_json((folder / SIGNATURE).read_text(encoding="utf-8"))
        name: ModelName = ONNX_MODEL if (folder / ONNX_MODEL).exists() else PYTHON_MODEL
        model = ModelFile(name, (folder / name).read_bytes())
        statistics = folder / REFERENCE
        reference = json.loads(statistics.read_text(encoding="utf-8")) if statistics.exists() else {}
        return cls(model, signature, identity=identity(folder), reference=reference)

    def scores(self, table: Table) -> Scores:
        """Return the model's raw output, float64.

        Args:
            table: the signature's columns, each of shape [rows].

        Returns:
            Shape [rows, classes] with probabilities for a classifier, [rows, 1] for a regressor.
        """
        return self.score_matrix(encode(table, self.signature.features))

    def score_matrix(self, matrix: Matrix) -> Scores:
        """Return the raw output for rows that are encoded already, shape [rows, features]."""
        return self._run(matrix)

    def predict(self, table: Table) -> dict[str, NDArray[Any]]:
        """Return the predictions as named columns, each of shape [rows]: `prediction` first."""
        return self.task.predictions(self.scores(table), self.signature.classes)


def write(folder: Path, model: ModelFile, signature: Signature, documents: Mapping[str, Any]) -> str:
    """Write an artifact, atomically, and return its identity.

    Args:
        folder: where; an artifact that is there is replaced as a whole.
        model: the trained model.
        signature: its inputs and outputs.
        documents: further JSON files by name, such as `reference.json`.
    """
    with replacing(folder) as new:
        new.mkdir()
        (new / model.name).write_bytes(model.content)
        (new / SIGNATURE).write_text(signature.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for name, content in documents.items():
            (new / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        hashes = {path.name: _sha256(path) for path in sorted(new.iterdir())}
        manifest = {"format_version": FORMAT_VERSION, "files": hashes}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return identity(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read an artifact's manifest and check that every file is the one that was written.

    Raises:
        ProjectError: there is no artifact, or a file is missing or altered.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProjectError(f"There is no model in {folder}.", hint="Run the verb 'train' first.") from error
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ProjectError(
            f"The model in {folder} has format {manifest.get('format_version')}, this code reads {FORMAT_VERSION}.",
            hint="Train it anew, or load it with the version of this project that wrote it.",
        )
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.exists() or _sha256(path) != expected:
            raise ProjectError(f"{path} is missing or was altered after training.", hint="Run the verb 'train' again.")
    return manifest


def identity(folder: Path) -> str:
    """Return the artifact's identity: the SHA-256 of its manifest, in hexadecimal."""
    return _sha256(folder / MANIFEST)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
