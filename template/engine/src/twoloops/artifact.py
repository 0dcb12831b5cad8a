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
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from twoloops import config, problems
from twoloops.contracts.captures import trial_key
from twoloops.contracts.scoring import Batches
from twoloops.contracts.signature import Signature
from twoloops.contracts.watched import Layout
from twoloops.errors import ProjectError
from twoloops.storage import replacing

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
REFERENCE = "reference.json"
EVALUATION: Final = "evaluation"  # a folder that the registry has beside the files: for people, and never loaded
ModelName = Literal["model.onnx", "model.skops"]
ONNX_MODEL: Final = "model.onnx"
PYTHON_MODEL: Final = "model.skops"

# Whoever hands over an artifact folder says by this what was registered; nothing else may run then.
IDENTITY_VARIABLE: Final = "MODEL_IDENTITY"
OTHER_FORM = "Let export() in problem/model.py return as_python(estimator): docs/your-data.md tells how."

Inputs = NDArray[Any]  # what a model reads: the first axis is the records
Scores = NDArray[np.float64]
Records = Any


@dataclass(frozen=True)
class ModelFile:
    """A trained model as it lies in the artifact: the file's name says how it is loaded."""

    name: ModelName
    content: bytes


def as_python(estimator: Any) -> ModelFile:
    """Keep a fitted estimator as Python objects, for a model that has no ONNX form.

    skops is used in place of pickle: loading such a file runs no code that it brings along.
    """
    import skops.io

    return ModelFile(PYTHON_MODEL, skops.io.dumps(estimator))


class _Model(Protocol):
    def __call__(self, inputs: Inputs) -> Scores: ...


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
    name, output = session.get_inputs()[0].name, session.get_outputs()[-1].name

    def run(inputs: Inputs) -> Scores:
        (scores,) = session.run([output], {name: inputs})
        return np.asarray(scores, dtype=np.float64).reshape(len(inputs), -1)

    return run


def _load_python(content: bytes, signature: Signature) -> _Model:
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

    problem = problems.find(signature.task)

    def run(inputs: Inputs) -> Scores:
        return problem.answer(estimator, inputs, signature)

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
        self.trial_key = b""  # empty where the model came from no folder: then it has no trials
        self.reference = reference or {}  # statistics of the training data
        self.problem = problems.find(signature.task)
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

            with registry.download(str(uri)) as folder:
                return cls._from_folder(folder)
        return cls._from_folder(Path(uri))

    @classmethod
    def _from_folder(cls, folder: Path) -> Predictor:
        return cls.of(read(folder))

    @classmethod
    def of(cls, artifact: Artifact) -> Predictor:
        """Load what was read: the bytes that were hashed, and no others."""
        files = artifact.files
        text = files[SIGNATURE].decode("utf-8")
        signature = problems.find(json.loads(text)["task"]).read_signature(text)
        name: ModelName = ONNX_MODEL if ONNX_MODEL in files else PYTHON_MODEL
        reference = json.loads(files.get(REFERENCE, b"{}"))
        predictor = cls(ModelFile(name, files[name]), signature, identity=artifact.identity, reference=reference)
        predictor.trial_key = trial_key(files[MANIFEST])
        return predictor

    @cached_property
    def layout(self) -> Layout:
        """What is captured and compared of this model."""
        return Layout(self.problem.watched(self.signature), tuple(self.signature.outputs))

    @cached_property
    def batches(self) -> Batches:
        """What checks and encodes Arrow batches for this model."""
        batches: Batches = self.problem.batches(self.signature)
        return batches

    def scores(self, records: Records) -> Scores:
        """Return the model's raw output, float64.

        Args:
            records: of the kind that the model reads: for tables, columns by name, each of shape [rows].

        Returns:
            Shape [records, classes] with probabilities for classes, [records, 1] for an amount.
        """
        return self.score_inputs(self.problem.encode(records, self.signature))

    def score_inputs(self, inputs: Inputs) -> Scores:
        """Return the raw output for what is encoded already, shape [records, ...]."""
        return self._run(inputs)

    def predict(self, records: Records) -> dict[str, NDArray[Any]]:
        """Return the predictions as named columns, each of shape [records]: `prediction` first."""
        return self.problem.predictions(self.scores(records), self.signature)


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


@dataclass(frozen=True)
class Artifact:
    """An artifact as it was read and checked."""

    identity: str
    files: Mapping[str, bytes]  # by name, the manifest among them


def read(folder: Path) -> Artifact:
    """Read an artifact, each file once, and check that it is what was written: all of it, and nothing beside it.

    Raises:
        ProjectError: there is no artifact, or a file is missing, altered or not listed in the manifest, or it
            has not exactly one model.
    """
    try:
        files = {MANIFEST: (folder / MANIFEST).read_bytes()}
    except FileNotFoundError as error:
        raise ProjectError(f"There is no model in {folder}.", hint="Run the verb 'train' first.") from error
    listed = _listed(files[MANIFEST], folder)
    there = {path.name for path in folder.iterdir() if not (path.name == EVALUATION and path.is_dir())}
    if more := sorted(there - listed.keys() - {MANIFEST}):
        raise ProjectError(
            f"{folder} has what its manifest does not list: {', '.join(more)}.",
            hint="Only what was registered is loaded. Take it away; if it was not you, find out who put it there.",
        )
    for name, expected in listed.items():
        path = folder / name
        content = path.read_bytes() if path.is_file() else None
        if content is None or hashlib.sha256(content).hexdigest() != expected:
            raise ProjectError(f"{path} is missing or was altered after training.", hint="Run the verb 'train' again.")
        files[name] = content
    return Artifact(hashlib.sha256(files[MANIFEST]).hexdigest(), files)


def _listed(content: bytes, folder: Path) -> Mapping[str, str]:
    """Return the files that a manifest lists, each with its SHA-256."""
    try:
        manifest = json.loads(content)
        version, listed = manifest.get("format_version"), manifest["files"]
        if version != FORMAT_VERSION:
            raise ProjectError(
                f"The model in {folder} has format {version}, this code reads {FORMAT_VERSION}.",
                hint="Train it anew, or load it with the version of this project that wrote it.",
            )
        # A name with a folder in it would lead out of the artifact.
        is_whole = SIGNATURE in listed and all(Path(name).name == name != MANIFEST for name in listed)
        models = [name for name in listed if name in LOADERS]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProjectError(
            f"{folder / MANIFEST} is not a manifest: {error!r}", hint="Run the verb 'train' again."
        ) from error
    if not is_whole or len(models) != 1:
        raise ProjectError(
            f"{folder / MANIFEST} does not list one signature and one model, but: {', '.join(map(str, listed))}.",
            hint="Run the verb 'train' again.",
        )
    return {str(name): str(digest) for name, digest in listed.items()}


def check_identity(found: str, where: object, environment: Mapping[str, str] = os.environ) -> None:
    """Demand the artifact that the environment names, where it names one.

    Args:
        found: the artifact's identity.
        where: it was found, for the message.
        environment: the variables of this process.

    Raises:
        ProjectError: it is another one.
    """
    expected = environment.get(IDENTITY_VARIABLE, found)
    if expected != found:
        raise ProjectError(
            f"{where} holds the model {found[:12]}, and {IDENTITY_VARIABLE} names {expected!r}.",
            hint="Somebody has changed the files. Deploy the version again.",
        )


def identity(folder: Path) -> str:
    """Return the artifact's identity: the SHA-256 of its manifest, in hexadecimal."""
    return _sha256(folder / MANIFEST)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
