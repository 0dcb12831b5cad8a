"""A disk that is full or read-only at any moment, and a campaign of every fault: words, nothing half, repeatable.

In process, a fault meets what Python asks of the disk. What libraries ask of it by themselves, kills, power cuts and
clocks are the campaign's: `python -m tests.engine.support.faults`, of which the slow test runs a part.
"""

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from twoloops import registry
from twoloops.errors import ProjectError, explain_disk
from twoloops.outer_loop.promote import promote
from twoloops.platforms import platform
from twoloops.registry.mlflow import connection

from tests.engine.support import faults
from tests.engine.support.project import RAW, Project
from tests.engine.support.verbs import call
from tests.support.tools import need

SCORE = ("score", RAW.as_posix(), "data/predictions")


@contextmanager
def failing(number: int, after: int) -> Iterator[list[str]]:
    """Let what changes files fail from the n-th time on; give what was asked for."""
    asked: list[str] = []

    def guard(name: str, do: Callable[..., Any], changes: Callable[..., bool]) -> Callable[..., Any]:
        def guarded(*words: Any, **named: Any) -> Any:
            if changes(*words, **named):
                asked.append(f"{name} {words[:1]}")
                if len(asked) >= after:
                    raise OSError(number, os.strerror(number), str(words[0]))
            return do(*words, **named)

        return guarded

    def writes(path: Any, mode: str = "r", *_: Any, **__: Any) -> bool:
        return not isinstance(path, int) and any(letter in mode for letter in "wxa+")

    def flags(path: Any, flags: int, *_: Any, **__: Any) -> bool:
        return bool(flags & (os.O_WRONLY | os.O_RDWR))

    with pytest.MonkeyPatch.context() as patch:
        for module in (builtins, io):
            patch.setattr(module, "open", guard("open", io.open, writes))
        patch.setattr(os, "open", guard("open", os.open, flags))
        for name in ("rename", "replace", "mkdir", "link"):
            patch.setattr(os, name, guard(name, getattr(os, name), lambda *_, **__: True))
        yield asked


def demand_words(exception: BaseException | None) -> None:
    """Demand that `main` tells what a verb raised in words."""
    if isinstance(exception, OSError):
        assert explain_disk(exception) is not None, exception
    else:
        assert isinstance(exception, ProjectError | SystemExit), exception


def numbers() -> list[str]:
    with connection(registry.tracking_uri()) as client:
        return sorted(str(each.version) for each in client.search_model_versions(f"name = '{registry.model_name()}'"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("words", [("register",), SCORE, ("rollback",)], ids=lambda words: words[0])
def test_a_disk_that_refuses(project: Project, words: tuple[str, ...], number: int) -> None:
    if words[0] != "register":
        assert call("register").exit_code == 0
        promote(platform)
    if words[0] == "rollback":
        first = registry.get("1")
        tags = {**first.tags, "compared_with": "1"}
        registry.set_alias(registry.CHALLENGER, registry.create_version(first.run_id, tags, registry.REFITTED))
        promote(platform)
        assert registry.find(registry.CHAMPION) == registry.get("2")
    for after in (1, 2, 4, 8):
        with failing(number, after) as asked:
            told = call(*words)
        if told.exit_code == 0:
            assert len(asked) < after or words[0] == "rollback", asked
        else:
            demand_words(told.exception)
    told = call(*words)
    assert told.exit_code == 0 or "There is no champion before" in str(told.exception), told.exception
    assert numbers() == (["1", "2"] if words[0] == "rollback" else ["1"]), "nothing is lost or doubled"
    if words[0] == "rollback":
        assert registry.find(registry.CHAMPION) == registry.get("1")


@pytest.mark.slow
def test_a_part_of_the_campaign() -> None:
    need("gcc")
    outcomes = faults.run(seed=7, faults=20, workers=2, minutes=5)
    assert len(outcomes) > 10, "so many within the time"
    assert [f"{each.verb}, {each.fault}, {each.moment}: {each.wrong}" for each in outcomes if each.wrong] == []
