"""Releases: what stands in the table is there for good, and the command refuses what is not ready."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from packaging.version import Version
from twoloops import integrity

from commands import release, versions
from commands.levels import Level, next_version
from commands.rendering import TEMPLATE
from extensions.refusal import Refused

from .conftest import commit

NOW = datetime(2026, 1, 2, tzinfo=UTC)
QUESTION = {"type": "str", "default": "a", "choices": ["a", "b"]}


def git(folder: Path, *words: str) -> str:
    author = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    return subprocess.run(
        ["git", *author, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a small template whose v0.1.0 is released and which has something to release."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.com")
    folder = tmp_path / "template"
    folder.mkdir()
    (folder / "copier.yml").write_text(yaml.safe_dump({"_subdirectory": "template", "colour": QUESTION}))
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "0.1.0"\n')
    (folder / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n- Better.\n\n## 0.1.0 - 2026-01-01\n\n- First.\n"
    )
    engine = folder / "template/engine"
    record = folder / versions.RECORD
    record.parent.mkdir(parents=True)
    record.write_text(f"{versions.HEAD}pytest=={pytest.__version__}\nno-such-package==1\n")
    (record.parent / "__init__.py").write_text("")
    (engine / "pyproject.toml").write_text('[project]\nname = "twoloops"\nversion = "0.1.0"\n')
    (engine / "CHANGELOG.md").write_text("# Changes\n\n## Unreleased\n\n- Better.\n")
    commit(folder)
    (folder / "releases.yaml").write_text(f"# Releases\nv0.1.0: {git(folder, 'rev-parse', 'HEAD')}\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=Note")
    return folder


def set_questions(folder: Path, **questions: object) -> None:
    (folder / "copier.yml").write_text(yaml.safe_dump(questions))
    git(folder, "commit", "--quiet", "--all", "--message=Change")


def test_a_release_is_proven_named_tagged_and_noted(template: Path) -> None:
    with pytest.raises(Refused, match="not proven"):
        release.make(template, Level.minor, NOW)
    release.prove(template, ["true"])
    proven = git(template, "rev-parse", "HEAD")
    assert release.make(template, Level.minor, NOW) == "v0.2.0"
    assert git(template, "rev-parse", "v0.2.0^{commit}") == release.table(template)["v0.2.0"]
    assert git(template, "rev-parse", "v0.2.0^") == proven
    assert git(template, "diff", "--name-only", proven, "v0.2.0").split() == [
        "CHANGELOG.md",
        "pyproject.toml",
        *(f"template/engine/{name}" for name in ("CHANGELOG.md", "MANIFEST", "pyproject.toml")),
    ]
    changelog = git(template, "show", "v0.2.0:CHANGELOG.md")
    assert "## Unreleased\n\n## 0.2.0 - 2026-01-02\n\n- Better." in changelog
    assert 'version = "0.2.0"' in git(template, "show", "v0.2.0:pyproject.toml")
    assert "- Better." in git(template, "tag", "--list", "--format=%(contents)", "v0.2.0")
    assert 'version = "0.2.0"' in git(template, "show", "v0.2.0:template/engine/pyproject.toml")
    # The release's engine carries its manifest; what follows is no release, and has none.
    git(template, "switch", "--quiet", "--detach", "v0.2.0")
    manifest = integrity.read(template / "template/engine")
    assert manifest is not None
    assert manifest.version == "0.2.0"
    assert not any(integrity.find_differences(template / "template/engine", manifest).values())
    git(template, "switch", "--quiet", "main")
    assert integrity.read(template / "template/engine") is None
    for file in ("pyproject.toml", "template/engine/pyproject.toml"):
        assert 'version = "0.2.1.dev0"' in (template / file).read_text()
    assert not git(template, "status", "--porcelain")
    # The next one has nothing to say yet.
    with pytest.raises(Refused, match="says nothing"):
        release.make(template, Level.patch, NOW)


def test_other_versions_than_projects_begin_with_are_not_proven(template: Path) -> None:
    versions.write(template, {"pytest": "0.1"})
    git(template, "commit", "--quiet", "--all", "--message=Record")
    with pytest.raises(Refused, match=r"pytest is .*, and the record says 0\.1.*release refresh"):
        release.prove(template, ["true"])


def test_what_is_not_ready_is_refused_and_changes_nothing(template: Path) -> None:
    with pytest.raises(Refused, match="failed with code 1"):
        release.prove(template, ["false"])
    with pytest.raises(Refused, match="not proven"):
        release.make(template, Level.minor, NOW)
    release.prove(template, ["true"])
    start = git(template, "rev-parse", "HEAD")
    (template / "new").write_text("x")
    with pytest.raises(Refused, match="not committed"):
        release.make(template, Level.minor, NOW)
    with pytest.raises(Refused, match="not committed"):
        release.prove(template, ["true"])
    (template / "new").unlink()
    git(template, "switch", "--quiet", "--create", "other")
    with pytest.raises(Refused, match="the branch other"):
        release.make(template, Level.minor, NOW)
    git(template, "switch", "--quiet", "main")
    git(template, "tag", "v0.2.0")
    with pytest.raises(Refused, match="does not know it"):
        release.make(template, Level.minor, NOW)
    git(template, "tag", "--delete", "v0.2.0")
    # A change after the proof is not proven.
    set_questions(template, colour=QUESTION, size=QUESTION)
    with pytest.raises(Refused, match="not proven"):
        release.make(template, Level.minor, NOW)
    git(template, "reset", "--quiet", "--hard", start)
    # What fails on the way is taken back.
    (template / "pyproject.toml").write_text("[project]\n")
    git(template, "commit", "--quiet", "--all", "--message=No version")
    release.prove(template, ["true"])
    start = git(template, "rev-parse", "HEAD")
    with pytest.raises(Refused, match=r"pyproject\.toml has no place"):
        release.make(template, Level.minor, NOW)
    assert git(template, "rev-parse", "HEAD") == start
    assert not git(template, "status", "--porcelain")
    assert git(template, "tag") == "v0.1.0"


@pytest.mark.parametrize(
    ("questions", "lowest", "why"),
    [
        ({"colour": QUESTION, "size": QUESTION}, Level.minor, "question size is new"),
        ({"colour": QUESTION, "size": {"type": "str"}}, Level.major, "has no default"),
        ({}, Level.major, "question colour is gone"),
        ({"hue": {"type": "str", "default": "{{ colour | default('a') }}"}}, Level.minor, "colour is now hue"),
        ({"colour": QUESTION | {"choices": ["a"]}}, Level.major, "colour: b can no longer be chosen"),
        ({"colour": QUESTION | {"choices": {"A": "a", "B": "b", "C": "c"}}}, Level.minor, "colour: c can be chosen"),
        (
            {"colour": QUESTION | {"choices": "{{ {'x': ['a']}['x'] }}"}},
            Level.major,
            "colour: b can no longer be chosen",
        ),
        ({"colour": {"type": "int", "default": 1}}, Level.major, "another type"),
    ],
)
def test_the_questions_tell_the_lowest_level(
    template: Path, questions: dict[str, object], lowest: Level, why: str
) -> None:
    set_questions(template, **questions)
    assert any(change.level is lowest and why in change.text for change in release.changes(template))
    release.prove(template, ["true"])
    with pytest.raises(Refused, match="is not enough"):
        release.make(template, Level.patch, NOW)
    assert release.make(template, lowest, NOW) == "v0.2.0"


def test_versions_follow_their_order() -> None:
    assert next_version("0.9.1", Level.major) == "0.10.0"
    assert next_version("1.9.1", Level.major) == "2.0.0"
    assert next_version("1.9.1", Level.minor) == "1.10.0"
    assert next_version("1.9.1", Level.patch) == "1.9.2"


def test_tags_come_from_the_table_and_never_move(template: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--no-tags", str(template), "clone")
    release.tags_from_table(tmp_path / "clone")
    assert git(tmp_path / "clone", "rev-parse", "v0.1.0^{commit}") == release.table(template)["v0.1.0"]
    git(tmp_path / "clone", "tag", "--force", "v0.1.0", "HEAD")
    with pytest.raises(Refused, match="never move"):
        release.tags_from_table(tmp_path / "clone")
    git(tmp_path, "clone", "--quiet", "--no-tags", "--depth=1", f"file://{template}", "shallow")
    with pytest.raises(Refused, match="git fetch --unshallow"):
        release.tags_from_table(tmp_path / "shallow")


def test_the_table_of_this_repository_is_true(tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--no-checkout", str(TEMPLATE), "clone")
    clone = tmp_path / "clone"
    shutil.copy(TEMPLATE / release.TABLE, clone)
    release.tags_from_table(clone)
    noted = release.table(clone)
    assert list(noted) == sorted(noted, key=Version)
    for tag, made in noted.items():
        git(clone, "merge-base", "--is-ancestor", made, "HEAD")
        # What an earlier release noted is never changed.
        if git(clone, "ls-tree", "--name-only", made, release.TABLE):
            earlier = release.table(clone, made)
            assert list(noted.items())[: len(earlier)] == list(earlier.items()), tag
