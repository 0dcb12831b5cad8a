"""Which part of the version a change raises, and how an upgrade writes it down."""

from __future__ import annotations

from typing import Any

import pytest

from commands.levels import Level, next_version
from extensions.organization.changes import compare_files
from extensions.organization.check import record
from extensions.organization.publish import publish
from extensions.organization.upgrade import compare, upgrade
from extensions.refusal import Refused
from tests.updates.history import git

from .conftest import FIRST, IN_ALL, Team, quiet


@pytest.mark.parametrize(
    ("decisions", "part", "text"),
    [
        ({"locks": {"note": "x"}}, Level.major, "note is locked"),
        ({"locks": {"size": "small"}}, Level.major, "size: large can no longer be chosen"),
        ({"choices": {"size": ["small", "medium"]}}, Level.major, "size: large can no longer be chosen"),
        ({"questions": {"extra": {"type": "str", "default": "x"}}}, Level.minor, "question extra is new"),
        ({"defaults": {"note": "x"}}, Level.patch, "note has another default"),
    ],
)
def test_a_decision_raises_a_part_and_taking_it_back_another(
    decisions: dict[str, Any], part: Level, text: str, small_team: Team
) -> None:
    before = small_team.tree()
    small_team.decide(**decisions)
    after = small_team.tree()
    changes = {change.text: change.level for change in compare(before, after)}
    assert changes[text] == part == max(changes.values())
    assert compare(after, after) == []
    if "questions" in decisions:
        assert "question extra is gone" in [change.text for change in compare(after, before)]


def test_a_file_that_another_layer_has_now_moves_unless_some_projects_lose_it(small_team: Team) -> None:
    small_team.overlay({f"{IN_ALL}/a.md": "a\n"})
    before = small_team.tree()
    (path,) = (path for path in before if path.endswith("/a.md"))
    after = {path.replace("organization", "other") if each == path else each: file for each, file in before.items()}
    here, there, nowhere = frozenset(["organization"]), frozenset(["other"]), frozenset[str]()
    comes = (Level.minor, "file a.md (other) comes")
    found = [(c.level, c.text) for c in compare_files(before, after, [(here, there), (nowhere, nowhere)])]
    assert found == [(Level.minor, "file a.md (organization) moves"), comes]
    found = [(c.level, c.text) for c in compare_files(before, after, [(here, there), (here, nowhere)])]
    assert found == [(Level.major, "file a.md (organization) goes"), comes]


def test_files_come_go_and_change(small_team: Team) -> None:
    before = small_team.tree()
    small_team.overlay({f"{IN_ALL}/a.md": "a\n"})
    after = small_team.tree()
    assert [(c.level, c.text) for c in compare(before, after)] == [(Level.minor, "file a.md (organization) comes")]
    assert [(c.level, c.text) for c in compare(after, before)] == [(Level.major, "file a.md (organization) goes")]
    small_team.overlay({f"{IN_ALL}/a.md": "b\n"})
    assert [c.level for c in compare(after, small_team.tree())] == [Level.patch]


@pytest.mark.parametrize(("part", "version"), [(Level.patch, "1.2.4"), (Level.minor, "1.3.0"), (Level.major, "2.0.0")])
def test_a_raised_part_begins_those_below_anew(part: Level, version: str) -> None:
    assert next_version("1.2.3", part) == version


NEWER = "v0.2.0"
README = "{{ layer.base }}/README.md"


@pytest.fixture
def moving(small_team: Team) -> Team:
    """Return a team that has released, replaces a file, and whose upstream has released a newer version of it."""
    source = small_team.folder.parent / "source"
    git("clone", "--quiet", small_team.upstream.source, str(source), cwd=small_team.folder)
    (source / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 0.2.0 - today\n\n### Added\n\n- A line.\n\n## 0.1.0\n\nOld.\n"
    )
    (source / "template" / README).write_text("# Small\n\nA line.\n")
    for words in (["add", "--all"], ["commit", "--quiet", "-mx"], ["tag", NEWER]):
        git(*words, cwd=source)
    team = Team(small_team.folder, type(small_team.upstream)(str(source), source), FIRST)
    reviewed = team.upstream.tree(FIRST)[f"template/{README}"].sha256
    team.overlay({README: "# Ours\n"})
    team.decide(replaces={README: reviewed}, questions={"extra": {"type": "str", "default": "x", "help": "What?"}})
    (team.folder / "policy.yaml").open("a").write("# a comment that stays\n")
    workspace = team.build()
    record(workspace)
    publish(workspace, None)
    return team


def move(team: Team, *accepted: str, to: str | None = None) -> str:
    return "\n".join(upgrade(team.read(), to, list(accepted), quiet))


def test_a_replaced_file_is_shown_and_nothing_moves_until_it_is_accepted(moving: Team) -> None:
    before = (moving.folder / "policy.yaml").read_text()
    told: list[str] = []
    with pytest.raises(Refused, match="Replaced files that the upstream has changed") as refusal:
        told.extend(upgrade(moving.read(), None, [], quiet))
    assert "\n+A line." in told[-1]
    assert f"--accept '{README}'" in refusal.value.hint
    assert (moving.folder / "policy.yaml").read_text() == before
    said = move(moving, README)
    assert "- A line." in said
    assert "Ready to publish as v1.0.1 (a patch one)" in said
    text = (moving.folder / "policy.yaml").read_text()
    assert "# a comment that stays" in text
    policy = moving.read().policy
    assert (policy.upstream.version, policy.version) == (NEWER, "1.0.1")
    assert policy.replaces[README] == moving.upstream.tree(NEWER)[f"template/{README}"].sha256
    notes = (moving.folder / "CHANGELOG.md").read_text()
    assert notes.index("## 1.0.1") < notes.index("#### Added") < notes.index("- A line.") < notes.index("## 1.0.0")


def test_what_is_ready_can_be_published_when_it_changes_something(moving: Team) -> None:
    move(moving, README)
    with pytest.raises(Refused, match=r"nothing has changed since v1\.0\.0"):
        publish(moving.read(), None)  # the only file that upstream changed is replaced
    moving.overlay({README: "# Ours\n\nA line.\n"})
    workspace = moving.build()
    record(workspace)
    publish(workspace, None)
    assert git("tag", cwd=moving.folder / "build").split() == ["v1.0.0", "v1.0.1"]


@pytest.mark.parametrize(
    ("accepted", "to", "told"),
    [
        (["x.md"], None, "--accept x.md: policy.yaml does not pin it"),
        ([], "v0.3.0", "no release v0.3.0"),
    ],
)
def test_a_wrong_option_is_told(accepted: list[str], to: str | None, told: str, moving: Team) -> None:
    with pytest.raises(Refused) as refusal:
        move(moving, *accepted, to=to)
    assert told in refusal.value.message


def test_there_is_no_way_back(moving: Team) -> None:
    move(moving, README)
    with pytest.raises(Refused, match=r"v0\.1\.0 is older than v0\.2\.0"):
        move(moving, to=FIRST)
    assert move(moving) == f"{NEWER} is the newest release of the upstream."


def test_a_check_that_fails_leaves_the_workspace_as_it_was(moving: Team) -> None:
    moving.overlay({f"{IN_ALL}/x.md": "trailing \n"})
    before = {name: (moving.folder / name).read_bytes() for name in ("policy.yaml", "CHANGELOG.md")}
    with pytest.raises(Refused, match=r"x\.md"):
        move(moving, README)
    assert {name: (moving.folder / name).read_bytes() for name in before} == before
    assert "v0.1.0" in (moving.folder / "build/provenance.yaml").read_text()
