"""The machines of jobs and services: infra/machines.yaml, checked."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from twoloops.platforms.shared import machines as shared
from twoloops.platforms.shared.machines import Section

Machine = Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$")]


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


class Machines(shared.Machines):
    """machines.yaml."""

    training: Job
    scoring: Job | None = None
    serving: dict[str, Service] = Field(default_factory=dict)

    @property
    def scores(self) -> Job:
        """The machine of the step that scores."""
        if self.scoring is None:
            raise ValueError("this project scores no tables")
        return self.scoring


def load() -> Machines:
    """Read infra/machines.yaml; `shared.machines.load` tells more."""
    return shared.load(Machines)
