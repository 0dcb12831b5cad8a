"""What a power loss, another process or another machine does to the state of this machine's platform."""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest
from twoloops import registry, storage
from twoloops.contracts.release import Deployment, Release
from twoloops.errors import ProjectError
from twoloops.outer_loop.promote import promote, rollback
from twoloops.platforms import local, platform
from twoloops.platforms.local import locking

from tests.engine.support.project import Project
from tests.engine.support.verbs import call

LAST = "production"
TORN = ["", "{", "[]", "null", '{"stable": null, "canary": null}', '{"stable": {"version": "1"}}', "\0" * 200]
ELSEWHERE = {"what": "A deployment", "pid": 1, "host": "elsewhere", "machine": "other", "since": "today"}


@pytest.mark.parametrize("content", TORN)
def test_a_torn_deployment_is_rebuilt_from_the_registry(
    promoted: Project, content: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path("deployments", LAST, "deployment.json")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    expected = Deployment(Release.of(registry.get("1")))
    with caplog.at_level(logging.ERROR, "twoloops"):
        assert platform.deployment(LAST) == expected
    assert "is torn" in caplog.text
    assert call("status").exit_code in (0, 1)
    # The next deployment writes it, although nothing else changes.
    monkeypatch.setattr(local, "_run", lambda *_: None)
    platform.deploy(LAST, expected)
    assert platform.deployment(LAST) == expected
    assert json.loads(path.read_text())["stable"]["version"] == "1"


def test_a_torn_deployment_without_a_champion_is_none(project: Project) -> None:
    path = Path("deployments", LAST, "deployment.json")
    path.parent.mkdir(parents=True)
    path.write_text("")
    assert platform.deployment(LAST) is None


@pytest.mark.parametrize("content", [*TORN, "5"])
def test_torn_notes_are_no_end(project: Project, content: str) -> None:
    folder = Path("deployments", LAST)
    folder.mkdir(parents=True)
    (folder / "service.json").write_text(content)
    assert local._free_port(LAST, folder)
    Path("deployments/holder.json").write_text(content)
    with platform.lock("A test"):
        Path("deployments/holder.json").write_text(content)
        with pytest.raises(ProjectError, match="is under way"), platform.lock("Another"):
            pass


def test_the_content_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def note_sync(opened: int) -> None:
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{opened}')).name}")
        sync(opened)

    def note_replace(path: Path, target: Path) -> Path:
        done.append(f"name {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    storage.write_json(tmp_path / "state.json", {"a": 1})
    assert done == ["sync state.json", "name state.json", f"sync {tmp_path.name}"]
    done.clear()
    with storage.replacing(tmp_path / "folder") as new:
        new.mkdir()
        (new / "file").write_text("x")
    assert done == ["sync folder", "sync file", "name folder", f"sync {tmp_path.name}"]


def test_promotion_and_deployment_exclude_each_other(promoted: Project) -> None:
    for step in (lambda: promote(platform), lambda: rollback(platform)):
        with platform.lock("A deployment"), pytest.raises(ProjectError, match="A deployment is under way"):
            step()
    assert promote(platform, "1") == {"champion": "1", "before": "1"}


def take(told: dict[str, Any], age: float = 0) -> None:
    """Let holder.json say this, and take the lock that the file system gives."""
    holder = Path("deployments/holder.json")
    holder.parent.mkdir(exist_ok=True)
    holder.write_text(json.dumps(told))
    moment = time.time() - age
    os.utime(holder, (moment, moment))
    with platform.lock("A test"):
        assert json.loads(holder.read_text())["what"] == "A test"
    assert "ended" in json.loads(holder.read_text())


def test_two_machines_do_not_change_one_state_folder(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProjectError, match="A deployment is under way: process 1 on elsewhere"):
        take(ELSEWHERE)
    take(ELSEWHERE, age=locking.STALE_SECONDS + 10)
    take(ELSEWHERE | {"ended": "now"})
    take(ELSEWHERE | locking.this_machine())  # killed on this machine: its lock went with it
    # While it lasts, it gives signs of life.
    monkeypatch.setattr(locking, "RENEWED_EVERY_SECONDS", 0.05)
    holder = Path("deployments/holder.json")
    with platform.lock("A long one"):
        os.utime(holder, (0, 0))
        deadline = time.monotonic() + 10
        while holder.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_two_machines_do_not_serve_from_one_state_folder(project: Project) -> None:
    folder = Path("deployments", LAST)
    folder.mkdir(parents=True)
    (folder / "service.json").write_text(json.dumps({"pid": 1, "port": 8000, **ELSEWHERE}))
    with pytest.raises(ProjectError, match="was started on elsewhere"):
        local._start(LAST, folder)
    local._forget_machine(folder / "service.json")
    assert json.loads((folder / "service.json").read_text()) == {"port": 8000}
