"""The rights of roles.tf are those that the verbs use: none is missing, and none is there for nothing."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from twoloops import registry
from twoloops.contracts.graph import Graph, Step
from twoloops.contracts.release import Deployment
from twoloops.errors import ProjectError
from twoloops.platforms import kubernetes
from twoloops.platforms.kubernetes import cluster, jobs, loop, scoring
from twoloops.platforms.shared.loop import PARAMETERS

from tests.support.kubernetes import subject as own
from tests.support.kubernetes.roles import rules
from tests.support.kubernetes.server import StandIn

from .conftest import make_release

LAST = "production"
Right = tuple[str, str, str]  # group, resource and verb


def given(*lists: str) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in rules(*lists)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(running: StandIn, user: str, space: str) -> set[Right]:
    return {right[2:] for right in running.store.rights if right[:2] == (user, space)}


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let somebody press Ctrl-C while a Job is waited for, after its first step has begun."""
    watch = jobs._watch
    monkeypatch.setattr(jobs, "STOP_GRACE_SECONDS", 0.0)

    def interrupt(*given: Any) -> jobs.Ended:
        ended = watch(*given)
        if not ended.succeeded:
            raise KeyboardInterrupt
        return ended

    monkeypatch.setattr(jobs, "_watch", interrupt)


@pytest.mark.usefixtures("interrupted")
def test_who_deploys(project: Path, running: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, broken = make_release("1"), make_release("2"), make_release("3", "broken")

    @contextmanager
    def download(uri: str, identity: str | None = None) -> Any:
        yield project

    monkeypatch.setattr(registry, "download", download)
    monkeypatch.setattr(scoring, "find_source", lambda *_: "s3://somewhere/rows.parquet")
    monkeypatch.setattr(scoring, "upload_model", lambda *_: f"{own.HOME}/models/a")
    # A program that fails in place of the scoring.
    monkeypatch.setattr(scoring, "PROGRAM", [sys.executable, "-c", "raise SystemExit('no table')"])
    with monkeypatch.context() as patch:
        patch.setenv("KUBECONFIG", str(running.kubeconfig("deploy")))
        cluster.forget()
        with kubernetes.lock("A job"):
            kubernetes.deploy(LAST, Deployment(one))
            kubernetes.deploy(LAST, Deployment(one, two, 0.5))
            with kubernetes.endpoint(LAST).connect() as client:
                client.send("POST", "/predict", b"{}")
                client.send("GET", "/health/ready")
            kubernetes.traffic(LAST)
            by_hand = {"spec": {"template": {"metadata": {"labels": {"who": "me"}}}}}
            path = f"/apis/apps/v1/namespaces/{own.SPACES[LAST]}/deployments/churn"
            running.admin.call("PATCH", f"{path}?fieldManager=kubectl", by_hand, "application/merge-patch+json")
            with pytest.raises(ProjectError):
                kubernetes.deploy(LAST, Deployment(broken))
            kubernetes.status(LAST)
        with suppress(KeyboardInterrupt):
            scoring.schedule(registry.Version("7", "run", {"model_identity": "a" * 64}, "2026-01-01"))
            scoring.run(print)
        with kubernetes.lock("A second job"):
            kubernetes.stop(LAST)
            kubernetes.remove(LAST)
    cluster.forget()
    assert used(running, "deploy", own.SPACES[LAST]) == given("deploy_rules", "deployment_rules")
    assert used(running, "deploy", own.NAME) == given("settings_right", "lock_rules")


def test_who_deploys_with_kserve(by_kserve: Path, running: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, broken = make_release("1"), make_release("2"), make_release("3", "broken")
    with monkeypatch.context() as patch:
        patch.setenv("KUBECONFIG", str(running.kubeconfig("deploy")))
        cluster.forget()
        kubernetes.deploy(LAST, Deployment(one))
        kubernetes.deploy(LAST, Deployment(one, two, 0.5))
        with kubernetes.endpoint(LAST).connect() as client:
            assert {str(client.send("POST", "/predict", b"{}").json()["model_version"]) for _ in range(20)} == {
                "1",
                "2",
            }
            client.send("GET", "/health/ready")
        with pytest.raises(ProjectError, match="do not come up"):
            kubernetes.deploy(LAST, Deployment(broken))
        found = kubernetes.status(LAST)
        assert found is not None
        assert (found.ready, found.stable, found.canary, found.problem) == (True, "1", "2", None)
        assert set(kubernetes.traffic(LAST)) == {"1", "2"}
        kubernetes.stop(LAST)
        assert kubernetes.status(LAST) is None
        assert kubernetes.deployment(LAST) == Deployment(one, two, 0.5), "what it would run stays known"
        kubernetes.remove(LAST)
    cluster.forget()
    assert running.store.list("deployments") == []
    asked, may = used(running, "deploy", own.SPACES[LAST]), given("deploy_rules", "kserve_rules")
    assert {right for right in asked if right[0] != "batch"} == {right for right in may if right[0] != "batch"}


def looked(running: StandIn, monkeypatch: pytest.MonkeyPatch) -> set[Right]:
    """Deploy to production, look at it as who deploys elsewhere does, and return the rights that this took."""
    kubernetes.deploy(LAST, Deployment(make_release("1")))
    with monkeypatch.context() as patch:
        patch.setenv("KUBECONFIG", str(running.kubeconfig("look")))
        cluster.forget()
        assert kubernetes.deployment(LAST) is not None
        assert kubernetes.status(LAST) is not None
    cluster.forget()
    kubernetes.remove(LAST)
    return used(running, "look", own.SPACES[LAST])


def test_who_deploys_elsewhere_looks(project: Path, running: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    kserve = {right for right in given("look_rules") if right[1] == "inferenceservices"}
    assert looked(running, monkeypatch) == given("look_rules") - kserve


def test_who_deploys_elsewhere_looks_at_kserve(
    by_kserve: Path, running: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert looked(running, monkeypatch) == given("look_rules")


@pytest.mark.usefixtures("interrupted")
def test_who_trains(project: Path, running: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PROGRAM", [sys.executable, "-c", "raise SystemExit('no data')"])
    with monkeypatch.context() as patch:
        patch.setenv("KUBECONFIG", str(running.kubeconfig("train")))
        cluster.forget()
        runner, graph = loop.Jobs(), Graph((Step("train", ("churn train",)),))
        attempt = runner.find_attempt("abc")
        with suppress(KeyboardInterrupt):
            runner.wait(runner.start(attempt.name, graph, dict.fromkeys(PARAMETERS, "value")), print)
    cluster.forget()
    assert used(running, "train", own.NAME) == given("settings_right", "train_rules")
    assert {right[1] for right in running.store.rights if right[0] == "train"} == {own.NAME}
