"""[tool.twoloops]: what is wrong is named, and the project is found from wherever one stands in it."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from twoloops import config
from twoloops.errors import ProjectError

from tests.engine.support.configuration import TABLE, configure


def refusal(table: dict[str, Any]) -> str:
    with pytest.raises(ProjectError) as raised:
        config.check(table, Path("/project"))
    assert "README" in raised.value.hint
    assert "/project/pyproject.toml" in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", ["package", "problem", "platform", "host", "owner"])
def test_a_missing_key_is_named(name: str) -> None:
    assert f"  - {name}: is missing." in refusal({key: value for key, value in TABLE.items() if key != name})


def test_all_that_is_missing_is_named_at_once() -> None:
    assert [line.split(":")[0] for line in refusal({}).splitlines()[1:]] == [
        "  - package",
        "  - problem",
        "  - platform",
        "  - host",
        "  - owner",
    ]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("enviroments", "did you mean 'environments'?"),
        ("plattform", "did you mean 'platform'?"),
        ("zzz", "known here: package, problem, platform, host, owner, serving, environments"),
        ("root", "there is no such key"),
        ("platform_settings", "there is no such key"),
    ],
)
def test_an_unknown_key_is_named_with_the_one_that_was_meant(key: str, words: str) -> None:
    told = refusal(TABLE | {key: "x"})
    assert f"  - {key}: " in told
    assert words in told


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("package", "Churn", "name of a Python package"),
        ("package", "import", "name of a Python package"),
        ("package", 3, "name of a Python package"),
        ("problem", "no such thing", "a name in a-z"),
        ("platform", "../aws", "a name in a-z"),
        ("host", "", "a name in a-z"),
        ("owner", " ", "a text"),
        ("owner", ["ml-team"], "a text"),
        ("serving", "online", "a list of online and batch"),
        ("serving", [], "a list of online and batch"),
        ("serving", ["online", "offline"], "a list of online and batch"),
        ("serving", ["online", "online"], "a list of online and batch"),
        ("environments", [], "a list of different names"),
        ("environments", ["staging", "staging"], "a list of different names"),
        ("environments", ["Production"], "a list of different names"),
        ("environments", ["an-environment-of-21-c"], "at most 20 characters"),
        ("environments", [1], "a list of different names"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(key: str, value: object, words: str) -> None:
    told = refusal(TABLE | {key: value})
    assert f"  - {key}: {value!r} is not allowed. " in told
    assert words in told


def test_the_table_of_the_platform_is_its_own_business_and_that_of_another_one_is_a_mistake() -> None:
    settings = {"region": "eu-west-1"}
    assert config.check(TABLE | {"platform": "aws", "aws": settings}, Path()).platform_settings == settings
    assert "  - aws: there is no such key" in refusal(TABLE | {"aws": settings})


def test_what_is_left_out_has_its_default() -> None:
    short = {key: value for key, value in TABLE.items() if key not in ("serving", "environments")}
    found = config.check(short, Path())
    assert (found.serving, found.environments, found.last) == (("online",), ("production",), "production")
    assert (found.online, found.batch) == (True, False)


def test_a_project_is_found_from_a_folder_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path)
    below = tmp_path / "src/churn/problem"
    below.mkdir(parents=True)
    # A package within it, such as engine/, has a pyproject.toml without the table: it is passed by.
    (below / config.FILE).write_text('[project]\nname = "another"\n', encoding="utf-8")
    monkeypatch.chdir(below)
    assert config.current().root == tmp_path
    assert config.current().package == "churn"


def test_a_project_is_found_by_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path / "project")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(config.VARIABLE, str(tmp_path / "project"))
    assert config.current().root == tmp_path / "project"
    monkeypatch.setenv(config.VARIABLE, "project")
    assert config.current().root == tmp_path / "project"


def test_where_there_is_no_project_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match="There is no project in") as raised:
        config.current()
    assert str(tmp_path) in str(raised.value)
    assert "the project's folder" in raised.value.hint


@pytest.mark.parametrize("content", [b"[tool.twoloops\n", b"a = 1\na = 2\n", b'a = "\xff"\n'])
def test_a_file_that_is_no_toml_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    (tmp_path / config.FILE).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match=r"pyproject\.toml is not valid TOML"):
        config.current()


@pytest.mark.parametrize("content", ['tool = "x"\n', '[tool]\ntwoloops = "x"\n'])
def test_a_table_that_is_no_table_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    (tmp_path / config.FILE).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError):
        config.current()


def test_two_projects_in_one_process_have_each_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path / "one", package="one", problem="classification")
    configure(tmp_path / "two", package="two", problem="regression", environments=["live"])
    for _ in range(2):
        for name in ("one", "two"):
            monkeypatch.chdir(tmp_path / name)
            assert config.current().package == name
    assert config.current().environments == ("live",)


def test_a_change_of_the_file_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path, owner="before")
    monkeypatch.chdir(tmp_path)
    assert config.current().owner == "before"
    known = (tmp_path / config.FILE).stat().st_mtime_ns
    configure(tmp_path, owner="later1")
    os.utime(tmp_path / config.FILE, ns=(known + 1, known + 1))
    assert config.current().owner == "later1"
    # A file system whose clock is coarse: the same time, and another size.
    configure(tmp_path, owner="much later")
    os.utime(tmp_path / config.FILE, ns=(known + 1, known + 1))
    assert config.current().owner == "much later"


def test_what_is_held_stays_when_the_folder_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    configure(project)
    monkeypatch.chdir(project)
    monkeypatch.delenv(config.VARIABLE, raising=False)
    with config.hold() as held:
        shutil.rmtree(project)
        assert config.current() is held
        assert asyncio.run(asyncio.to_thread(config.current)) is held, "a service loads its models in threads"
    with pytest.raises((ProjectError, FileNotFoundError)):
        config.current()
