"""What all tests share: projects rendered from this checkout."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from extensions.git import ELSEWHERE

from .support.projects import CopyOf, Installed, commit, install, lay_out, shared_project
from .support.tools import DEMANDED, MEMORY, UV, need

__all__ = ["DEMANDED", "MEMORY", "UV", "CopyOf", "Installed", "Render", "commit", "install", "need", "shared_project"]

# The developer's own Copier settings must not answer a question.
os.environ["COPIER_SETTINGS_PATH"] = str(Path(__file__).parent / "copier-settings.yml")
# Nor must git take the repositories of the tests for the one whose hook or alias has started them.
for _name in ELSEWHERE & os.environ.keys():
    del os.environ[_name]
# What runs in the background of a shell does not hear Ctrl-C, and neither would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Render = Callable[..., Path]


@pytest.fixture
def rendered(tmp_path: Path) -> Render:
    """Return a function that lays out a project for the given answers, and checks that they were taken."""

    def make(answers: Mapping[str, Any] | None = None) -> Path:
        folder = tmp_path / "project"
        lay_out(folder, answers or {})
        recorded = yaml.safe_load((folder / ".copier-answers.yml").read_text(encoding="utf-8"))
        assert {name: recorded.get(name) for name in answers or {}} == dict(answers or {})
        return folder

    return make
