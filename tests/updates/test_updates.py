"""Every release's project comes to the working tree's version, and no edit is lost on the way.

Projects are made from each released tag, lived in, and updated to the candidate, which is the working
tree: by `copier update`, as bots do it, and by the project's own engine. What a project should be then
is rendered by commands/answer_space.py, without Copier; an edit is made there once more.

UPDATES_THOROUGH=1 takes answers that cover every pair of choices, and does everything from every release.
Otherwise answers cover every choice, and what is also part of another test is done from the oldest release.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from commands.answer_space import Template
from commands.release import table
from commands.rendering import TEMPLATE
from tests.support.answers import HOSTILE_REPOSITORIES, covering_answers, hostile
from tests.support.twins import twins

from .edits import (
    ALL,
    LIVES,
    WITHOUT_RENAMES,
    add_files,
    edit_the_workflow,
    insert,
    replace,
    write_texts,
)
from .history import CANDIDATE, LATER, History, at, git, make, release_later
from .projects import (
    MARKERS,
    Answers,
    Edit,
    Files,
    Update,
    answers_of,
    born,
    differing,
    expected,
    files,
    live,
    marked,
    possible,
    recorded,
    update_by_copier,
    write,
)

THOROUGH = bool(os.environ.get("UPDATES_THOROUGH"))
TAGS = list(table(TEMPLATE))
slow = pytest.mark.slow
# The lives below begin at the oldest release, these tests at the newest; with the twins both at all.
each_tag = pytest.mark.parametrize("tag", [*twins(TAGS[:-1]), TAGS[-1]])
oldest_tag = pytest.mark.parametrize("tag", TAGS if THOROUGH else TAGS[:1])


# Each costs an update. A release that does not know the last one yet takes the rest of its hostile answers.
PROVIDERS = list(HOSTILE_REPOSITORIES)[0 if THOROUGH else -1 :]


def rows() -> list[dict[str, Any]]:
    """Return the answers of projects without edits, those that break careless rendering among them."""
    chosen, seen = [], set[tuple[str, Any]]()
    for answers in covering_answers():
        if THOROUGH or not seen >= set(answers.items()):
            chosen.append(answers)
            seen |= set(answers.items())
    return [*chosen, *(hostile(provider, serving_mode="online_and_batch") for provider in PROVIDERS)]


ROWS = rows()


def fresh(template: Template, answers: Answers) -> tuple[Files, dict[str, Any]]:
    """Return what the template renders for recorded answers, and what it would record."""
    complete = template.all_answers(answers)
    return template.render(complete), template.recorded(complete)


def lived_in(content: Files, folder: Path, edits: Sequence[Edit]) -> Files:
    """Return files after a user's edits."""
    write(folder, content)
    for edit in edits:
        edit(folder)
    return files(folder)


@slow
@each_tag
@pytest.mark.parametrize("number", range(len(ROWS)))
def test_a_project_without_edits_equals_a_fresh_one(tag: str, number: int, history: History, tmp_path: Path) -> None:
    answers = possible(history.template(tag), ROWS[number])
    print(f"{tag} did not offer {len(ROWS[number]) - len(answers)} of {len(ROWS[number])} answers yet")
    project = tmp_path / "project"
    before = born(history.repository, project, tag, answers)
    old_answers = answers_of(project)
    new, new_answers = fresh(history.template(), old_answers)
    update_by_copier(project)
    assert differing(files(project), expected(before, before, new, new)) == []
    assert recorded(project) == {"_commit": CANDIDATE, "_src_path": str(history.repository), **new_answers}
    # A question that is gone has passed its answer on, by the default of the one in its place.
    gone = {name: value for name, value in old_answers.items() if name not in new_answers}
    assert [name for name, value in gone.items() if value not in new_answers.values()] == []


@slow
@oldest_tag
@pytest.mark.parametrize("life", LIVES)
def test_what_a_user_did_survives(tag: str, life: str, history: History, engine: Update, tmp_path: Path) -> None:
    assert check_a_life(history, tmp_path, tag, {}, LIVES[life], engine).conflicts == ()


@slow
@each_tag
def test_all_that_a_user_did_survives(tag: str, history: History, engine: Update, tmp_path: Path) -> None:
    assert check_a_life(history, tmp_path, tag, {}, ALL, engine).conflicts == ()


@slow
@each_tag
def test_what_a_user_did_survives_copier_too(tag: str, history: History, tmp_path: Path) -> None:
    answers = possible(history.template(tag), hostile("github", serving_mode="online_and_batch"))
    check_a_life(history, tmp_path, tag, answers, WITHOUT_RENAMES, update_by_copier)


CHANGES: dict[str, dict[str, str]] = {
    "another CI provider": {"ci_provider": "gitlab"},
    "batch comes": {"serving_mode": "online_and_batch", "license": "mit"},
    "the service goes": {"serving_mode": "batch"},
}
# A release may ask for a decision where another provider's files replace the workflow that the user has edited.
APART = [edit for edit in ALL if edit is not edit_the_workflow]


@slow
@oldest_tag
@pytest.mark.parametrize("name", ["another CI provider", "the service goes"])
def test_answers_change_with_the_update(tag: str, name: str, history: History, tmp_path: Path) -> None:
    edits = [edit for edit in APART if edit in WITHOUT_RENAMES]
    check_a_life(history, tmp_path, tag, {}, edits, update_by_copier, CHANGES[name])


@slow
@each_tag
def test_answers_change_with_the_engine(tag: str, history: History, engine: Update, tmp_path: Path) -> None:
    changes = CHANGES["another CI provider"] | CHANGES["batch comes"]
    told = check_a_life(history, tmp_path, tag, {}, APART, engine, changes)
    assert told.conflicts == ()
    assert changes.items() <= {question: now for question, (_, now) in told.answers.items()}.items()


def check_a_life(
    history: History,
    folder: Path,
    tag: str,
    answers: Answers,
    edits: Sequence[Edit],
    update: Update,
    changes: Answers | None = None,
) -> Any:
    """Make a project, live in it, update it, and demand a fresh render with the same edits in it."""
    project = folder / "project"
    before = born(history.repository, project, tag, answers)
    lived = live(project, edits)
    new, new_answers = fresh(history.template(), {**answers_of(project), **(changes or {})})
    told = update(project, CANDIDATE, changes)
    found = files(project)
    lived_in_new = lived_in(new, folder / "new", edits)
    assert marked(found) == []
    assert differing(found, expected(before, lived, new, lived_in_new)) == []
    assert recorded(project) == {"_commit": CANDIDATE, "_src_path": str(history.repository), **new_answers}
    return told


# What the later version below does to files of the base layer, and what the user has done to them before.
CONFLICT = "pyproject.toml"
LINE = 'requires-python = ">=3.11,<3.14"'
OURS, THEIRS = 'requires-python = ">=3.12,<3.14"  # ours', 'requires-python = ">=3.11,<3.15"  # theirs'
REMOVED, ALSO_REMOVED = "docs/runbooks.md", "docs/your-data.md"
RENAMED = ("monitoring/prometheus/prometheus.yml", "monitoring/prometheus/settings.yml")
MINE = "# mine, and nobody else's\n"


def change_the_template(folder: Path) -> None:
    base = folder / "template/{{ layer.base }}"
    replace(base / f"{CONFLICT}.jinja", LINE, THEIRS)
    for name in (REMOVED, ALSO_REMOVED):
        for path in folder.glob(f"template/*/{name}*"):  # each infrastructure has its own
            path.unlink()
    old = folder / "template/{{ layer.infra_local }}" / f"{RENAMED[0]}.jinja"
    moved = old.parent / f"{Path(RENAMED[1]).name}.jinja"
    old.rename(moved)
    insert(moved, -1, "\n# theirs, at the end\n")


@slow
@oldest_tag
@pytest.mark.parametrize("way", ["copier", "engine"])
def test_where_both_changed_the_same(tag: str, way: str, history: History, engine: Update, tmp_path: Path) -> None:
    """Lines that both changed are marked, for the user to decide. Edits of a file that is gone are kept, or in git."""
    template = release_later(history, tmp_path / "template", change_the_template)
    project = tmp_path / "project"
    born(template, project, tag, {})
    old, new = RENAMED

    def edit(folder: Path) -> None:
        replace(folder / CONFLICT, LINE, OURS)
        insert(folder / REMOVED, -1, MINE)
        insert(folder / old, 0, MINE)

    lived = live(project, [edit, write_texts, add_files])
    update: Update = engine if way == "engine" else update_by_copier
    told = update(project, LATER)
    found = files(project)

    assert marked(found) == [CONFLICT]
    text = found[CONFLICT].content.decode()
    assert text.count(OURS) == text.count(THEIRS) == 1
    theirs = fresh(Template(template), answers_of(project))[0][CONFLICT].content.decode()
    assert [line for line in text.splitlines() if not line.startswith(MARKERS) and line != OURS] == theirs.splitlines()

    assert ALSO_REMOVED not in found
    assert old not in found
    if way == "engine":
        assert found[REMOVED] == lived[REMOVED]
        assert found[new].content.decode().startswith(MINE)
        assert {conflict.path for conflict in told.conflicts} == {CONFLICT, REMOVED}
    else:
        # Copier lets go of both; docs/ownership.md says so, and git shows what was there.
        assert REMOVED not in found
        assert MINE not in found[new].content.decode()
        status = git("status", "--porcelain", cwd=project).splitlines()
        assert {f"UU {CONFLICT}", f"D {REMOVED}", f"D {old}"} <= {line.strip() for line in status}
    assert found[new].content.decode().endswith("# theirs, at the end\n")
    assert "Our page: see the wiki." in found["README.md"].content.decode()
    assert found["notebooks/look.py"] == lived["notebooks/look.py"]


def repository(folder: Path) -> str:
    """Make a small repository and return its commit."""
    folder.mkdir()
    (folder / "copier.yml").write_text("name: x\n", encoding="utf-8")
    git("init", "--quiet", "--initial-branch=main", cwd=folder)
    git("add", "--all", cwd=folder)
    git("commit", "--quiet", "--message=One", cwd=folder)
    return git("rev-parse", "HEAD", cwd=folder)


@pytest.mark.parametrize(
    ("commit", "way_out"),
    [("0" * 40, "git fetch --unshallow"), ("HEAD", "A tag never moves")],
    ids=["missing", "moved"],
)
def test_a_past_that_is_not_there_is_told(commit: str, way_out: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    first = repository(source)
    git("tag", "v0.1.0", cwd=source)
    git("commit", "--quiet", "--allow-empty", "--message=Two", cwd=source)
    named = git("rev-parse", "HEAD", cwd=source) if commit == "HEAD" else commit
    (source / "releases.yaml").write_text(f"v0.1.0: {named}\n", encoding="utf-8")
    with pytest.raises(pytest.fail.Exception, match=way_out):
        make(tmp_path / "history", source)
    (source / "releases.yaml").write_text(f"v0.1.0: {first}\n", encoding="utf-8")
    (source / "new.txt").write_text("not committed\n", encoding="utf-8")
    make(tmp_path / "whole", source)
    assert (at(tmp_path / "whole").trees / CANDIDATE / "new.txt").exists()
    assert git("status", "--porcelain", cwd=source).splitlines() == ["?? new.txt", "?? releases.yaml"]
