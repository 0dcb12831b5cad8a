"""params.yaml: every number one tunes, checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import ProjectError
from .problem.parameters import ModelParams
from .storage import PARAMS

Share = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A section of params.yaml; a key it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataParams(Section):
    """Which data, and what is demanded of it beyond the contract."""

    source: str = Field(min_length=1)
    minimum_rows: int = Field(ge=20)
    maximum_age_days: int | None = Field(default=None, ge=1)
    leakage_threshold: float = Field(gt=0.5, le=1)


class SplitParams(Section):
    """How much of the data is held out for the verdict."""

    holdout_share: Share


class TuneParams(Section):
    """The search for hyperparameters."""

    trials: int = Field(ge=1, le=10_000)
    folds: int = Field(ge=2, le=20)


class GateParams(Section):
    """What a model must show before it may be registered."""

    primary_metric: str
    threshold: float
    slice_threshold: float
    minimum_slice_rows: int = Field(ge=1)
    minimum_gain_over_baseline: float
    compare_with_champion: bool
    minimum_gain_over_champion: float
    minimum_group_ratio: float = Field(ge=0, le=1)
    maximum_latency_ms: float = Field(gt=0)
    parity_tolerance: float = Field(gt=0, lt=1)
    confidence: Share
    bootstrap_samples: int = Field(ge=50, le=10_000)


class Params(Section):
    """The whole of params.yaml."""

    seed: int = Field(ge=0, le=2**32 - 1)
    threads: int = Field(ge=1, le=1024)
    data: DataParams
    split: SplitParams
    model: ModelParams
    tune: TuneParams
    gate: GateParams


def load(path: Path = PARAMS) -> Params:
    """Read and check params.yaml.

    Raises:
        ProjectError: the file is missing, is not YAML, has an unknown or missing key, or a value
            that is out of range; the message names each key, its value and what is allowed.
    """
    if not path.exists():
        raise ProjectError(
            f"There is no {path} in {Path.cwd()}.", hint="Run the command in the project's folder, beside params.yaml."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ProjectError(f"{path} is not valid YAML: {error}", hint="Correct the line that is named.") from error
    return check(content, str(path))


def check(content: object, origin: str) -> Params:
    """Check the content of params.yaml, as `load` does, for a caller that changed some of it."""
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        lines = [_explain(detail["loc"], detail["msg"], detail["type"], detail["input"]) for detail in error.errors()]
        raise ProjectError(
            f"{origin} is not valid:\n" + "\n".join(f"  - {line}" for line in lines),
            hint="docs/parameters.md explains every key.",
        ) from error


def _explain(location: tuple[int | str, ...], message: str, kind: str, value: object) -> str:
    key = ".".join(str(part) for part in location) or "the file"
    if kind == "extra_forbidden":
        return f"{key}: there is no such key{_suggestion(location)}."
    if kind == "missing":
        return f"{key}: is missing."
    return f"{key}: {value!r} is not allowed. {message}."


def _suggestion(location: tuple[int | str, ...]) -> str:
    from difflib import get_close_matches

    section: type[BaseModel] = Params
    for part in location[:-1]:
        annotation = section.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ""
        section = annotation
    names = list(section.model_fields)
    near = get_close_matches(str(location[-1]), names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else f" (known here: {', '.join(names)})"


def as_flat(params: Params) -> dict[str, str | int | float | bool | None]:
    """Return the parameters as one flat mapping, `gate.threshold` and so on, for the tracking server."""
    flat: dict[str, str | int | float | bool | None] = {}
    for key, value in params.model_dump().items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": item for inner, item in value.items()})
        else:
            flat[key] = value
    return flat
