"""The machines of jobs and services: infra/machines.yaml, checked."""

from __future__ import annotations

from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.paths import paths

Machine = Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$")]


class Section(BaseModel):
    """A section of machines.yaml; a key it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Job(Section):
    """The machine of a step that begins and ends."""

    machine: Machine
    volume_gb: int = Field(ge=1, le=16384)
    hours: float = Field(gt=0, le=120)  # SageMaker's own limit is five days

    @property
    def seconds(self) -> int:
        """After which it is stopped."""
        return int(self.hours * 3600)


class Service(Section):
    """The machines of an endpoint."""

    machine: Machine
    least: int = Field(ge=1)
    most: int = Field(ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)  # of one machine; beyond, there are more of them

    @property
    def scales(self) -> bool:
        """Whether the number of machines follows the requests."""
        return self.most > self.least

    @model_validator(mode="after")
    def _says_when_to_scale(self) -> Self:
        if self.most < self.least:
            raise ValueError(f"most ({self.most}) is less than least ({self.least})")
        if self.scales and self.requests_per_minute is None:
            raise ValueError("requests_per_minute is missing: it says when there are more than the least")
        return self


class Machines(Section):
    """machines.yaml."""

    training: Job
    scoring: Job | None = None
    serving: dict[str, Service] = {}

    @model_validator(mode="after")
    def _serves_everywhere(self) -> Self:
        chosen = config.current()
        if chosen.online and set(self.serving) != set(chosen.environments):
            raise ValueError(f"serving must name these environments and no other: {', '.join(chosen.environments)}")
        if not chosen.online and self.serving:
            raise ValueError("serving is there, and the project has no service")
        if chosen.batch != (self.scoring is not None):
            raise ValueError(f"scoring is {'missing' if chosen.batch else 'there, and the project scores no tables'}")
        return self

    @property
    def scores(self) -> Job:
        """The machine of the step that scores."""
        if self.scoring is None:
            raise ValueError("this project scores no tables")
        return self.scoring


def load() -> Machines:
    """Read infra/machines.yaml.

    Raises:
        ProjectError: it is missing, is not YAML, or a value is not allowed.
    """
    try:
        content = yaml.safe_load(paths().machines.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProjectError(
            f"{paths().machines} does not exist.", hint="Run this in the project's folder; git restores the file."
        ) from error
    except yaml.YAMLError as error:
        raise ProjectError(
            f"{paths().machines} is not valid YAML: {error}", hint="Correct the line that is named."
        ) from error
    try:
        return Machines.model_validate(content)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors()]
        raise ProjectError(
            f"{paths().machines} is not valid:\n" + "\n".join(f"  - {line}" for line in lines),
            hint="The comments in the file and docs/cost.md explain the keys.",
        ) from error
