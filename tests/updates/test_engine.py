"""Updates of the template: git merges what differs between two renders, and no edit is lost."""

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extensions.refusal import Refused
from extensions.update import cli, page, updating

from .world import BASE, World, commit, git

run = CliRunner().invoke


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_both_sides_are_kept(world: World) -> None:
    world.edit("kept.txt", "line 2\n", "line 2, mine\n")
    update = world.merge()
    assert (update.before, update.after, update.conflicts) == ("1.0.0", "1.1.0", ())
    text = world.read(update, "kept.txt")
    assert "line 2, mine" in text
    assert "line 10, better" in text
    assert set(update.changed) == {".copier-answers.yml", "kept.txt", "other.txt"}
    assert "Better." in update.notes
    assert "First." not in update.notes
    # Until it is wanted, nothing moves.
    assert not git(world.project, "status", "--porcelain")
    assert len(git(world.project, "worktree", "list").splitlines()) == 1
    assert updating.switch(world.project, update) == "template/1.1.0"
    assert updating.origin(world.project).version == "v1.1.0"
    assert updating.merge(world.project, copier=world.copier) is None


@pytest.mark.parametrize(
    ("changelog", "told"),
    [
        ("", ""),
        ("# Changes\n\nNone yet.\n", ""),
        ("## 1.1.0\n\nBetter.\n", "## 1.1.0\n\nBetter."),
        ("## 2.0.0\n\nNo.\n\n## [1.2.0] - 2026\n\nMore.\n\n## 1.0.0\n\nOld.\n", "## [1.2.0] - 2026\n\nMore."),
    ],
)
def test_notes_are_those_of_the_releases_in_between(changelog: str, told: str) -> None:
    assert updating.notes_between(changelog, "v1.0.0", "v1.2.0") == told


def test_a_renamed_file_gets_the_improvement(world: World) -> None:
    git(world.project, "mv", "kept.txt", "mine.txt")
    commit(world.project)
    update = world.merge()
    assert not update.conflicts
    assert "line 10, better" in world.read(update, "mine.txt")


def test_what_cannot_be_merged_is_marked_and_listed(world: World) -> None:
    world.edit("kept.txt", "line 10\n", "line 10, mine\n")
    world.edit("other.txt", "line 3\n", "line 3, mine\n")
    update = world.merge()
    assert [each.path for each in update.conflicts] == ["kept.txt", "other.txt"]
    text = world.read(update, "kept.txt")
    assert all(words in text for words in ("<<<<<<<", "line 10, mine", "line 10, better"))
    assert "removed it" in update.conflicts[1].why
    assert "line 3, mine" in world.read(update, "other.txt")


def test_what_was_deleted_stays_deleted(world: World) -> None:
    (world.project / "kept.txt").unlink()
    commit(world.project)
    update = world.merge()
    assert update.left_out == ("kept.txt",)
    assert "kept.txt" not in git(world.project, "ls-tree", "--name-only", update.commit).splitlines()


def test_a_folder_that_was_deleted_gets_no_new_files(world: World) -> None:
    for version, names in (("v1.0.0", ["a.txt"]), ("v1.1.0", ["a.txt", "b.txt"])):
        for name in names:
            file = world.template / version / "folder" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(name * 9, encoding="utf-8")
    update = world.merge()  # the project never had it
    assert update.left_out == ("folder/b.txt",)
    (world.project / "folder").mkdir()
    (world.project / "folder/a.txt").write_text("a.txt" * 9, encoding="utf-8")
    commit(world.project)
    assert "folder/b.txt" in world.merge().changed
    # Renamed is not deleted.
    (world.project / "folder/a.txt").rename(world.project / "folder/mine.txt")
    commit(world.project)
    assert "folder/b.txt" in world.merge().changed


def test_what_is_named_in_updateignore_is_left_alone(world: World) -> None:
    (world.project / updating.IGNORE).write_text("# mine\n/kept.*\n", encoding="utf-8")
    world.edit("kept.txt", "line 10\n", "line 10, mine\n")
    update = world.merge()
    assert not update.conflicts
    assert update.changed == (updating.ANSWERS, "other.txt")


def test_an_answer_changes_with_the_update(world: World) -> None:
    update = world.merge(more="yes")
    assert update.answers == {"more": ("no", "yes")}
    assert "line 10, better" in world.read(update, "more.txt")


def test_a_branch_on_which_a_person_went_on_is_left_alone(world: World) -> None:
    update = world.merge()
    updating.switch(world.project, update)
    (world.project / "mine.txt").write_text("mine\n", encoding="utf-8")
    commit(world.project)
    with pytest.raises(Refused, match="commits of yours"):
        updating.switch(world.project, update)
    # Merged, it holds nothing that could be lost.
    git(world.project, "switch", "--quiet", "-")
    git(world.project, "merge", "--quiet", update.branch)
    updating.switch(world.project, world.merge(more="yes"))
    assert (world.project / "mine.txt").exists()


def test_refusals_say_the_way_out_and_change_nothing(world: World) -> None:
    answers = world.project / updating.ANSWERS
    text = answers.read_text(encoding="utf-8")

    def refused(words: str, **more: str) -> str:
        with pytest.raises(Refused, match=words) as told:
            updating.merge(world.project, copier=world.copier, **more)  # type: ignore[arg-type] # only `to` is a word
        return told.value.hint

    assert "1.0.0, 1.1.0" in refused("no release 9.9.9", to="9.9.9")
    answers.write_text("<<<<<<< HEAD\n" + text, encoding="utf-8")
    assert "git checkout" in refused("damaged")
    answers.write_text("more: 'no'\n", encoding="utf-8")
    refused("which template")
    answers.write_text("_commit: v1.0.0\n_src_path: --upload-pack=x\n", encoding="utf-8")
    refused("no template's address")
    answers.unlink()
    refused("is missing")
    answers.write_text(text.replace("v1.0.0", "v0.9.0"), encoding="utf-8")
    commit(world.project)
    refused("no such version")
    answers.write_text(text.replace(str(world.template), "/nowhere"), encoding="utf-8")
    refused("cannot be reached")
    assert git(world.project, "branch", "--list", "template/*") == ""


def test_answers_edited_by_hand_are_found(world: World) -> None:
    updating.switch(world.project, world.merge(more="yes"))
    world.edit(updating.ANSWERS, "'yes'", "'no'")
    with pytest.raises(Refused, match="edited by hand") as told:
        world.merge(more="yes")
    assert "--answer more=no" in told.value.hint


def test_answers_changed_by_an_update_are_not_taken_for_edits_by_hand(world: World) -> None:
    updating.switch(world.project, world.merge())
    git(world.project, "switch", "--quiet", "--create", "mine")
    updating.switch(world.project, world.merge(more="yes"))
    (world.project / "more.txt").unlink()
    commit(world.project)
    assert world.merge(more="no").answers == {"more": ("yes", "no")}


def test_an_answer_that_is_no_longer_offered_is_asked_for(world: World) -> None:
    world.edit(updating.ANSWERS, "'no'", "perhaps")  # which v1.0.0 takes, and v1.1.0 does not
    with pytest.raises(Refused, match="more is perhaps, it would become no"):
        world.merge()
    assert world.merge(more="no").answers == {"more": ("perhaps", "no")}


def test_the_command_wants_a_clean_tree(world: World) -> None:
    (world.project / "kept.txt").write_text("changed\n", encoding="utf-8")
    told = run(cli.app, [str(world.project)])
    assert isinstance(told.exception, Refused)
    assert "not committed" in str(told.exception)


def test_what_moves_into_the_engine_takes_no_edit_with_it(world: World) -> None:
    """Git would take the module for renamed, and bring the edit into the engine, which is nobody's to edit."""
    newer = world.template / "v1.1.0"
    (newer / "engine").mkdir()
    (newer / "kept.txt").rename(newer / "engine/kept.txt")
    world.edit("kept.txt", "line 2\n", "line 2, mine\n")
    update = world.merge()
    assert "line 2, mine" in world.read(update, "kept.txt")
    assert "mine" not in world.read(update, "engine/kept.txt")
    assert [(each.path, each.why[:27]) for each in update.conflicts] == [("kept.txt", "the template has removed it")]
    assert "+line 2, mine" in update.conflicts[0].diff
    assert update.engine_edits == ()
    told = page.text(update)
    assert "+line 2, mine" in told
    assert "The engine: 1 files" in told


def test_an_edit_of_the_engine_is_kept_and_told(world: World) -> None:
    for version, lines in (("v1.0.0", BASE), ("v1.1.0", [*BASE, "more\n"])):
        (world.template / version / "engine").mkdir()
        (world.template / version / "engine/loop.py").write_text("".join(lines), encoding="utf-8")
    (world.project / "engine").mkdir()
    (world.project / "engine/loop.py").write_text("".join(["mine\n", *BASE]), encoding="utf-8")
    commit(world.project)
    update = world.merge()
    assert not update.conflicts
    assert world.read(update, "engine/loop.py").startswith("mine\nline 0")
    assert world.read(update, "engine/loop.py").endswith("more")
    assert update.engine_edits == ("engine/loop.py",)


HOST = """
import json, pathlib, sys
with open("../asked.txt", "a") as file:
    file.write(" ".join(sys.argv[1:]) + chr(10))
print(json.dumps({"url": "https://host.invalid/change"}))
"""


@pytest.fixture
def proposing(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """Let `uv run PACKAGE propose` be a stand-in for the project's engine, and Copier the stand-in above."""
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin/uv"
    stand_in.write_text(f"#!{sys.executable}{HOST}", encoding="utf-8")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(updating, "COPIER", world.copier)
    return world


def test_an_update_is_proposed_with_what_conflicts(proposing: World, tmp_path: Path) -> None:
    world, asked = proposing, tmp_path / "asked.txt"
    world.edit("kept.txt", "line 10\n", "line 10, mine\n")
    start = git(world.project, "rev-parse", "HEAD")
    told = run(cli.app, [str(world.project), "--propose"])
    assert isinstance(told.exception, Refused)
    assert "does not take the branch" in str(told.exception)
    git(world.project, "switch", "--quiet", "--detach", start)
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(world.project, "remote", "add", "origin", str(tmp_path / "origin.git"))
    told = run(cli.app, [str(world.project), "--propose"])
    assert told.exit_code == 0, told.exception
    assert "https://host.invalid/change" in told.output
    words = asked.read_text(encoding="utf-8")
    assert "propose template/1.1.0 --title Update the template to 1.1.0, 1 files to settle --body-file" in words
    text = (world.project / page.PAGE).read_text(encoding="utf-8")
    for part in ("## To settle: 1 files", "`kept.txt`: both sides", "### 1.1.0"):
        assert part in text
    # A person goes on there: what they did is never pushed over.
    (world.project / "mine.txt").write_text("mine\n", encoding="utf-8")
    (world.project / "reports/update.md").unlink()
    commit(world.project)
    git(world.project, "push", "--quiet", "origin", "HEAD:template/1.1.0")
    git(world.project, "switch", "--quiet", "--detach", start)
    git(world.project, "branch", "--force", "template/1.1.0", start)
    told = run(cli.app, [str(world.project), "--propose"])
    assert "left as it is" in told.output
