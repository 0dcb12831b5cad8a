"""Endpoints of Azure ML when something goes wrong: what users see, what is told, and what is taken up."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest
from twoloops import registry
from twoloops.contracts.release import Deployment, UnfitError
from twoloops.errors import ProjectError
from twoloops.platforms import azure
from twoloops.platforms.azure import endpoints, rest

from tests.engine.platforms.conformance import FIRST, LAST, Subject
from tests.support.azure.subscription import EmulatedSubscription

from .conftest import NAMES, rights

PATH = f"{NAMES.workspace(FIRST)}/onlineEndpoints/{NAMES.endpoint(FIRST)}"


@pytest.fixture
def begun(subject: Subject, logged_in: EmulatedSubscription) -> Iterator[EmulatedSubscription]:
    """Return the subscription; afterwards services come up again."""
    serve = logged_in.tell()["control"]["command"]
    yield logged_in
    logged_in.control(command=serve, fail_next=[], seconds=0.1, refuse=[])
    azure.remove(FIRST)


def test_who_deploys_needs_no_more_than_the_role(subject: Subject, begun: EmulatedSubscription) -> None:
    begun.control(rights=rights("deploy/production"))
    try:
        stable = Deployment(subject.release())
        azure.deploy(LAST, stable)
        (kept,) = [each for each in begun.tell()["resources"] if "/diagnosticSettings/" in each["id"]]
        assert kept["properties"]["workspaceId"] == NAMES.logs, "where infra/modules/monitoring looks"
        azure.deploy(LAST, Deployment(subject.release(), subject.release("2"), 0.2))
        azure.deploy(LAST, stable)
        azure.follow_champion(registry.get("1"))
        assert subject.ask(LAST) == ["1"]
        assert azure.stop(LAST)
        assert azure.deployment(FIRST) is None, "it sees what runs in the other one"
        with pytest.raises(ProjectError, match="may not do that"):
            azure.deploy(FIRST, stable)
    finally:
        begun.control(rights=rights())
        azure.remove(LAST)


@pytest.mark.parametrize("code", ["OutOfCapacity", "OutOfQuota"])
def test_no_machine_is_nobodys_fault(code: str, subject: Subject, begun: EmulatedSubscription) -> None:
    begun.control(fail_next=[code, "Not enough Standard_D2as_v5 in westeurope"])
    with pytest.raises(ProjectError, match="Azure has no machine for v1-") as refused:
        azure.deploy(FIRST, Deployment(subject.release()))
    assert not isinstance(refused.value, UnfitError)
    assert "machines.yaml" in refused.value.hint
    assert azure.deployment(FIRST) is None
    assert not endpoints.exists(FIRST), "what did not come up is gone"


def test_the_last_words_of_a_container_are_told(subject: Subject, begun: EmulatedSubscription) -> None:
    begun.control(command=[sys.executable, "-c", "import sys; print('no such model'); sys.exit(3)"])
    with pytest.raises(UnfitError, match=r"(?s)did not come up, and nothing runs there: .*\n  no such model"):
        azure.deploy(FIRST, Deployment(subject.release()))


def test_a_change_that_was_cut_off_ends_first(subject: Subject, begun: EmulatedSubscription) -> None:
    """Whoever began it is dead; Azure goes on with it, and would refuse another one meanwhile."""
    begun.control(seconds=2.0)
    thread = threading.Thread(target=rest.change, args=("PUT", PATH, endpoints._endpoint(FIRST)))
    thread.start()
    begun_by_another = [each for each in begun.tell()["resources"] if each["id"] == PATH]
    while not begun_by_another:
        begun_by_another = [each for each in begun.tell()["resources"] if each["id"] == PATH]
    assert begun_by_another[0]["properties"]["provisioningState"] == "Creating"
    begun.control(seconds=0.1, fail_next=["OutOfCapacity", "as is seen only when it came so far"])
    with pytest.raises(ProjectError, match="as is seen only when it came so far"):
        azure.deploy(FIRST, Deployment(subject.release()))
    thread.join()


def test_somebody_elses_change_is_told(subject: Subject, begun: EmulatedSubscription) -> None:
    write = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/write"
    begun.refuse(write, 409, "Conflict", "There is already an operation in progress.")
    with pytest.raises(ProjectError, match="another change of it is under way") as refused:
        azure.deploy(FIRST, Deployment(subject.release()))
    assert "run the same verb again" in refused.value.hint
