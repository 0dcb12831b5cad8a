"""The way over: a project whose machinery stands in its own package comes to the engine, and loses nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands.release import table
from commands.rendering import TEMPLATE, clean_environment
from extensions.update import branches, page, updating
from extensions.update.update import MOVED, update
from tests.conftest import UV, Installed
from tests.support.twins import twins

from .edits import ALL, MACHINERY_TEST, edit_machinery, rename_files, solve_the_problem, write_texts
from .history import CANDIDATE, History, git
from .projects import born, files, live, marked, recorded, update_by_copier

BEFORE = [tag for tag in table(TEMPLATE) if updating.number(tag) < updating.number(MOVED)]
SINCE = [tag for tag in table(TEMPLATE) if tag not in BEFORE]
KEPT = {"src/churn/registry.py", "src/churn/outer_loop/retrain.py", MACHINERY_TEST}
MINE = '''"""Ours."""

from churn import contract, registry
from churn.params import load
from churn.storage import read_table


def count(path: str) -> int:
    """Count the rows that keep the contract."""
    from churn.problem import data

    print(registry.place())
    return len(contract.check(read_table(path), data.CONTRACT, path)) * load().seed
'''


def write_mine(project: Path) -> None:
    (project / "src/churn/mine.py").write_text(MINE, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("tag", [*twins(BEFORE[:-1]), BEFORE[-1]])
def test_edits_are_kept_and_imports_rewritten(
    tag: str, history: History, warm: tuple[str, ...], tmp_path: Path
) -> None:
    project = tmp_path / "project"
    born(history.repository, project, tag, {})
    lived = live(project, [*ALL, edit_machinery, write_mine])
    told = update(project, to=CANDIDATE.removeprefix("v"), copier=warm)
    assert told is not None
    updating.switch(project, told)
    found = files(project)
    assert marked(found) == []
    assert recorded(project)["_commit"] == CANDIDATE

    # An edited file of the machinery is told with what was edited, and stays; all others have gone.
    assert {each.path for each in told.conflicts} == KEPT
    assert all("+def ours() -> str:" in each.diff for each in told.conflicts)
    assert all(found[path] == lived[path] for path in KEPT)
    own = {path for path in found if path.startswith("src/") and "/problem/" not in path}
    assert own == {"src/churn/__init__.py", "src/churn/mine.py", "src/churn/ours.py", *KEPT} - {MACHINERY_TEST}
    assert not [path for path in found if path.startswith("engine/") and b"def ours()" in found[path].content]
    text = page.text(told)
    assert "## Your edits in what is gone" in text
    assert text.count("+def ours() -> str:") == len(KEPT)

    # The rewriting is a commit of its own, and touches the owner's code alone.
    changed = git("show", "--format=%s", "--name-only", "HEAD", cwd=project).splitlines()
    assert changed[0] == "Import what has moved to the engine from there"
    assert sorted(changed[2:]) == sorted(told.rewritten)
    assert {"src/churn/mine.py", "src/churn/problem/data.py", "tests/problem/test_model.py"} <= set(told.rewritten)
    (left,) = told.to_rewrite
    assert left.startswith("src/churn/mine.py:13: churn.registry.place has moved")
    mine = found["src/churn/mine.py"].content.decode()
    assert "from twoloops import check_contract, read_table\nfrom twoloops import load_params as load\n" in mine
    assert "holidays>=0.50" in found["pyproject.toml"].content.decode()
    assert branches.is_free(project, "HEAD", told.commit), "both commits are the update's own"


@pytest.mark.slow
def test_after_copier_alone_the_command_does_the_rest(history: History, warm: tuple[str, ...], tmp_path: Path) -> None:
    project = tmp_path / "project"
    born(history.repository, project, BEFORE[-1], {})
    lived = live(project, [write_texts])
    update_by_copier(project)
    git("add", "--all", cwd=project)
    git("commit", "--quiet", "--message=Copier", cwd=project)
    between = files(project)
    assert between["src/churn/problem/data.py"] == lived["src/churn/problem/data.py"]
    assert "src/churn/registry.py" not in between
    assert "tests/test_params.py" not in between
    told = update(project, copier=warm)
    assert told is not None
    assert told.changed == told.rewritten
    assert "src/churn/problem/data.py" in told.rewritten
    assert told.to_rewrite == ()
    updating.switch(project, told)
    assert "from twoloops import" in files(project)["src/churn/problem/data.py"].content.decode()
    assert update(project, copier=warm) is None


# Their own checks are minutes, and the loop one: two projects are enough, as different as the first table makes them.
ANSWERS: list[dict[str, Any]] = [
    {},
    {"problem_type": "regression", "serving_mode": "online_and_batch", "ci_provider": "gitlab"},
]


# In CI what its owner wrote is run with the newest engine, by the law below.
@pytest.mark.slow
@pytest.mark.twin
@pytest.mark.parametrize(
    "answers", [pytest.param(ANSWERS[0], id="default answers"), pytest.param(ANSWERS[1], id="other answers")]
)
def test_a_project_that_has_come_over_works(
    answers: dict[str, Any], history: History, warm: tuple[str, ...], tmp_path: Path
) -> None:
    project = tmp_path / "project"
    born(history.repository, project, BEFORE[-1], answers)
    live(project, [edit for edit in ALL if edit not in (solve_the_problem, rename_files)])
    told = update(project, to=CANDIDATE.removeprefix("v"), copier=warm)
    assert told is not None
    assert (told.conflicts, told.to_rewrite) == ((), ())
    updating.switch(project, told)
    graph = project / "dvc.yaml"  # the step that the edits add is of no use
    graph.write_text(graph.read_text(encoding="utf-8").replace("python -m ours", "echo ours"), encoding="utf-8")
    live(project, [])
    subprocess.run([UV, "sync", "--quiet"], cwd=project, env=clean_environment(), check=True)
    installed = Installed(project)
    installed.verb("simulate")
    installed.verb("run")
    installed.verb("check")


@pytest.mark.slow
@pytest.mark.parametrize("answers", [ANSWERS[0], *twins(ANSWERS[1:])])
@pytest.mark.parametrize("tag", [*SINCE, CANDIDATE])
def test_what_users_wrote_works_with_the_newest_engine(
    tag: str, answers: dict[str, Any], history: History, tmp_path: Path
) -> None:
    """A law: the user's files of every release since the engine import, and pass, with the newest engine."""
    folder = tmp_path / "project"
    born(history.repository, folder, CANDIDATE, answers)
    template = history.template(tag)
    mine = template.render(template.all_answers(answers))
    for path in files(folder):
        if history.template().belongs_to_user(path):
            (folder / path).unlink()
    for path, file in mine.items():
        if template.belongs_to_user(path):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(file.content)
    words = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider"]
    environment = clean_environment() | {"PYTHONPATH": "src", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def test_what_a_project_never_gets_again_is_all_that_is_the_users(history: History) -> None:
    """Tests are the user's: a new one that copier.yml does not name would come into projects by an update."""
    template = history.template()
    for answers in ANSWERS:
        rendered = template.render(template.all_answers(answers))
        tests = [path for path in rendered if path.startswith("tests/")]
        assert tests
        assert [path for path in tests if not template.belongs_to_user(path)] == []
