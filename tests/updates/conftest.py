"""What the proof shares: the history of the template, made once for all test processes, and a quick git."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extensions.update import updating
from tests.conftest import shared_project

from . import history as past
from .projects import Answers, Update
from .warm import warm_copier

# An update is a hundred calls of git in new repositories, which need no samples of hooks and no flushed disk.
QUICK_GIT = {
    "GIT_TEMPLATE_DIR": "",
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "core.fsync",
    "GIT_CONFIG_VALUE_0": "none",
    "GIT_CONFIG_KEY_1": "gc.auto",
    "GIT_CONFIG_VALUE_1": "0",
}


@pytest.fixture(scope="module", autouse=True)
def quick_git() -> Iterator[None]:
    """Set up git for the tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK_GIT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> past.History:
    """Return the template with its releases and the working tree as the candidate for the next one."""
    return past.at(shared_project(tmp_path_factory, "history", past.make))


@pytest.fixture(scope="session")
def warm() -> Iterator[tuple[str, ...]]:
    """Return Copier's command without its start-up."""
    with tempfile.TemporaryDirectory() as folder, warm_copier(folder) as command:
        yield command


@pytest.fixture(scope="session")
def engine(warm: tuple[str, ...]) -> Update:
    """Return the project's own way to update, onto the branch that it makes; it returns what it tells."""

    def update(project: Path, to: str = past.CANDIDATE, answers: Answers | None = None) -> Any:
        told = updating.merge(project, to=to.removeprefix("v"), answers=answers, copier=warm)
        assert told is not None
        updating.switch(project, told)
        return told

    return update
