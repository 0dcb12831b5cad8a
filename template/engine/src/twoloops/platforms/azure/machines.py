"""The machines of jobs and services: infra/machines.yaml, checked."""

from __future__ import annotations

from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.paths import paths

Machine = Annotated[str, Field(pattern=r"^Standard_[A-Za-z0-9_]+$")]


class Section(BaseModel):
    """A section of machines.yaml; a key it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Job(Section):
    """The machines of steps that begin and end; Terraform makes a cluster of them, which has none while none works."""

    machine: Machine
    most: int = Field(default=1, ge=1, le=100)  # machines at the same time
    hours: float = Field(gt=0, le=720)

    @property
    def limit(self) -> str:
        """After which a step is stopped, as ISO 8601 writes it."""
        return f"PT{int(self.hours * 3600)}S"


class Scoring(Job):
    """The machines of the step that scores, and when it begins."""

    schedule: str = Field(pattern=r"^(\S+ ){4}\S+$")  # five fields of cron, UTC


class Service(Section):
    """The machines of an endpoint."""

    machine: Machine
    count: int = Field(ge=1, le=50)  # of the stable version; a canary has one
    concurrent_requests: int = Field(default=16, ge=1, le=1000)  # of one machine; beyond twice that, Azure answers 429


class Machines(Section):
    """machines.yaml."""

    training: Job
    scoring: Scoring | None = None
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
    def scores(self) -> Scoring:
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
