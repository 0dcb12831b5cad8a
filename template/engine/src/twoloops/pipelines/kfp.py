"""The graph as a pipeline of Kubeflow Pipelines, which Vertex AI runs as well: its intermediate representation.

It is plain data, schema 2.1.0 of
https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto, and so a project needs no SDK. Each
step is a container, and begins when those before it have succeeded. Nothing is taken from a cache: what a step reads
is not among its parameters, so a cache would return what was made of other data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twoloops.contracts.graph import Graph, Step, label

SCHEMA: Final = "2.1.0"
SDK: Final = "twoloops"  # what made it, for people: the servers ask for the schema's version alone


@dataclass(frozen=True)
class Container:
    """What runs a step."""

    image: str
    command: Sequence[str]
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)  # nothing secret: all who may look at a run read it
    cpu: str | None = None  # as Kubernetes writes it, such as 500m
    memory: str | None = None  # such as 4Gi; asked for, and the limit
    accelerator: str | None = None  # such as nvidia.com/gpu
    accelerators: int = 0

    def describe(self) -> dict[str, Any]:
        """Return it as the representation has it."""
        resources: dict[str, Any] = {}
        if self.cpu:
            resources["resourceCpuRequest"] = self.cpu
        if self.memory:
            resources |= {"resourceMemoryRequest": self.memory, "resourceMemoryLimit": self.memory}
        if self.accelerator and self.accelerators:
            kind = {"resourceType": self.accelerator, "resourceCount": str(self.accelerators)}
            resources["accelerator"] = kind
        return {
            "image": self.image,
            "command": list(self.command),
            "args": list(self.arguments),
            "env": [{"name": name, "value": value} for name, value in self.environment.items()],
            **({"resources": resources} if resources else {}),
        }


def compile_graph(name: str, graph: Graph, container: Callable[[Step], Container]) -> dict[str, Any]:
    """Return the specification of a pipeline with a task for each step of a graph.

    Args:
        name: of the pipeline, in a-z, 0-9 and hyphens.
        graph: the steps.
        container: returns what runs a step.
    """
    names = {step.name: label(step.name) for step in graph.steps}
    return {
        "schemaVersion": SCHEMA,
        "sdkVersion": SDK,
        "pipelineInfo": {"name": name},
        "components": {f"comp-{names[step.name]}": {"executorLabel": executor(step)} for step in graph.steps},
        "deploymentSpec": {
            "executors": {executor(step): {"container": container(step).describe()} for step in graph.steps}
        },
        "root": {
            "dag": {
                "tasks": {
                    names[step.name]: {
                        "taskInfo": {"name": step.name},
                        "componentRef": {"name": f"comp-{names[step.name]}"},
                        "cachingOptions": {},
                        **_order([names[each] for each in graph.before(step)]),
                    }
                    for step in graph.steps
                }
            }
        },
    }


def _order(before: list[str]) -> dict[str, Any]:
    return {"dependentTasks": before} if before else {}


def executor(step: Step) -> str:
    """Return the label of the executor that runs a step."""
    return f"exec-{label(step.name)}"
