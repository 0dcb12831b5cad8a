"""What a deployment does in a cluster, and what it says when the cluster does not do it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from twoloops.contracts.release import Deployment, Release, UnfitError
from twoloops.errors import ProjectError
from twoloops.params import ScanParams
from twoloops.platforms import kubernetes
from twoloops.platforms.kubernetes import images, store
from twoloops.platforms.shared.notes import Folder

from tests.support.kubernetes import subject as own
from tests.support.kubernetes.server import Controllers, Json, StandIn
from tests.support.kubernetes.subject import HOME

from .conftest import make_release

STAGING, PRODUCTION = "staging", "production"


def ask(environment: str, count: int = 1) -> list[str]:
    with kubernetes.endpoint(environment).connect() as client:
        answers = [client.send("POST", "/predict", b"{}", X_Request_ID="mine").json() for _ in range(count)]
    assert {each["id"] for each in answers} == {"mine"}
    return [each["model_version"] for each in answers]


@pytest.mark.slow
def test_a_version_its_canary_and_back(project: Path, running: StandIn) -> None:
    one, two = make_release("1"), make_release("2")
    kubernetes.deploy(PRODUCTION, Deployment(one))
    assert kubernetes.deployment(PRODUCTION) == Deployment(one)
    assert ask(PRODUCTION) == ["1"]
    both = Deployment(one, two, 0.5)
    kubernetes.deploy(PRODUCTION, both)
    assert kubernetes.deployment(PRODUCTION) == both
    found = kubernetes.status(PRODUCTION)
    assert found is not None
    assert (found.ready, found.stable, found.canary, found.share, found.problem) == (True, "1", "2", 0.5, None)
    assert set(ask(PRODUCTION, 20)) == {"1", "2"}
    counted = kubernetes.traffic(PRODUCTION)
    assert {version: each.answered for version, each in counted.items()} == {"1": 14, "2": 14}, "of two pods"
    assert len(running.store.list("configmaps", "churn-production")) == 1, "what nothing uses any more is gone"
    kubernetes.deploy(PRODUCTION, Deployment(one))
    assert set(ask(PRODUCTION, 5)) == {"1"}
    assert kubernetes.stop(PRODUCTION)
    assert kubernetes.status(PRODUCTION) is None
    assert kubernetes.deployment(PRODUCTION) == Deployment(one), "what it would run stays known"
    kubernetes.remove(PRODUCTION)
    assert kubernetes.deployment(PRODUCTION) is None
    assert running.store.list("services") == []


@pytest.mark.parametrize("broken", ["canary", "stable"])
def test_a_model_that_a_service_refuses(project: Path, broken: str) -> None:
    one, two = make_release("1"), make_release("2", "broken")
    kubernetes.deploy(STAGING, Deployment(one))
    wanted = Deployment(one, two, 0.5) if broken == "canary" else Deployment(two)
    said = "the canary cannot be loaded" if broken == "canary" else "(?s)do not come up: serve .*does not work"
    with pytest.raises(UnfitError, match=said):
        kubernetes.deploy(STAGING, wanted)
    assert kubernetes.deployment(STAGING) == Deployment(one)
    assert set(ask(STAGING, 3)) == {"1"}


def test_other_bytes_than_were_registered(project: Path) -> None:
    one = make_release("1")
    other = Release("2", make_release("3").identity[::-1], one.registered_at)

    for name in store.sizes(f"{HOME}/models/{one.identity}"):
        content = store.read_bytes(f"{HOME}/models/{one.identity}/{name}")
        store.upload_bytes(content, f"{HOME}/models/{other.identity}/{name}")
    with pytest.raises(UnfitError, match=r"(?s)fetch .*holds the model"):
        kubernetes.deploy(STAGING, Deployment(other))
    assert kubernetes.deployment(STAGING) is None, "nothing ran there, and nothing is left"


def test_an_image_that_cannot_be_pulled(project: Path, running: StandIn) -> None:
    one = make_release("1")
    kubernetes.deploy(STAGING, Deployment(one))
    running.node.no_image.add(images.reference("serve"))
    with pytest.raises(ProjectError, match="cannot pull the image") as refused:
        kubernetes.deploy(STAGING, Deployment(make_release("2")))
    running.node.no_image.clear()
    assert not isinstance(refused.value, UnfitError)
    assert ask(STAGING) == ["1"]


def test_a_change_by_hand(project: Path, running: StandIn) -> None:
    one = make_release("1")
    kubernetes.deploy(STAGING, Deployment(one))
    path = "/apis/apps/v1/namespaces/churn-staging/deployments/churn"
    by_hand = {"spec": {"template": {"metadata": {"labels": {"who": "me"}}}}}
    running.admin.call("PATCH", f"{path}?fieldManager=kubectl-edit", by_hand, "application/merge-patch+json")
    found = kubernetes.status(STAGING)
    assert found is not None
    assert "changed it by hand with kubectl-edit" in str(found.problem)
    kubernetes.deploy(STAGING, Deployment(one))
    assert "who" not in running.admin.call("GET", path)["spec"]["template"]["metadata"]["labels"]


def test_the_lock_names_who_has_it(project: Path) -> None:
    with kubernetes.lock("A deployment"):
        with pytest.raises(ProjectError, match="A deployment by ") as refused, kubernetes.lock("Another"):
            pass
        assert "60 seconds" in refused.value.hint
    with kubernetes.lock("Another"):
        pass


def test_what_the_cluster_says_of_an_earlier_change_is_no_news(
    project: Path, running: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that was cut off and never came up leaves its condition until the cluster has begun with the next."""
    one, two = make_release("1"), make_release("2")
    kubernetes.deploy(STAGING, Deployment(one))
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "too late"}
    turn, held = Controllers._deployment, time.monotonic() + 2

    def hold(controllers: Controllers, found: Json) -> None:
        if found["metadata"]["generation"] > 1 and time.monotonic() < held:
            found["status"] = {**found["status"], "observedGeneration": 1, "conditions": [late]}
        else:
            turn(controllers, found)

    monkeypatch.setattr(Controllers, "_deployment", hold)
    kubernetes.deploy(STAGING, Deployment(two))
    assert ask(STAGING) == ["2"]


def test_a_change_that_does_not_come_up_in_time(
    project: Path, running: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_release("1")
    kubernetes.deploy(STAGING, Deployment(one))
    turn = Controllers._deployment
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "too late"}

    def hold(controllers: Controllers, found: Json) -> None:
        turn(controllers, found)
        if found["metadata"]["generation"] == 2:
            found["status"] |= {"conditions": [late], "availableReplicas": 0}

    monkeypatch.setattr(Controllers, "_deployment", hold)
    with pytest.raises(ProjectError, match=r"have not come up in 300 seconds: too late") as refused:
        kubernetes.deploy(STAGING, Deployment(make_release("2")))
    assert "surge: false" in refused.value.hint
    assert kubernetes.deployment(STAGING) == Deployment(one)


def test_a_pod_that_a_node_has_given_up_does_not_count(project: Path, running: StandIn) -> None:
    one = make_release("1")
    kubernetes.deploy(STAGING, Deployment(one))
    (pod,) = running.store.list("pods", "churn-staging")
    evicted = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**pod["metadata"], "name": "evicted"},
        "spec": pod["spec"],
    }
    evicted["metadata"]["ownerReferences"] = [{**pod["metadata"]["ownerReferences"][0], "uid": "another"}]
    with running.store.lock:
        running.store.create("pods", "churn-staging", evicted)["status"] = {"phase": "Failed", "reason": "Evicted"}
    kubernetes.deploy(STAGING, Deployment(one))
    assert ask(STAGING) == ["1"]
    running.store.delete("pods", "churn-staging", "evicted")


def test_notes_are_written_once_and_read_in_their_order(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(kubernetes.records(), Folder), "versions of this machine alone"
    own.share_registry(monkeypatch)
    notes = kubernetes.records()
    for number in (1, 2):
        notes.add("trials/staging/a1", {"a": number})
    assert notes.read("trials") == notes.read("trials/staging/a1") == [{"a": 1}, {"a": 2}]
    assert notes.read("champions") == []
    url = f"{HOME}/records/once"
    assert [store.create(content, url) for content in (b"first", b"second")] == [True, False]
    assert store.read_bytes(url) == b"first"


def test_the_image_of_services_is_named_by_its_digest(project: Path) -> None:
    assert kubernetes.image(ScanParams()) == images.reference("serve")
    assert "@sha256:" in images.reference("serve")
