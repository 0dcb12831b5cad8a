"""Steps of the loop and the scoring as Jobs of a cluster."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twoloops import registry
from twoloops.contracts.graph import Graph, Step
from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes import cluster, jobs, loop, machines, pods, scoring, store
from twoloops.platforms.shared.loop import PARAMETERS

from tests.support.kubernetes import subject as own
from tests.support.kubernetes.server import StandIn


def start(*programs: str, name: str = "train-abc-1") -> str:
    """Start a Job of Python programs."""
    containers = [
        pods.container(
            f"step-{number}",
            "image@sha256:0",
            ["-c", program],
            command=[sys.executable],
            environment={"SAID": "something"},
            resources=machines.load().training.resources,
            mounts={},
        )
        for number, program in enumerate(programs, 1)
    ]
    spec = jobs.template("training", "training", containers, machines.load().training)
    return jobs.start(cluster.api(), own.NAME, name, name.rpartition("-")[0], "training", spec)


def wait(name: str, told: list[str]) -> jobs.Ended:
    return jobs.wait(cluster.api(), own.NAME, name, told.append)


def test_steps_run_one_after_the_other(project: Path) -> None:
    told: list[str] = []
    first = "import os, pathlib; pathlib.Path('order').write_text(os.environ['SAID'])"
    name = start(first, "import pathlib; print(pathlib.Path('order').read_text() + '!')")
    assert wait(name, told) == jobs.Ended(True)
    assert [line.split(":")[0] for line in told if "succeeded" in line] == ["step-1", "step-2"]


def test_a_step_that_fails_ends_the_job_with_its_log(project: Path) -> None:
    name = start("print('the reason'); raise SystemExit(3)", "print('never')")
    ended = wait(name, [])
    assert (ended.succeeded, ended.step, ended.reason, list(ended.log)) == (
        False,
        "step-1",
        "exit code 3",
        ["the reason"],
    )
    error = jobs.explain_failure(name, ended)
    assert str(error) == "The step step-1 failed on the platform: exit code 3\n  the reason"
    assert f"kubectl logs job/{name} --container step-1" in error.hint


def test_what_is_under_way_is_taken_up_and_what_has_ended_is_counted(project: Path) -> None:
    api = cluster.api()
    assert jobs.find_attempt(api, own.NAME, "train-abc") == jobs.Attempt("train-abc-1", None)
    name = start("import time; time.sleep(0.5)")
    assert jobs.find_attempt(api, own.NAME, "train-abc") == jobs.Attempt(name, name)
    start("raise SystemExit('it is not started twice')")
    assert wait(name, []).succeeded
    assert jobs.find_attempt(api, own.NAME, "train-abc") == jobs.Attempt("train-abc-2", None)
    assert jobs.find_attempt(api, own.NAME, "train-other") == jobs.Attempt("train-other-1", None)


def test_ctrl_c_ends_the_job(project: Path, running: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    name = start("import time; time.sleep(60)")
    monkeypatch.setattr(jobs, "STOP_GRACE_SECONDS", 0.0)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "_watch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        wait(name, [])
    assert running.store.list("jobs") == []
    own.until(lambda: running.store.list("pods") == [])


def test_an_image_that_cannot_be_pulled(project: Path, running: StandIn) -> None:
    running.node.no_image.add("image@sha256:0")
    with pytest.raises(ProjectError, match=r"cannot pull the image of step-1: Back-off"):
        wait(start("print()"), [])


def test_a_graph_becomes_containers_in_its_order(project: Path) -> None:
    graph = Graph((Step("prepare", ("churn prepare",)), Step("My_Step@eu", ("churn train",)), Step("last", ("true",))))
    spec = loop.define(graph, dict.fromkeys(PARAMETERS, "value"))["template"]["spec"]
    names = [each["name"] for each in (*spec["initContainers"], *spec["containers"])]
    assert names[0] == "prepare"
    assert names[1].startswith("my-step-eu-")
    assert names[2] == "last"
    assert [each["args"][1] for each in spec["initContainers"]] == ["prepare", "My_Step@eu"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["restartPolicy"] == "Never"


def test_a_queue_holds_jobs(project: Path, running: StandIn) -> None:
    own.settle(running.admin, {}, queue="team")
    start("print()")
    (found,) = running.store.list("jobs")
    assert found["spec"]["suspend"] is True
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"


def test_scoring_follows_the_champion(project: Path, running: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    version = registry.Version("7", "run", {"model_identity": "a" * 64}, "2026-01-01")

    @contextmanager
    def download(uri: str, identity: str | None = None) -> Any:
        yield project

    monkeypatch.setattr(registry, "download", download)
    monkeypatch.setattr(scoring, "find_source", lambda *_: "s3://somewhere/rows.parquet")
    monkeypatch.setattr(scoring, "upload_model", lambda *_: f"{own.HOME}/models/a")
    with pytest.raises(ProjectError, match="No version scores") as refused:
        scoring.run(print)
    assert "promote" in refused.value.hint
    for _ in range(2):
        scoring.schedule(version)
    (found,) = running.store.list("cronjobs")
    assert (found["spec"]["schedule"], found["spec"]["timeZone"]) == ("0 3 * * *", "Etc/UTC")
    pod = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"][:2] == ["s3://somewhere/rows.parquet", f"{own.HOME}/predictions/production"]
    assert {"name": "MODEL_VERSION", "value": "7"} in container["env"]
    assert scoring.exists("production")
    assert not scoring.exists("staging")
    store.upload_bytes(b'{"rows": 3}', f"{own.HOME}/predictions/production/summary.json")
    container["command"], container["args"] = [sys.executable], ["-c", "print()"]
    running.admin.call("PUT", f"/apis/batch/v1/namespaces/churn-production/cronjobs/{found['metadata']['name']}", found)
    assert scoring.run(print) == {"target": f"{own.HOME}/predictions/production", "summary": {"rows": 3}}
    scoring.remove("production")
    assert not scoring.exists("production")
