"""The monitor's verdict on the code host."""

from typing import Any

import pytest
from twoloops.delivery import episode

from tests.engine.support.hosting import Host
from tests.engine.support.project import Project
from tests.engine.support.verbs import call


@pytest.fixture(autouse=True)
def _hosted_there(project: Project, hosted: Host) -> None:
    project.configure(host="stand_in")


def found(decision: str, *, retrain: bool = False) -> dict[str, Any]:
    return {
        "decision": decision,
        "headline": f"{decision}: the world changed",
        "retrain": retrain,
        "at": "2026-01-01T00:00:00+00:00",
        "reasons": ["the world changed"],
        "cooling_until": None,
        "model": {"version": "1", "identity": "0" * 64},
        "window": {"rows": 1000},
    }


def test_an_episode_of_drift_has_one_issue(project: Project, hosted: Host) -> None:
    for result in (found("red", retrain=True), found("red"), found("waiting"), found("green"), found("green")):
        episode.respond(result, ["a line"], lambda line: None)
    assert hosted.asked == ["open drift", "start train drift: the world changed", "update", "close"]
    assert "**Verdict: green**" in hosted.summary


def test_the_monitor_has_nothing_to_watch_before_the_first_model(project: Project, hosted: Host) -> None:
    told = call("monitor", "--respond")
    assert told.exit_code == 0, told.output
    assert "nothing to watch" in told.output
    assert "nothing to watch" in hosted.summary
    assert (project.folder / "reports/monitoring/summary.md").exists(), "the flow keeps the folder as an artifact"
    assert not hosted.asked
