"""The graph on this machine: what changed runs again, verbs in this process and other commands by DVC."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from twoloops import registry
from twoloops.errors import ProjectError
from twoloops.pipelines import graph, local

from tests.engine.support.project import Project

GRAPH = """
stages:
  register:
    cmd: churn register
    deps: [joined.txt]
    outs: [reports/registration.json: {cache: false, persist: true}]
  look: {cmd: churn look, deps: [a.txt], outs: [seen.txt: {persist: true}]}
  join: {cmd: cat a.txt seen.txt > joined.txt, deps: [a.txt, seen.txt], outs: [joined.txt]}
"""


class Verbs:
    """Stands for the verbs: each writes its file; one can fail."""

    def __init__(self) -> None:
        """Begin with no call."""
        self.calls: list[tuple[str, ...]] = []
        self.failing = ""

    def __call__(self, words: Sequence[str]) -> None:
        self.calls.append(tuple(words))
        if words[0] == self.failing:
            raise ProjectError("it is broken", hint="mend it")
        if words[0] == "look":
            Path("seen.txt").write_text("seen\n", encoding="utf-8")
        elif words[0] == "register":
            Path("reports").mkdir(exist_ok=True)
            Path("reports/registration.json").write_text(json.dumps({"registry": registry.place()}), encoding="utf-8")


@pytest.fixture
def verbs(bare_project: Project, monkeypatch: pytest.MonkeyPatch) -> Verbs:
    """Return the verbs of a project with two verbs and a command of its owner's between them."""
    monkeypatch.setattr(registry, "make_ahead", lambda: None)
    monkeypatch.setattr(registry, "is_empty", lambda: False)
    (bare_project.folder / "dvc.yaml").write_text(GRAPH, encoding="utf-8")
    (bare_project.folder / "a.txt").write_text("a\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], check=True)
    return Verbs()


def run(verbs: Verbs, *, force: bool = False) -> tuple[int, list[str]]:
    told: list[str] = []
    return local.run(graph.load(Path()), verbs, force=force, tell=told.append), told


ALL = ["look:", "join:", "register:"]
LEFT = ["look: nothing has changed, skipped", "join: nothing has changed, skipped"]


def test_what_changed_runs_and_nothing_else(verbs: Verbs) -> None:
    assert run(verbs) == (3, ALL)
    assert verbs.calls == [("look",), ("register",)]
    assert Path("joined.txt").read_text(encoding="utf-8") == "a\nseen\n"
    assert run(verbs) == (0, [])
    assert subprocess.run([sys.executable, "-m", "dvc", "status", "--quiet"], check=False).returncode == 0
    Path("a.txt").write_text("b\n", encoding="utf-8")
    assert run(verbs) == (3, ALL)
    Path("reports/registration.json").unlink()
    assert run(verbs) == (1, [*LEFT, "register:"])
    assert run(verbs, force=True) == (3, ALL)


def test_another_registry_repeats_what_belongs_to_it(verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    run(verbs)
    monkeypatch.setattr(registry, "place", lambda: "elsewhere")
    assert run(verbs) == (1, [*LEFT, "register:"])
    assert run(verbs) == (0, [])


def test_what_was_done_before_a_failure_need_not_be_done_again(verbs: Verbs) -> None:
    verbs.failing = "register"
    with pytest.raises(ProjectError, match="it is broken"):
        run(verbs)
    failure = json.loads(Path("reports/failure.json").read_text(encoding="utf-8"))
    assert failure == {"step": "register", "message": "it is broken", "hint": "mend it"}
    verbs.failing = ""
    assert run(verbs) == (1, [*LEFT, "register:"])
    assert not Path("reports/failure.json").exists()


def test_a_command_that_fails_is_told(verbs: Verbs) -> None:
    text = GRAPH.replace("cat a.txt seen.txt > joined.txt", "echo no >&2 && false")
    Path("dvc.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ProjectError, match=r"The step join of dvc\.yaml failed: echo no >&2 && false"):
        run(verbs)
    assert verbs.calls == [("look",)]


def test_a_command_finds_the_programs_of_this_environment(verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    line = "python -c 'import sys, os; print(sys.executable, os.environ[\"DVC_STAGE\"])' > joined.txt"
    text = GRAPH.replace("cat a.txt seen.txt > joined.txt", f"[{json.dumps(line)}]")
    Path("dvc.yaml").write_text(text, encoding="utf-8")
    run(verbs)
    executable, stage = Path("joined.txt").read_text(encoding="utf-8").split()
    assert Path(executable).parent == Path(sys.executable).parent
    assert stage == "join"
