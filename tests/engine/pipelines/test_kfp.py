"""The graph as a pipeline of Kubeflow Pipelines: what its own reader takes, and in which order it runs."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict, ParseError
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec
from twoloops.contracts.graph import Graph, Step, label
from twoloops.pipelines.kfp import Container, compile_graph

GRAPH = Graph(
    (
        Step("prepare", ("churn prepare",), writes=("data/prepared",)),
        Step("My_Step", ("churn other",), reads=("data/prepared",), writes=("other",)),
        Step("train", ("churn train",), reads=("data/prepared", "other"), writes=("artifacts/model",)),
    )
)


def container(step: Step) -> Container:
    return Container(
        "registry.example.com/churn@sha256:0",
        ["python", "-m", "steps"],
        ["s3://bucket/run", step.name],
        {"CODE_VERSION": "1"},
        cpu="500m",
        memory="1Gi",
        accelerator="nvidia.com/gpu",
        accelerators=1,
    )


def compiled() -> dict[str, Any]:
    return compile_graph("churn-train", GRAPH, container)


def test_its_own_reader_takes_it() -> None:
    read = ParseDict(compiled(), PipelineSpec())
    assert read.pipeline_info.name == "churn-train"
    assert read.schema_version == "2.1.0"
    tasks = read.root.dag.tasks
    other = label("My_Step")
    assert {name: list(task.dependent_tasks) for name, task in tasks.items()} == {
        "prepare": [],
        other: ["prepare"],
        "train": ["prepare", other],
    }
    assert not any(task.caching_options.enable_cache for task in tasks.values()), "a cache knows nothing of the data"
    assert tasks[other].task_info.name == "My_Step"
    for task in tasks.values():
        assert read.components[task.component_ref.name].executor_label in dict(read.deployment_spec)["executors"]


def test_a_misspelt_field_would_be_seen() -> None:
    content = compiled()
    content["root"]["dag"]["tasks"]["train"]["dependantTasks"] = []
    with pytest.raises(ParseError):
        ParseDict(content, PipelineSpec())


def test_what_runs_a_step() -> None:
    executors = compiled()["deploymentSpec"]["executors"]
    assert executors["exec-train"]["container"] == {
        "image": "registry.example.com/churn@sha256:0",
        "command": ["python", "-m", "steps"],
        "args": ["s3://bucket/run", "train"],
        "env": [{"name": "CODE_VERSION", "value": "1"}],
        "resources": {
            "resourceCpuRequest": "500m",
            "resourceMemoryRequest": "1Gi",
            "resourceMemoryLimit": "1Gi",
            "accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "1"},
        },
    }


@pytest.mark.parametrize("step", ["a", "A b", "x" * 80, "under_score", "-", "\u00fcn\u00ef"])
def test_every_step_has_a_name_that_a_service_takes(step: str) -> None:
    name = label(step)
    assert len(name) <= 63
    assert name == name.lower()
    assert name.isascii()
    assert name.replace("-", "").isalnum()
    assert name.strip("-") == name


def test_no_two_steps_become_one() -> None:
    names = ["a_b", "a-b", "a b", "A-b", "a.b", "x" * 70, "x" * 71]
    assert len({label(name) for name in names}) == len(names)
