"""What jobs and services get of the cluster: infra/machines.yaml, checked."""

from __future__ import annotations

from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.paths import paths

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
Cpu = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]{1,3})?|[0-9]+m)$")]
Bytes = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(Mi|Gi|Ti|M|G|T)$")]
GPU = "nvidia.com/gpu"


class Section(BaseModel):
    """A section of machines.yaml; a key it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Pod(Section):
    """What a pod gets."""

    cpu: Cpu
    memory: Bytes
    gpus: int = Field(default=0, ge=0)

    @property
    def resources(self) -> dict[str, Any]:
        """Requests and limits. A limit of the processor would slow a pod where nobody else needs it."""
        gpus = {GPU: str(self.gpus)} if self.gpus else {}
        return {"requests": {"cpu": self.cpu, "memory": self.memory, **gpus}, "limits": {"memory": self.memory, **gpus}}


class Job(Pod):
    """The pod of a step that begins and ends."""

    disk: Bytes  # of the node, which the step may fill
    hours: float = Field(gt=0, le=240)

    @property
    def seconds(self) -> int:
        """After which it is stopped."""
        return int(self.hours * 3600)


class Scheduled(Job):
    """The pod that scores."""

    schedule: str = Field(pattern=r"^\S+ \S+ \S+ \S+ \S+$")  # as cron has it
    time_zone: str = "Etc/UTC"


class Service(Pod):
    """The pods of a service."""

    least: int = Field(ge=1)
    most: int = Field(ge=1)
    cpu_percent: int = Field(default=70, ge=1, le=100)  # of what is requested; beyond, there are more pods
    surge: bool = True  # new pods beside all old ones; without it one is replaced after the other, for scarce GPUs

    @property
    def scales(self) -> bool:
        """Whether the number of pods follows the requests: then infra/environment makes an autoscaler."""
        return self.most > self.least

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.most < self.least:
            raise ValueError(f"most ({self.most}) is less than least ({self.least})")
        return self


class Machines(Section):
    """machines.yaml."""

    training: Job
    scoring: Scheduled | None = None
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
    def scores(self) -> Scheduled:
        """The pod that scores."""
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
