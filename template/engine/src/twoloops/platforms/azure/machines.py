"""The machines of jobs and services: infra/machines.yaml, checked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from twoloops.platforms.shared import machines as shared
from twoloops.platforms.shared.machines import Section

Machine = Annotated[str, Field(pattern=r"^Standard_[A-Za-z0-9_]+$")]


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


class Machines(shared.Machines):
    """machines.yaml."""

    training: Job
    scoring: Scoring | None = None
    serving: dict[str, Service] = Field(default_factory=dict)

    @property
    def scores(self) -> Scoring:
        """The machine of the step that scores."""
        if self.scoring is None:
            raise ValueError("this project scores no tables")
        return self.scoring


def load() -> Machines:
    """Read infra/machines.yaml; `shared.machines.load` tells more."""
    return shared.load(Machines)
