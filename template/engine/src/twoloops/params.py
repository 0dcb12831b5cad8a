"""params.yaml: every number one tunes, checked before anything runs."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    create_model,
    model_validator,
)

from twoloops import config, problem
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.storage import replacing

YAML_NULL = "tag:yaml.org,2002:null"
CHAMPION_MARGIN = 0.025  # of gate.threshold, where gate.champion_margin says nothing
Share = Annotated[float, Field(gt=0, lt=1)]
# Of a class that only the project knows: its code and tests hand it on as that class.
if TYPE_CHECKING:
    ProjectsOwn = Any
else:
    ProjectsOwn = SerializeAsAny[BaseModel]


class Section(BaseModel):
    """A section of params.yaml; a key it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSection(Section):
    """The section `model`; a project's problem/parameters.py says what stands in it."""


class DataParams(Section):
    """Which data, and what is demanded of it beyond the contract."""

    source: str = Field(min_length=1)
    minimum_rows: int = Field(ge=20)
    maximum_age_days: int | None = Field(default=None, ge=1)
    label_days: int | None = Field(default=None, ge=0, le=3650)
    leakage_threshold: float = Field(gt=0.5, le=1)
    changes_read: Literal["sample", "all"] = "sample"


class SplitParams(Section):
    """How much of the data is held out for the verdict: a share of the rows, or the newest days."""

    holdout_share: Share | None = None
    holdout_days: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> SplitParams:
        if (self.holdout_share is None) == (self.holdout_days is None):
            raise ValueError("give holdout_share or holdout_days, one of both")
        return self


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
    champion_margin: float | None = Field(default=None, ge=0)
    minimum_group_ratio: float = Field(ge=0, le=1)
    maximum_latency_ms: float = Field(gt=0)
    refit: bool = True
    backtest_origins: int = Field(default=4, ge=0, le=20)
    parity_tolerance: float = Field(gt=0, lt=1)
    confidence: Share
    # Before 0.3.0 the intervals were of a bootstrap, and this the number of its resamples.
    jackknife_groups: int = Field(
        default=200, ge=50, le=10_000, validation_alias=AliasChoices("jackknife_groups", "bootstrap_samples")
    )
    calibration_tolerance: float | None = Field(default=None, gt=0)

    @property
    def margin(self) -> float:
        """By how much a new model may be worse than the champion, in the primary metric."""
        return CHAMPION_MARGIN * abs(self.threshold) if self.champion_margin is None else self.champion_margin


class ServeParams(Section):
    """The limits of the online service, and what it keeps for the monitor."""

    maximum_rows: int = Field(default=1000, ge=1, le=100_000)
    maximum_body_mb: float = Field(default=2.0, gt=0, le=1000)
    maximum_pending: int = Field(default=256, ge=1, le=100_000)
    client_timeout_seconds: float = Field(default=10.0, gt=0, le=3600)
    drain_seconds: int = Field(default=20, ge=0, le=3600)
    capture: bool = True
    capture_rows: int = Field(default=10_000, ge=1, le=10_000_000)
    capture_seconds: float = Field(default=30.0, gt=0, le=86_400)
    capture_days: int = Field(default=60, ge=1, le=3650)


class DeployParams(Section):
    """What a model must show while it comes into use."""

    load_seconds: float = Field(default=3.0, gt=0, le=3600)
    load_connections: int = Field(default=8, ge=1, le=256)
    maximum_p99_ms: float = Field(default=200.0, gt=0)
    canary_share: Share = 0.1
    canary_seconds: float = Field(default=30.0, gt=0, le=86_400)
    canary_requests: int = Field(default=50, ge=1)
    maximum_error_rate: float = Field(default=0.01, ge=0, lt=1)
    maximum_latency_ratio: float = Field(default=2.0, gt=0)


class ScoreParams(Section):
    """How tables are scored."""

    source: str | None = Field(default=None, min_length=1)
    target: str = Field(default="data/predictions", min_length=1)
    batch_rows: int = Field(default=100_000, ge=1, le=10_000_000)
    partition_rows: int = Field(default=1_000_000, ge=1, le=1_000_000_000)
    maximum_quarantined_share: float = Field(default=0.05, ge=0, le=1)


class MonitorParams(Section):
    """When something has to be done about a model in use."""

    minimum_rows: int = Field(default=500, ge=1)
    windows: int = Field(default=3, ge=1, le=1000)
    red_windows: int = Field(default=2, ge=1, le=1000)
    drift_threshold: float = Field(default=0.2, gt=0)
    significance: Share = 0.01
    missing_increase: float = Field(default=0.1, gt=0, le=1)
    maximum_refused_share: float = Field(default=0.05, gt=0, le=1)
    maximum_age_days: int = Field(default=90, ge=1)
    cool_down_hours: float = Field(default=24.0, ge=0)
    labels: str | None = Field(default=None, min_length=1)
    rows: str | None = Field(default=None, min_length=1)

    @property
    def labelled_rows(self) -> int:
        """How many labelled answers are one window of performance: as many as all windows that count have at least."""
        return self.windows * self.minimum_rows

    @model_validator(mode="after")
    def _some_of_all(self) -> MonitorParams:
        if self.red_windows > self.windows:
            raise ValueError(f"red_windows is {self.red_windows}, of only {self.windows} windows")
        return self


class ScanParams(Section):
    """What is too dangerous to be merged."""

    fail_on: Literal["low", "moderate", "high", "critical"] = "high"
    accepted: tuple[str, ...] = ()


class Params(Section):
    """The whole of params.yaml.

    Sections with a default came later than the first projects, or come with a later answer: a
    params.yaml without them stays valid.
    """

    seed: int = Field(ge=0, le=2**32 - 1)
    threads: int = Field(ge=1, le=1024)
    data: DataParams
    split: SplitParams
    model: ProjectsOwn  # the project's own ModelParams, when a project is read
    tune: TuneParams
    gate: GateParams
    serve: ServeParams = ServeParams()
    deploy: DeployParams = DeployParams()
    score: ScoreParams = ScoreParams()
    monitor: MonitorParams = MonitorParams()
    scan: ScanParams = ScanParams()

    @property
    def forgets_too_early(self) -> str:
        """Say that captures are gone before their labels are known; empty where they live longer."""
        needed, kept = self.data.label_days or 0, self.serve.capture_days
        if not self.serve.capture or kept > needed:
            return ""
        return (
            f"serve.capture_days is {kept} and data.label_days {needed}: captures are deleted before their labels are "
            "known, so performance can never be measured"
        )


def model() -> type[Params]:
    """Return the type of the current project's params.yaml: its own section `model`, and what its serving needs."""
    chosen = config.current()
    section = problem.module("parameters").ModelParams
    unused = [*(() if chosen.online else ("serve", "deploy")), *(() if chosen.batch else ("score",))]
    return _model(section, tuple(unused))


@lru_cache
def _model(section: type[BaseModel], unused: tuple[str, ...]) -> type[Params]:
    class ProjectParams(Params):
        @model_validator(mode="before")
        @classmethod
        def _has_no_unused_section(cls, content: Any) -> Any:
            for name in unused:
                if isinstance(content, dict) and name in content:
                    mode = "batch" if name == "score" else "online"
                    raise ValueError(f"the section {name} is of projects whose `serving` has {mode}, in pyproject.toml")
            return content

        @model_validator(mode="after")
        def _captures_outlive_labels(self) -> ProjectParams:
            if self.monitor.labels and "serve" not in unused and self.forgets_too_early:
                raise ValueError(f"monitor.labels is set, but {self.forgets_too_early}")
            return self

    return create_model("ProjectParams", __base__=ProjectParams, model=(section, ...))


def load(path: Path | None = None) -> Params:
    """Read and check params.yaml.

    Args:
        path: another file of this form; None: the current project's.

    Raises:
        ProjectError: the file is missing, is not YAML, has an unknown or missing key, or a value
            that is out of range; the message names each key, its value and what is allowed.
    """
    path = path or paths().params
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
        return model().model_validate(content)
    except ValidationError as error:
        lines = [_explain(detail["loc"], detail["msg"], detail["type"], detail["input"]) for detail in error.errors()]
        raise ProjectError(
            f"{origin} is not valid:\n" + "\n".join(f"  - {line}" for line in lines),
            hint="engine/docs/parameters.md explains every key.",
        ) from error


def change(section: str, values: Mapping[str, object]) -> None:
    """Write values into a section of the current project's params.yaml; comments stay as they are."""
    path = paths().params
    text = edited(path.read_text(encoding="utf-8"), {section: values})
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")


def _explain(location: tuple[int | str, ...], message: str, kind: str, value: object) -> str:
    key = ".".join(str(part) for part in location) or "the file"
    if kind == "extra_forbidden":
        return f"{key}: there is no such key{_suggestion(location)}."
    if kind == "missing":
        return f"{key}: is missing."
    if isinstance(value, dict):  # of settings that do not go together: the message names them
        return f"{key}: {message.removeprefix('Value error, ')}."
    return f"{key}: {value!r} is not allowed. {message}."


def _suggestion(location: tuple[int | str, ...]) -> str:
    from difflib import get_close_matches

    section: type[BaseModel] = model()
    for part in location[:-1]:
        annotation = section.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ""
        section = annotation
    names = list(section.model_fields)
    near = get_close_matches(str(location[-1]), names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else f" (known here: {', '.join(names)})"


def edited(text: str, changes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of a params.yaml with other values; comments and order stay as they are.

    Args:
        text: of the file.
        changes: by section, the values by key.
    """
    from ruamel.yaml import YAML

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    editor.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(YAML_NULL, "null"))
    content = editor.load(text)
    for section, values in changes.items():
        content[section].update(values)
    written = io.StringIO()
    editor.dump(content, written)
    return written.getvalue()


def as_flat(params: Params) -> dict[str, str | int | float | bool | None]:
    """Return the parameters as one flat mapping, `gate.threshold` and so on, for the tracking server."""
    flat: dict[str, str | int | float | bool | None] = {}
    for key, value in params.model_dump().items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": item for inner, item in value.items()})
        else:
            flat[key] = value
    return flat
