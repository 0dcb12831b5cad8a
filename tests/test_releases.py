"""Releases: what stands in the table is there for good, and the command refuses what is not ready."""

from __future__ import annotations

import os
import re
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

from .conftest import commit, need

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


# ------------------------------------------------------------------------------ the flow's second job


HANDOVER = TEMPLATE / ".ci/handover"


def hand_over(template: Path, folder: Path, *tags: str, key: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Bundle what stands in `template`, and let the second job look at it, in a clone of its origin."""
    clone = folder / "clone"
    if not clone.exists():
        git(folder, "clone", "--quiet", str(folder / "origin.git"), str(clone))
    git(template, "bundle", "create", "--quiet", str(folder / "release.bundle"), "main", *tags)
    proved = git(clone, "rev-parse", "HEAD")
    command = ["bash", str(HANDOVER), proved, str(folder / "release.bundle")]
    env = os.environ | ({"RELEASE_KEY": str(key)} if key else {})
    return subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Path:
    """Return a template whose next release is made, and whose origin has what was proved."""
    git(tmp_path, "clone", "--quiet", "--bare", str(template), "origin.git")
    git(tmp_path / "origin.git", "tag", "v0.1.0", "HEAD~1")
    release.prove(template, ["true"])
    release.make(template, Level.minor, NOW)
    return template


def test_the_second_job_pushes_what_was_made(made: Path, tmp_path: Path) -> None:
    done = hand_over(made, tmp_path, "v0.2.0")
    assert done.returncode == 0, done.stderr
    origin = tmp_path / "origin.git"
    assert git(origin, "rev-parse", "main") == git(made, "rev-parse", "main")
    assert git(origin, "rev-parse", "v0.2.0^{commit}") == git(made, "rev-parse", "v0.2.0^{commit}")
    assert "- Better." in git(origin, "tag", "--list", "--format=%(contents)", "v0.2.0")
    assert "never move" in hand_over(made, tmp_path, "v0.2.0").stderr


def test_the_second_job_signs_the_tag(made: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run([need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "x", "-f", str(key)], check=True)
    done = hand_over(made, tmp_path, "v0.2.0", key=key)
    assert done.returncode == 0, done.stderr
    signers = tmp_path / "signers"
    signers.write_text(f"release@invalid {key.with_suffix('.pub').read_text()}")
    origin = tmp_path / "origin.git"
    git(origin, "-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={signers}", "verify-tag", "v0.2.0")


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("another file", "the release changes"),
        ("another file, later", "what follows the release changes"),
        ("a dependency", "changes in more than"),
        ("a changelog that loses a line", "changes in more than"),
        ("another line in the table", "changes in more than"),
        ("a commit more", "does not end two commits above"),
        ("a tag elsewhere", "is not the first of them"),
        ("two tags", "no tag of a release, or several"),
        ("main has gone on", "main has gone on"),
    ],
)
def test_the_second_job_refuses_what_a_package_may_have_done(
    attack: str, words: str, made: Path, tmp_path: Path
) -> None:
    later = "later" in attack or "table" in attack or "more" in attack
    tag, tip = "v0.2.0", git(made, "rev-parse", "main")
    if not later:
        git(made, "reset", "--quiet", "--hard", tag)
    path = {"a dependency": "pyproject.toml", "another line in the table": "releases.yaml"}.get(attack, "CHANGELOG.md")
    path = "extra.py" if attack.startswith("another file") else path
    text = (made / path).read_text() if (made / path).exists() else ""
    (made / path).write_text(text.replace("- First.\n", "") if "changelog" in attack else text + "dependencies = []\n")
    git(made, "add", "--all")
    if attack in ("a tag elsewhere", "two tags", "main has gone on"):
        git(made, "reset", "--quiet", "--hard", tip)
    elif attack == "a commit more":
        git(made, "commit", "--quiet", "--message=More")
    else:
        git(made, "commit", "--quiet", "--amend", "--no-edit")
    if not later and attack not in ("a tag elsewhere", "two tags", "main has gone on"):
        git(made, "tag", "--force", "--annotate", tag, "--message=x")
        git(made, "cherry-pick", "--strategy-option=theirs", tip)
        (made / "releases.yaml").write_text(
            (made / "releases.yaml").read_text().rpartition("v0.2.0:")[0]
            + f"v0.2.0: {git(made, 'rev-parse', 'HEAD~1')}\n"
        )
        git(made, "commit", "--quiet", "--all", "--amend", "--no-edit")
    if attack == "a tag elsewhere":
        git(made, "tag", "--force", "--annotate", tag, "main", "--message=x")
    if attack == "main has gone on":
        git(tmp_path, "clone", "--quiet", str(tmp_path / "origin.git"), "clone")
        git(tmp_path, "clone", "--quiet", str(tmp_path / "origin.git"), "other")
        git(tmp_path / "other", "commit", "--quiet", "--allow-empty", "--message=Newer")
        git(tmp_path / "other", "push", "--quiet", "origin", "main")
    before = git(tmp_path / "origin.git", "for-each-ref")
    if attack == "two tags":
        git(made, "tag", "v0.9.0", tag)
    done = hand_over(made, tmp_path, tag, *(["v0.9.0"] if attack == "two tags" else []))
    assert done.returncode == 1, done.stdout
    assert words in done.stderr
    assert git(tmp_path / "origin.git", "for-each-ref") == before


def test_what_proves_cannot_push(tmp_path: Path) -> None:
    """The job that runs packages has no token; the one that has it starts git alone."""
    flow = yaml.safe_load((TEMPLATE / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    assert flow["permissions"] == {"contents": "read"}
    prove, push = flow["jobs"]["prove"], flow["jobs"]["push"]
    assert "permissions" not in prove
    assert "environment" not in prove
    assert prove["steps"][0]["with"]["persist-credentials"] is False
    assert "secrets." not in yaml.safe_dump(prove)
    assert push["environment"] == "release"
    assert push["needs"] == "prove"
    assert not re.search(r"\buv|python|pip", yaml.safe_dump(push))
    script = "\n".join(line for line in HANDOVER.read_text().splitlines() if not line.startswith("#"))
    assert not re.search(r"\buv\b|python|\bpip\b", script)


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
