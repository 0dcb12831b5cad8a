"""The loop as runs of Kubeflow Pipelines, by its REST interface behind the API server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twoloops.contracts.graph import Graph, Step
from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes import cluster, kubeflow, loop
from twoloops.platforms.shared.loop import CODE_VERSION, IMAGE, PARAMETERS, RUN, TRACKING, Attempt

from tests.support.kubernetes import subject as own
from tests.support.kubernetes.kubeflow import SERVICE, SPACE, Run
from tests.support.kubernetes.kubeflow import kubeflow as serving
from tests.support.kubernetes.server import StandIn

VALUES = dict.fromkeys(PARAMETERS, "value") | {
    RUN: "s3://bucket/run",
    IMAGE: "registry.example.com/churn@sha256:0",
    CODE_VERSION: "1",
    TRACKING: "https://mlflow.example.com",
}
# Programs in place of a step's own: their words are the run's folder and the step's name.
SAYS = "import os, sys; print(sys.argv[1:], os.environ['CODE_VERSION'], os.environ['MLFLOW_TRACKING_URI'])"
FAILS = "import sys; print('the reason'); sys.exit(sys.argv[2] == 'train')"
GRAPH = Graph(
    (
        Step("prepare", ("churn prepare",), writes=("data/prepared",)),
        Step("train", ("churn train",), reads=("data/prepared",), writes=("artifacts/model",)),
    )
)


@pytest.fixture
def runs(project: Path, running: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Run]]:
    with serving(running.admin) as (port, found):
        running.store.outside[SPACE, SERVICE] = port
        own.settle(running.admin, {}, kubeflow=f"{SPACE}/{SERVICE}")
        monkeypatch.setattr(kubeflow, "FIRST_PAUSE", 0.1)
        yield found


def run(
    program: str, told: list[str], monkeypatch: pytest.MonkeyPatch, name: str = "churn-abc-1"
) -> ProjectError | None:
    monkeypatch.setattr(loop, "PROGRAM", [sys.executable, "-c", program])
    runner = loop.Pipelines()
    return runner.wait(runner.start(name, GRAPH, VALUES), told.append)


def test_steps_run_in_their_order(runs: list[Run], running: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    assert run(SAYS, told, monkeypatch) is None
    assert [line for line in told if "succeeded" in line] == ["prepare: succeeded", "train: succeeded"]
    pods = [each["metadata"]["name"] for each in running.store.list("pods", SPACE)]
    logs = [running.node.read_log(SPACE, pod, "main", previous=False, lines=None) for pod in pods]
    words = ["1", "https://mlflow.example.com"]
    assert [str(each).split("] ")[1].split() for each in logs] == [words, words]
    assert "['s3://bucket/run', 'prepare']" in str(logs)


def test_the_log_of_the_step_that_failed(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    failure = run(FAILS, [], monkeypatch)
    assert failure is not None
    assert str(failure).endswith("The step train failed on the platform: main exited with an error\n  the reason")
    assert f"kubectl --namespace {SPACE} logs churn-abc-1-" in failure.hint


def test_what_is_under_way_is_taken_up(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PROGRAM", [sys.executable, "-c", "import time; time.sleep(0.3)"])
    monkeypatch.setattr(kubeflow, "PAGE", 1)  # of the newest runs
    runner = loop.Pipelines()
    assert runner.find_attempt("abc") == Attempt("churn-abc-1", None)
    address = runner.start("churn-abc-1", GRAPH, VALUES)
    other = runner.start("churn-other-1", GRAPH, VALUES)
    assert runner.find_attempt("abc") == Attempt("churn-abc-1", address)
    for each in (address, other):
        assert runner.wait(each, print) is None
    assert runner.find_attempt("abc") == Attempt("churn-abc-2", None)


def test_ctrl_c_ends_the_run(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubeflow, "STOP_GRACE_SECONDS", 0.0)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kubeflow.Kubeflow, "_watch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run("import time; time.sleep(60)", [], patch)
    (ended,) = runs
    own.until(lambda: ended.state == "CANCELED")
    failure = loop.Pipelines().wait(ended.id, print)
    assert "was ended" in str(failure)


def test_a_pipeline_that_is_none_is_refused_in_words(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.kfp, "SCHEMA", 3)
    with pytest.raises(ProjectError, match=r"refuses it .400.*schemaVersion"):
        loop.Pipelines().start("churn-abc-1", GRAPH, VALUES)


def test_where_there_is_none(project: Path, running: StandIn) -> None:
    with pytest.raises(ProjectError, match="nothing says where that is") as refused:
        loop.Pipelines().find_attempt("abc")
    assert "terraform.tfvars" in refused.value.hint
    own.settle(running.admin, {}, kubeflow=f"{SPACE}/{SERVICE}")
    cluster.forget()
    with pytest.raises(ProjectError, match="does not answer at kubeflow/ml-pipeline:8888"):
        loop.Pipelines().find_attempt("abc")
