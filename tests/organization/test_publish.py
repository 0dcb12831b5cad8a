"""A release is published whole or not at all, once, and never moved."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from extensions.organization.check import record
from extensions.organization.publish import publish
from extensions.refusal import Refused
from tests.updates.history import git

from .conftest import FIRST, IN_ALL, Team


@pytest.fixture
def team(small_team: Team) -> Team:
    """Return a team whose builds take no time."""
    return small_team


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """Return an empty bare repository."""
    folder = tmp_path / "remote.git"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(folder), cwd=tmp_path)
    return folder


def release(team: Team, version: str, remote: Path | None) -> str:
    """Change something for projects, build, and publish what is taken as checked."""
    team.overlay({f"{IN_ALL}/release.md": f"{version}\n"})
    team.write("CHANGELOG.md", f"## {version}\n\nSomething.\n")
    team.decide(version=version)
    workspace = team.build()
    record(workspace)
    return publish(workspace, str(remote) if remote else None)


def references(folder: Path) -> str:
    return subprocess.run(
        ["git", "for-each-ref", "refs/heads", "refs/tags"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


def refused(team: Team, remote: Path | None) -> str:
    before = references(team.folder / "build")
    with pytest.raises(Refused) as refusal:
        publish(team.read(), str(remote) if remote else None)
    assert references(team.folder / "build") == before, "something was left behind"
    return f"{refusal.value.message} {refusal.value.hint}"


def test_releases_follow_one_another_with_annotated_tags(team: Team, remote: Path) -> None:
    first = release(team, "1.0.0", remote)
    second = release(team, "1.1.0", None)  # the remote is remembered
    assert git("rev-parse", "main", cwd=remote) == second
    assert git("rev-parse", "main~1", cwd=remote) == first
    assert git("cat-file", "-t", "v1.1.0", cwd=remote) == "tag"
    assert git("rev-parse", "v1.0.0^{commit}", cwd=remote) == first
    assert git("status", "--porcelain", cwd=team.folder / "build") == ""
    assert references(remote) == references(team.folder / "build")


def test_a_release_needs_no_remote_and_all_come_with_the_first_push(team: Team, remote: Path) -> None:
    release(team, "1.0.0", None)
    release(team, "1.1.0", None)
    assert references(remote) == ""
    release(team, "1.2.0", remote)
    assert git("tag", cwd=remote).split() == ["v1.0.0", "v1.1.0", "v1.2.0"]


def test_another_clone_of_the_workspace_goes_on_where_the_remote_is(team: Team, remote: Path, tmp_path: Path) -> None:
    first = release(team, "1.0.0", remote)
    other = Team(tmp_path / "other", team.upstream, FIRST)
    release(other, "1.1.0", remote)
    assert git("rev-parse", "main~1", cwd=remote) == first
    third = Team(tmp_path / "third", team.upstream, FIRST)
    git("clone", "--quiet", str(remote), str(third.folder / "build"), cwd=tmp_path)
    release(third, "1.2.0", None)
    assert git("rev-parse", "main~2", cwd=remote) == first


def test_nothing_is_published_that_was_not_built_and_checked(team: Team, remote: Path) -> None:
    with pytest.raises(Refused) as refusal:
        publish(team.read(), str(remote))
    assert "organization build" in refusal.value.hint
    workspace = team.build()
    assert "has not passed the check" in refused(team, remote)
    record(workspace)
    (team.folder / "build/copier.yml").open("a").write("# by hand\n")
    assert "has not passed the check" in refused(team, remote)
    team.decide(locks={"note": "x"})
    assert "has changed since" in refused(team, remote)
    assert references(remote) == ""


def test_a_release_is_above_the_last_and_changes_something(team: Team, remote: Path) -> None:
    release(team, "1.1.0", remote)
    for version in ("1.0.0", "1.1.0"):
        team.write("CHANGELOG.md", f"## {version}\n\nSomething else.\n")
        team.overlay({f"{IN_ALL}/release.md": "other\n"})
        team.decide(version=version)
        record(team.build())
        assert f"v{version} is not above the last release, v1.1.0" in refused(team, remote)
    team.write("CHANGELOG.md", "## 1.2.0\n\nNothing.\n")
    team.overlay({f"{IN_ALL}/release.md": "1.1.0\n"})
    team.decide(version="1.2.0")
    record(team.build())
    assert "nothing has changed since v1.1.0" in refused(team, remote)


def test_a_tag_that_was_moved_at_the_remote_stops_everything(team: Team, remote: Path) -> None:
    first = release(team, "1.0.0", remote)
    release(team, "1.1.0", remote)
    git("tag", "--force", "v1.1.0", first, cwd=remote)
    with pytest.raises(Refused, match="would clobber existing tag"):
        release(team, "1.2.0", remote)
    assert "v1.2.0" not in references(team.folder / "build") + references(remote)


def test_commits_at_the_remote_that_are_no_release_are_told(team: Team, remote: Path, tmp_path: Path) -> None:
    release(team, "1.0.0", remote)
    git("clone", "--quiet", str(remote), str(tmp_path / "clone"), cwd=tmp_path)
    git("commit", "--quiet", "--allow-empty", "--message=By hand", cwd=tmp_path / "clone")
    git("push", "--quiet", "origin", "main", cwd=tmp_path / "clone")
    with pytest.raises(Refused, match="somebody has committed there"):
        release(team, "1.1.0", remote)
    assert "v1.1.0" not in references(team.folder / "build")


def hook(remote: Path, script: str, name: str = "pre-receive") -> None:
    """Let the remote run a script before it takes a push, or each reference of it."""
    (remote / "hooks").mkdir(exist_ok=True)
    file = remote / "hooks" / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_a_remote_that_refuses_leaves_nothing_half_done(team: Team, remote: Path) -> None:
    hook(remote, "echo only on Tuesdays >&2; exit 1")
    with pytest.raises(Refused, match="The remote refuses it") as refusal:
        release(team, "1.0.0", remote)
    assert "only on Tuesdays" in refusal.value.message
    assert references(remote) == references(team.folder / "build") == ""
    (remote / "hooks/pre-receive").unlink()
    publish(team.read(), None)
    assert "v1.0.0" in references(remote)


@pytest.mark.parametrize("refused_one", ["refs/tags/*", "refs/heads/*"])
def test_a_remote_that_refuses_the_tag_does_not_get_the_commit_either(
    refused_one: str, team: Team, remote: Path
) -> None:
    hook(remote, f'case "$1" in {refused_one}) exit 1;; esac', name="update")
    with pytest.raises(Refused, match="The remote refuses it"):
        release(team, "1.0.0", remote)
    assert references(remote) == references(team.folder / "build") == ""


def test_a_remote_that_is_not_there_is_told(team: Team, tmp_path: Path) -> None:
    record(team.build())
    assert "nowhere.git" in refused(team, tmp_path / "nowhere.git")


def test_who_comes_second_within_one_push_is_told(team: Team, remote: Path, tmp_path: Path) -> None:
    """Another's tag arrives after ours has looked, and before ours is taken."""
    other = Team(tmp_path / "other", team.upstream, FIRST)
    release(other, "1.0.0", None)
    git("push", "--quiet", str(remote), "v1.0.0:refs/staged/tag", "main:refs/staged/main", cwd=other.folder / "build")
    hook(
        remote,
        "unset GIT_QUARANTINE_PATH\n"
        "git update-ref refs/tags/v1.0.0 refs/staged/tag\n"
        "git update-ref refs/heads/main refs/staged/main",
    )
    with pytest.raises(Refused, match=r"Somebody else has published v1\.0\.0") as refusal:
        release(team, "1.0.0", remote)
    assert "Raise version" in refusal.value.hint
    assert references(team.folder / "build") == ""
    assert git("rev-parse", "main", cwd=remote) == git("rev-parse", "main", cwd=other.folder / "build")


def test_of_two_publishers_at_once_one_wins(team: Team, remote: Path, tmp_path: Path) -> None:
    teams = [team, Team(tmp_path / "other", team.upstream, FIRST)]
    for number, each in enumerate(teams):
        each.overlay({f"{IN_ALL}/who.md": f"{number}\n"})
        record(each.build())

    def attempt(each: Team) -> str:
        try:
            return publish(each.read(), str(remote))
        except Refused as refusal:
            return refusal.message

    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(attempt, teams))
    winner = git("rev-parse", "main", cwd=remote)
    assert told.count(winner) == 1
    (loser,) = (text for text in told if text != winner)
    assert "Somebody else has published" in loser or "is not above the last release" in loser
    assert git("rev-parse", "v1.0.0^{commit}", cwd=remote) == winner
