"""Services on a real API server: what users see of a change, and what goes wrong, in words."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter

import pytest
from twoloops.artifact import Predictor
from twoloops.contracts.client import Answer, SilentError
from twoloops.contracts.release import Deployment, UnfitError
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.platforms import kubernetes
from twoloops.platforms.kubernetes import images

from tests.engine.platforms.conformance import LAST, Subject
from tests.support.kubernetes.cluster import Cluster

# A cluster, and services with models. What the stand-in beside the engine shows, shown on the real thing.
pytestmark = [pytest.mark.slow, pytest.mark.twin]
SPACE = "churn-production"
BUDGET_SECONDS = 10.0  # of a change, on a quiet machine
LEAST_REQUESTS = 2000


class Load:
    """Requests from several clients until it is ended."""

    def __init__(self, clients: int = 4) -> None:
        predictor = Predictor.load(str(paths().model))
        (row,) = predictor.problem.draw_requests(predictor.reference, predictor.signature, 1, 0)
        self.body = json.dumps(row).encode()
        self.seen: Counter[str] = Counter()
        self.ended = threading.Event()
        self.endpoint = kubernetes.endpoint(LAST)
        self.threads = [threading.Thread(target=self._send, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def _send(self) -> None:
        with self.endpoint.connect() as client:
            while not self.ended.is_set():
                try:
                    answer: Answer | None = client.send("POST", "/predict", self.body)
                except SilentError as error:
                    answer = None
                    self.seen[str(error)[:200]] += 1
                if answer:
                    self.seen[str(answer.status)] += 1
                time.sleep(0.01)

    def until(self, count: int, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while self.seen.total() < count:
            assert time.monotonic() < deadline, self.seen
            time.sleep(0.1)

    def end(self) -> Counter[str]:
        self.ended.set()
        for thread in self.threads:
            thread.join(30)
        return self.seen


def test_no_request_is_lost_from_canary_to_rollback(subject: Subject) -> None:
    stable, other = Deployment(subject.release()), Deployment(subject.release("2"))
    kubernetes.deploy(LAST, stable)
    load, took = Load(), {}
    changes = {
        "canary": Deployment(subject.release(), subject.release("2"), 0.3),
        "all requests": other,
        "rollback": stable,
    }
    for name, wanted in changes.items():
        began = time.monotonic()
        kubernetes.deploy(LAST, wanted)
        took[name] = time.monotonic() - began
    load.until(LEAST_REQUESTS)
    seen = load.end()
    print(took, seen)
    assert set(seen) == {"200"}
    assert seen.total() >= LEAST_REQUESTS


def test_an_image_that_cannot_be_pulled(subject: Subject, running: Cluster) -> None:
    stable = Deployment(subject.release())
    kubernetes.deploy(LAST, stable)
    running.node.no_image.add(images.reference("serve"))
    try:
        with pytest.raises(ProjectError, match="cannot pull the image") as refused:
            kubernetes.deploy(LAST, Deployment(subject.release("2")))
    finally:
        running.node.no_image.clear()
    assert not isinstance(refused.value, UnfitError)
    assert "image_pull_secret" in refused.value.hint
    assert kubernetes.deployment(LAST) == stable
    assert subject.ask(LAST) == ["1"]


def test_pods_that_crash(subject: Subject, running: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    stable = Deployment(subject.release())
    kubernetes.deploy(LAST, stable)
    monkeypatch.setitem(running.node.environment, "PYTHONHASHSEED", "no number")  # no Python begins with it
    with pytest.raises(UnfitError, match=r"(?s)do not come up: fetch .*PYTHONHASHSEED"):
        kubernetes.deploy(LAST, Deployment(subject.release("2")))
    assert kubernetes.deployment(LAST) == stable
    assert subject.ask(LAST) == ["1"]


def test_a_quota_that_is_used_up(subject: Subject, running: Cluster) -> None:
    stable = Deployment(subject.release())
    kubernetes.deploy(LAST, stable)
    path = f"/api/v1/namespaces/{SPACE}/resourcequotas"
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}}
    running.admin.create(path, quota)
    try:
        with pytest.raises(ProjectError, match="exceeded quota") as refused:
            kubernetes.deploy(LAST, Deployment(subject.release("2")))
    finally:
        running.admin.delete(f"{path}/few")
    assert "surge: false" in refused.value.hint
    assert kubernetes.deployment(LAST) == stable
    assert subject.ask(LAST) == ["1"]


def test_a_change_by_hand_is_told_and_put_back(subject: Subject, running: Cluster) -> None:
    stable = Deployment(subject.release())
    kubernetes.deploy(LAST, stable)
    path = f"/apis/apps/v1/namespaces/{SPACE}/deployments/churn?fieldManager=kubectl-edit"
    by_hand = {"spec": {"template": {"metadata": {"labels": {"who": "me"}}}}}
    running.admin.call("PATCH", path, by_hand, "application/merge-patch+json")
    found = kubernetes.status(LAST)
    assert found is not None
    assert found.problem is not None
    assert "changed it by hand with kubectl-edit" in found.problem
    kubernetes.deploy(LAST, stable)
    after = kubernetes.status(LAST)
    assert after is not None
    assert after.problem is None
    labels = running.admin.call("GET", path.partition("?")[0])["spec"]["template"]["metadata"]["labels"]
    assert "who" not in labels
