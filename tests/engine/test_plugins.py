"""Platforms, hosts and problem types are found by entry points, and an organization's own package can add one."""

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from twoloops import config, plugins, problems
from twoloops.errors import ProjectError
from twoloops.hosts import host
from twoloops.platforms import platform

from tests.engine.support.configuration import configure

KINDS = {"problems": ["classification", "regression"], "platforms": ["aws", "local"], "hosts": ["azure_devops"]}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_is_told_with_what_there_is(kind: str) -> None:
    with pytest.raises(ProjectError, match="'moon'") as raised:
        plugins.find(kind, "moon")
    assert kind in str(raised.value)
    assert all(name in raised.value.hint for name in KINDS[kind])


def test_an_unknown_platform_of_a_project_is_told_at_its_first_use(tmp_path: Path) -> None:
    configure(tmp_path, platform="moon", moon={"crater": "tycho"})
    with pytest.raises(ProjectError, match="'moon'") as raised:
        platform.lasts()
    assert "aws" in raised.value.hint


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_package_registers_is_found(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "site"
    information = installed / "acme_twoloops-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-twoloops\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[twoloops.{kind}]\nacme = acme_{kind}\n")
    (installed / f"acme_{kind}.py").write_text('NAME = "of the organization"\n')
    monkeypatch.syspath_prepend(str(installed))
    plugins._entry_points.cache_clear()
    try:
        assert plugins.find(kind, "acme").NAME == "of the organization"
        configure(tmp_path, **{kind.removesuffix("s"): "acme"})
        chosen: Any = {"problems": problems.problem, "platforms": platform, "hosts": host}[kind]
        assert chosen.NAME == "of the organization"
        assert config.current().package == "churn"
    finally:
        plugins._entry_points.cache_clear()
        sys.modules.pop(f"acme_{kind}", None)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in ("platforms", "hosts", "problems")
        for name in sorted(entry_points(group=f"twoloops.{kind}").names)
    ],
)
def test_what_the_engine_registers_is_found_as_an_entry_point_is(kind: str, name: str) -> None:
    """`find` reads the engine's own registrations by itself: a module, or an attribute of one."""
    [point] = entry_points(group=f"twoloops.{kind}", name=name)
    assert plugins.find(kind, name) is point.load()
