"""The code host is set up once, in steps that can be taken back."""

import pytest
from twoloops.contracts.host import SetupRequest, State, Step
from twoloops.errors import ProjectError

from tests.engine.support.hosting import Host
from tests.engine.support.project import Project
from tests.engine.support.verbs import call


class Made:
    """A code host's settings, and what is remembered of them."""

    def __init__(self) -> None:
        self.there = {"label drift"}
        self.note: list[str] = []
        self.in_the_way: list[str] = []

    def preflight(self) -> list[str]:
        return self.in_the_way

    def list_made(self) -> list[str]:
        return list(self.note)

    def plan(self, wanted: SetupRequest) -> list[Step]:
        names = ["label drift", *[f"environment {name}" for name in wanted.environments]]
        return [self._step(name) for name in names]

    def _step(self, name: str) -> Step:
        state = State.there if name in self.there else State.missing
        return Step(name, "", state, lambda: self.there.add(name), lambda: self.there.remove(name))

    def save_made(self, names: list[str]) -> None:
        self.note = list(names)


@pytest.fixture
def settings(bare_project: Project, hosted: Host) -> Made:
    bare_project.configure(host="stand_in")
    hosted.settings = Made()
    return hosted.settings


def test_bootstrap_is_planned_done_once_and_undone(settings: Made) -> None:
    before = set(settings.there)
    planned = call("bootstrap", "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert "missing" in planned.output
    assert settings.there == before
    assert call("bootstrap", "--yes").exit_code == 0
    assert settings.there > before
    assert "Everything is there." in call("bootstrap", "--yes").output
    assert call("bootstrap", "--undo", "--yes").exit_code == 0
    assert settings.there == before, "what was there before is left alone"
    assert settings.note == []


def test_bootstrap_says_what_stands_in_the_way(settings: Made) -> None:
    settings.in_the_way = ["The login has expired: make a new token."]
    told = call("bootstrap", "--yes")
    assert isinstance(told.exception, ProjectError)
    assert "expired" in str(told.exception)
    relative = call("bootstrap", "--state", "here")
    assert "absolute path" in str(relative.exception)
