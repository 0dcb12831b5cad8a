"""What jobs and services get of the cluster: infra/machines.yaml, checked."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from twoloops.platforms.shared import machines as shared

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
Cpu = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]{1,3})?|[0-9]+m)$")]
Bytes = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(Mi|Gi|Ti|M|G|T)$")]
GPU = "nvidia.com/gpu"


class Pod(shared.Section):
    """What a pod gets."""

    model_config = ConfigDict(coerce_numbers_to_str=True)  # YAML takes `cpu: 2` for a number

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


class Machines(shared.Machines):
    """machines.yaml."""

    training: Job
    scoring: Scheduled | None = None
    serving: dict[str, Service] = Field(default_factory=dict)

    @property
    def scores(self) -> Scheduled:
        """The pod that scores."""
        if self.scoring is None:
            raise ValueError("this project scores no tables")
        return self.scoring


def load() -> Machines:
    """Read infra/machines.yaml; `shared.machines.load` tells more."""
    return shared.load(Machines)
