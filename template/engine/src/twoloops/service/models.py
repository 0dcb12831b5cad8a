"""Which models answer: a stable one, and perhaps a canary that gets a share of the requests.

A deployment is a folder that says so; an artifact folder alone is one model that never changes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Final

import numpy as np

from twoloops import config
from twoloops.artifact import MANIFEST, Inputs, Predictor, Scores
from twoloops.contracts.serving import Schema
from twoloops.errors import ProjectError
from twoloops.paths import paths

DEPLOYMENT: Final = "deployment.json"
MODELS: Final = "models"  # beside the environments: the artifact folders by identity
SAGEMAKER_MODEL: Final = Path("/opt/ml/model")
# Whoever starts the service with an artifact folder says by these what was registered.
VERSION: Final = "MODEL_VERSION"
IDENTITY: Final = "MODEL_IDENTITY"
REGISTERED_AT: Final = "MODEL_REGISTERED_AT"
LONGEST_IN_LOOP: Final = 0.002  # seconds: a model that takes longer for one row would hold up everybody
ROWS_IN_LOOP: Final = 32  # requests of more rows go to the worker thread


class ModelError(Exception):
    """A model raised, or answered something that is not a finite number."""


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model and the type of its rows."""

    version: str
    identity: str
    registered_at: str | None
    predictor: Predictor
    schema: Schema
    example: dict[str, Any]  # a typical row
    answers: dict[str, Any]  # the predictions about it, each an array of shape [1]
    rows_in_loop: int  # how many rows may be scored without holding up other requests

    @cached_property
    def outputs(self) -> list[str]:
        """The names of the scores: each class, or the target."""
        return self.predictor.signature.outputs

    @cached_property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The headers of an answer that tell who gave it."""
        return ((b"x-model-version", self.version.encode("latin-1", "replace")),)

    @cached_property
    def columns(self) -> str:
        """What is captured: models of which this is the same share files."""
        return repr(self.predictor.layout)

    def scores(self, inputs: Inputs) -> Scores:
        """Return the scores, shape [rows, outputs].

        Raises:
            ModelError: the model raised, or a score is not a finite number.
        """
        return _scores(self.predictor, inputs)


def _scores(predictor: Predictor, inputs: Inputs) -> Scores:
    try:
        scores = predictor.score_inputs(inputs)
    except Exception as error:  # whatever a graph or an estimator may raise
        raise ModelError(f"it failed with {type(error).__name__}: {error}") from error
    # The sum is quicker for a few numbers, and finite only if all of them are.
    if not isfinite(scores.sum()) and not np.isfinite(scores).all():
        raise ModelError("it answered a number that is not finite")
    return scores


@dataclass(frozen=True, eq=False)
class Deployed:
    """The models that answer now; replaced as a whole, so that each request sees one or the other."""

    stable: Model
    canary: Model | None = None
    share: float = 0.0

    def find(self, version: str) -> Model | None:
        """Return the model of this version, if it answers now."""
        return next((model for model in (self.stable, self.canary) if model and model.version == version), None)


@dataclass
class Models:
    """Loads what the deployment says, and keeps what works."""

    folder: Path
    maximum_rows: int
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    current: Deployed = field(init=False)
    deployment: str | None = None  # SHA-256 of the deployment.json that was considered last
    problem: str | None = None  # why it was refused, if it was
    _seen: tuple[int, int, int] | None = None
    _credit: float = 0.0

    def start(self) -> None:
        """Load the first models.

        Raises:
            ProjectError: the stable model cannot be loaded, or does not work.
        """
        if not self.follows:
            self.current = Deployed(self._load_artifact())
            return
        self._seen = self._stamp()
        content = (self.folder / DEPLOYMENT).read_bytes()
        self.deployment = hashlib.sha256(content).hexdigest()
        wanted = self._parse(content)
        stable = self._load(wanted["stable"])
        self.current = Deployed(stable)
        if wanted["canary"]:
            # A canary is there to be found wanting: the stable model answers in any case.
            try:
                self.current = Deployed(stable, self._load(wanted["canary"]), wanted["canary"]["share"])
            except Exception as error:
                self.problem = _tell(error)

    def _load_artifact(self) -> Model:
        """Load the artifact folder as the version that the environment names."""
        said = self.environment.get
        model = load(self.folder, said(VERSION), said(REGISTERED_AT), self.maximum_rows)
        if said(IDENTITY, model.identity) != model.identity:
            raise ProjectError(
                f"{self.folder} holds the model {model.identity[:12]}, and {IDENTITY} names {said(IDENTITY)!r}.",
                hint="Somebody has changed the files. Deploy the version again.",
            )
        return model

    @property
    def follows(self) -> bool:
        """Whether the folder is a deployment, which can change."""
        return not (self.folder / MANIFEST).exists()

    def choose(self, deployed: Deployed) -> Model:
        """Return the model for the next request: of any hundred, the canary gets its share exactly."""
        if deployed.canary is None:
            return deployed.stable
        self._credit += deployed.share
        if self._credit < 1:
            return deployed.stable
        self._credit -= 1
        return deployed.canary

    async def refresh(self) -> bool:
        """Follow the deployment if it has changed; return whether other models answer now.

        New models are loaded and tried in a thread while the old ones answer.

        Raises:
            ProjectError: the deployment is refused; `problem` says why, and nothing else changes.
        """
        if not self.follows:
            return False
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return False
            content = (self.folder / DEPLOYMENT).read_bytes()
        except OSError as error:
            return self._refuse(error)
        self._seen = stamp
        digest = hashlib.sha256(content).hexdigest()
        if digest == self.deployment:
            return False
        try:
            # Only afterwards is the deployment said to be considered: who waits for it may then rely on it.
            self.current = await asyncio.to_thread(self._load_deployment, content)
        except Exception as error:  # to load a model runs the project's code, which may raise anything
            self.deployment = digest
            return self._refuse(error)
        self.deployment, self.problem = digest, None
        return True

    def _refuse(self, error: Exception) -> bool:
        """Keep what answers now. The same problem is raised once."""
        problem = _tell(error)
        if problem != self.problem:
            self.problem = problem
            raise ProjectError(self.problem) from error
        return False

    def _stamp(self) -> tuple[int, int, int]:
        status = (self.folder / DEPLOYMENT).stat()
        return status.st_mtime_ns, status.st_ino, status.st_size

    def _load_deployment(self, content: bytes) -> Deployed:
        wanted = self._parse(content)
        canary = wanted["canary"]
        return Deployed(
            self._load(wanted["stable"]), self._load(canary) if canary else None, canary["share"] if canary else 0.0
        )

    def _parse(self, content: bytes) -> dict[str, Any]:
        try:
            wanted: dict[str, Any] = json.loads(content)
            for role in ("stable", "canary"):
                if wanted[role] is not None or role == "stable":
                    wanted[role] = {
                        name: str(wanted[role][name]) for name in ("version", "identity", "registered_at")
                    } | {"share": float(wanted[role].get("share", 0))}
        except (ValueError, KeyError, TypeError) as error:
            raise ProjectError(
                f"{self.folder / DEPLOYMENT} is not a deployment: {error!r}", hint="Run the verb 'deploy' again."
            ) from error
        return wanted

    def _load(self, wanted: Mapping[str, Any]) -> Model:
        version, identity = wanted["version"], wanted["identity"]
        current = getattr(self, "current", None)
        for model in (current.stable, current.canary) if current else ():
            if model and (model.version, model.identity) == (version, identity):
                return model
        model = load(self.folder.parent / MODELS / identity, version, wanted["registered_at"], self.maximum_rows)
        if model.identity != identity:
            raise ProjectError(
                f"The model in {self.folder.parent / MODELS / identity} is another one: {model.identity}.",
                hint="Run the verb 'deploy' again.",
            )
        return model


def _tell(error: Exception) -> str:
    """Return what is told of a model that cannot be loaded; what the project's own code raises with its type."""
    return str(error) if isinstance(error, ProjectError | OSError) else f"{type(error).__name__}: {error}"


def load(folder: Path, version: str | None, registered_at: str | None, maximum_rows: int) -> Model:
    """Load an artifact and try it.

    Raises:
        ProjectError: it is damaged, cannot be loaded, or does not answer a typical row with finite numbers.
    """
    predictor = Predictor.load(folder)
    schema = predictor.problem.schema(predictor.signature, maximum_rows)
    example = schema.example(predictor.reference)
    inputs, _ = schema.encode(schema.from_objects(example))
    try:
        scores = _scores(predictor, inputs)
        seconds = min(_seconds(predictor, inputs) for _ in range(3))
    except ModelError as error:
        raise ProjectError(
            f"The model in {folder} does not work: asked about a typical row, {error}.",
            hint="Deploy another version; 'explain' and 'predict' show what this one does.",
        ) from error
    outputs = predictor.signature.outputs
    if scores.shape != (1, len(outputs)):
        raise ProjectError(
            f"The model in {folder} answers with {scores.shape[-1]} numbers a row, and its signature names "
            f"{len(outputs)}: {', '.join(outputs)}.",
            hint="Train it again: model and signature are written together.",
        )
    return Model(
        version=version or predictor.identity[:12],
        identity=predictor.identity,
        registered_at=registered_at,
        predictor=predictor,
        schema=schema,
        example=example,
        answers=predictor.problem.predictions(scores, predictor.signature),
        rows_in_loop=ROWS_IN_LOOP if seconds <= LONGEST_IN_LOOP else 0,
    )


def _seconds(predictor: Predictor, inputs: Inputs) -> float:
    began = time.perf_counter()
    _scores(predictor, inputs)
    return time.perf_counter() - began


def locate(model: Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the deployment folder or artifact folder to serve.

    Args:
        model: what was asked for; without it the place where Azure ML or SageMaker puts a model,
            else the deployment in the last environment.
        environment: the environment's variables.

    Raises:
        ProjectError: there is none.
    """
    if model is not None:
        if not (model / MANIFEST).exists() and not (model / DEPLOYMENT).exists():
            raise ProjectError(
                f"{model} is neither a deployment folder ({DEPLOYMENT}) nor an artifact folder ({MANIFEST}).",
                hint="'deploy' makes a deployment; 'train' makes artifacts/model.",
            )
        return model
    if "AZUREML_MODEL_DIR" in environment:
        mounted = Path(environment["AZUREML_MODEL_DIR"])
        found = sorted(mounted.rglob(MANIFEST), key=lambda path: (len(path.parts), path))
        if not found:
            raise ProjectError(
                f"AZUREML_MODEL_DIR is {mounted}, and there is no model in it.", hint="Register it again."
            )
        return found[0].parent
    if (SAGEMAKER_MODEL / MANIFEST).exists():
        return SAGEMAKER_MODEL
    if not paths().deployments.exists():  # as in an image, where no platform can be asked either
        raise ProjectError("Nothing is deployed here.", hint="Name a folder to serve; the verb 'deploy' makes one.")

    deployment = paths().deployments / config.current().last
    if not (deployment / DEPLOYMENT).exists():
        raise ProjectError(
            f"Nothing is deployed in {config.current().last} yet.",
            hint="Run the verb 'deploy' first, or name a folder to serve.",
        )
    return deployment
