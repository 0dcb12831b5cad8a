"""Each test of AWS begins in a project whose platform is AWS; its clients reach nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.support.aws_stubs import AWS, Cloud, clouded, write_machines
from tests.engine.support.configuration import configure
from tests.engine.support.project import Project


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder: a project on AWS with its configuration and its machines, and nothing else."""
    configure(tmp_path, serving=["online", "batch"], **AWS)
    write_machines(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def project(project: Project) -> Project:
    """Return a project on AWS that has data and a trained, judged model, but nothing registered."""
    project.configure(**AWS)
    write_machines(project.folder)
    return project


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Return clients that reach nobody; everything that they were told to answer is asked."""
    with clouded(monkeypatch) as found:
        yield found
        found.finish()
