"""Updates harm nothing: what real repositories hold is kept or refused in words, and no address runs a program."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from twoloops.delivery import handover
from typer.testing import CliRunner

from extensions import signatures, sources
from extensions.git import environment
from extensions.git import git as our_git
from extensions.refusal import Refused
from extensions.update import branches, cli, page, updating

from ..conftest import need
from .world import World, commit, git

run = CliRunner().invoke


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def state(repository: Path) -> tuple[str, ...]:
    """Return what must not move when something is refused."""
    asked = (
        ("rev-parse", "--abbrev-ref", "HEAD"),
        ("for-each-ref",),
        ("status", "--porcelain", "--ignored"),
        ("diff", "--cached"),
        ("worktree", "list", "--porcelain"),
        ("config", "--list", "--local"),
    )
    return tuple(git(repository, *words) for words in asked)


# ------------------------------------------------------------------------------------- ignored files


@pytest.mark.parametrize(
    ("ignored", "mine", "brings"),
    [
        ("/new.txt\n", "new.txt", "new.txt"),
        ("/.env\n", ".env", ".env"),
        ("/place\n", "place", "place/deep/new.txt"),
        ("/place/\n", "place/mine.txt", "place"),
    ],
    ids=["a file", "a hidden file", "a file where a folder comes", "a folder where a file comes"],
)
def test_a_file_that_git_ignores_is_not_overwritten(ignored: str, mine: str, brings: str, world: World) -> None:
    (world.project / ".gitignore").write_text(ignored, encoding="utf-8")
    commit(world.project)
    (world.project / mine).parent.mkdir(exist_ok=True)
    (world.project / mine).write_text("only here\n", encoding="utf-8")
    new = world.template / "v1.1.0" / brings
    new.parent.mkdir(parents=True, exist_ok=True)
    new.write_text("the template's\n", encoding="utf-8")
    before = state(world.project)
    with pytest.raises(Refused, match="does not know") as told:
        updating.switch(world.project, world.merge())
    assert mine in told.value.message
    assert (world.project / mine).read_text(encoding="utf-8") == "only here\n"
    assert state(world.project) == before
    (world.project / mine).unlink()
    if (world.project / "place").is_dir():
        (world.project / "place").rmdir()
    updating.switch(world.project, world.merge())
    assert (world.project / brings).read_text(encoding="utf-8") == "the template's\n"


# --------------------------------------------------------------------------------- inherited state


@pytest.mark.parametrize("kind", ["an alias", "a worktree", "nowhere"])
def test_what_git_says_to_hooks_leads_nowhere(
    kind: str, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "other")
    (other / "file").write_text("x", encoding="utf-8")
    commit(other)
    before = state(other)
    places = {"an alias": other, "a worktree": world.project, "nowhere": tmp_path / "missing"}
    for name, value in {
        "GIT_DIR": places[kind] / ".git",
        "GIT_WORK_TREE": places[kind],
        "GIT_INDEX_FILE": places[kind] / ".git/index",
        "GIT_OBJECT_DIRECTORY": tmp_path / "objects",
        "GIT_PREFIX": "deep/",
    }.items():
        monkeypatch.setenv(name, str(value))
    # Copier is a program that starts git as well.
    python, option, code = world.copier
    look = "import os; assert not [name for name in os.environ if name in %r], sorted(os.environ)\n"
    names = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"]
    update = updating.merge(world.project, copier=[python, option, look % (names,) + code])
    assert update is not None
    updating.switch(world.project, update)
    for name in names:
        monkeypatch.delenv(name)
    assert state(other) == before
    assert git(world.project, "status", "--porcelain") == ""
    assert git(world.project, "config", "core.bare") == "false"
    assert "line 10, better" in (world.project / "kept.txt").read_text(encoding="utf-8")


def test_every_variable_of_a_repository_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True)
    local = set(listed.stdout.split())
    for name in local - {"GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"}:
        monkeypatch.setenv(name, "x")
    assert local & environment().keys() <= {"GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"}


# ------------------------------------------------------------------------------ several in one place


def test_two_projects_of_a_repository_have_a_branch_each(tmp_path: Path) -> None:
    world = World(tmp_path, inside="models/one")
    second = world.born("models/two of them")
    first_branch = updating.switch(world.project, world.merge())
    first = git(world.repository, "rev-parse", first_branch)
    git(world.repository, "switch", "--quiet", "main")
    update = updating.merge(second, copier=world.copier)
    assert update is not None
    second_branch = updating.switch(second, update)
    assert first_branch == "template/models/one/1.1.0"
    assert second_branch.startswith("template/models/two-of-them-")
    assert git(world.repository, "rev-parse", first_branch) == first
    changed = git(world.repository, "diff", "--name-only", "main", second_branch).splitlines()
    assert all(path.startswith("models/two of them/") for path in changed)
    for inside in ("a.lock/b", "..x", "ä ö", "x~1", "a:b/c", "x@{1}", "-x", ".hidden", "end."):
        assert git(world.repository, "check-ref-format", "--branch", branches.name_of("1.0.0", inside + "/"))
    assert branches.name_of("1.0.0", "a b/") != branches.name_of("1.0.0", "a~b/")


def test_another_templates_answers_are_told_apart(world: World) -> None:
    (world.project / updating.ANSWERS).rename(world.project / ".copier-answers.docs.yml")
    with pytest.raises(Refused, match=r"\.copier-answers\.docs\.yml is that of another template"):
        updating.origin(world.project)


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("name", ["template", "template/1.1.0/mine"])
def test_a_branch_in_the_way_is_named_and_nothing_is_touched(name: str, world: World) -> None:
    git(world.project, "branch", name)
    before = state(world.project)
    with pytest.raises(Refused, match="beside one that is called") as told:
        updating.switch(world.project, world.merge())
    assert f"git branch -m {name} ANOTHER-NAME" in told.value.hint
    assert state(world.project) == before


def test_a_branch_that_another_worktree_has_checked_out(world: World, tmp_path: Path) -> None:
    update = world.merge()
    git(world.project, "worktree", "add", "--quiet", "-b", update.branch, str(tmp_path / "else where"), update.commit)
    before = state(world.project)
    with pytest.raises(Refused, match=r"is checked out in .*else where"):
        updating.switch(world.project, world.merge(more="yes"))
    assert state(world.project) == before


def test_nothing_is_pushed_that_could_not_be_checked_out(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(updating, "COPIER", world.copier)
    (world.project / "engine").mkdir()  # where the verb that proposes is there before the branch is checked out
    (world.project / "engine/loop.py").write_text("x", encoding="utf-8")
    commit(world.project)
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(world.project, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(world.project, "branch", "template")
    told = run(cli.app, [str(world.project), "--propose"])
    assert isinstance(told.exception, Refused)
    assert git(tmp_path / "origin.git", "for-each-ref") == ""


def test_a_repository_without_a_commit_is_told(world: World, tmp_path: Path) -> None:
    new = tmp_path / "new"
    git(tmp_path, "init", "--quiet", "new")
    shutil.copy(world.project / updating.ANSWERS, new)
    with pytest.raises(Refused, match="no commit yet"):
        updating.merge(new, copier=world.copier)
    told = run(cli.app, [str(new)])
    assert "no commit yet" in str(told.exception)


def test_a_repository_with_sha256_is_updated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, kind="sha256")
    world.edit("kept.txt", "line 2\n", "line 2, mine\n")
    update = world.merge()
    assert len(update.commit) == 64
    text = world.read(update, "kept.txt")
    assert "line 2, mine" in text
    assert "line 10, better" in text
    # And whoever has sha256 for new repositories can update an old one.
    monkeypatch.setenv("GIT_DEFAULT_HASH", "sha256")
    (tmp_path / "old").mkdir()
    assert World(tmp_path / "old", kind="sha1").merge().conflicts == ()


@pytest.mark.parametrize("name", ["package_name", "problem_type"])
def test_an_answer_on_which_ones_own_files_stand_is_refused_with_the_way(name: str, world: World) -> None:
    world.edit(updating.ANSWERS, "more:", f"{name}: churn\nmore:")
    with pytest.raises(Refused, match=f"{name} stays churn") as told:
        world.merge(**{name: "other"})
    assert f"new project with {name}=other" in told.value.hint
    assert world.merge(**{name: "churn"}).after == "1.1.0"


# ----------------------------------------------------- links, folders and submodules where a file was


def obstruct(world: World, kind: str, path: str) -> None:
    target = world.project / path
    if target.exists():
        git(world.project, "rm", "--quiet", path)
    if kind == "link":
        target.symlink_to("more-of-mine.txt")
    elif kind == "folder":
        target.mkdir()
        (target / "mine.txt").write_text("mine\n", encoding="utf-8")
    else:
        git(world.project, "-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(world.template), path)
    commit(world.project)


@pytest.mark.parametrize("kind", ["link", "folder", "submodule"])
@pytest.mark.parametrize("path", ["kept.txt", "other.txt", "new.txt"], ids=["changed", "removed", "new"])
def test_what_stands_where_the_template_has_a_file_is_kept_and_told(kind: str, path: str, world: World) -> None:
    (world.template / "v1.1.0/new.txt").write_text("the template's\n", encoding="utf-8")
    obstruct(world, kind, path)
    before = git(world.project, "ls-tree", "-r", "HEAD")
    update = world.merge()
    assert [each.path for each in update.conflicts] == [path]
    assert f"a {kind} of yours" in update.conflicts[0].why
    assert "~" not in "".join(update.changed)
    after = git(world.project, "ls-tree", "-r", update.commit)
    assert [line for line in before.splitlines() if f"\t{path}" in line] == [
        line for line in after.splitlines() if f"\t{path}" in line
    ]
    told = page.text(update)
    if path == "kept.txt":
        assert "+line 10, better" in told, "the improvement is shown"
    if path == "new.txt":
        assert "+the template's" in told
    updating.switch(world.project, update)
    assert git(world.project, "status", "--porcelain") == ""


def test_a_file_of_ones_own_where_the_template_gets_a_folder(world: World) -> None:
    (world.template / "v1.1.0/docs").mkdir()
    (world.template / "v1.1.0/docs/page.md").write_text("the template's\n", encoding="utf-8")
    (world.project / "docs").write_text("mine\n", encoding="utf-8")
    commit(world.project)
    update = world.merge()
    assert [(each.path, "docs, a file of yours," in each.why) for each in update.conflicts] == [("docs/page.md", True)]
    assert world.read(update, "docs") == "mine"


# ----------------------------------------------------------------------------------- settings of git


SETTINGS = {
    "log.showSignature": "true",
    "diff.noprefix": "true",
    "diff.mnemonicPrefix": "true",
    "diff.external": "false",
    "diff.renames": "false",
    "merge.renames": "false",
    "color.ui": "always",
    "column.ui": "always",
    "core.safecrlf": "true",
    "core.pager": "false",
    "core.quotePath": "false",
    "core.hooksPath": "/nowhere",
    "core.attributesFile": "/nowhere",
    "status.showUntrackedFiles": "no",
    "push.default": "nothing",
    "submodule.recurse": "true",
    "commit.gpgSign": "true",
    "init.defaultBranch": "trunk",
    "grep.patternType": "perl",
}


@pytest.mark.parametrize("ends", ["true", "input"])
def test_what_a_person_has_set_changes_no_update(
    ends: str, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.edit("kept.txt", "line 2\n", "line 2, mine\n")
    git(world.project, "mv", "other.txt", "renamed.txt")
    commit(world.project)
    world.edit("renamed.txt", "line 3\n", "line 3, mine\n")
    usual = world.merge(more="yes")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "settings"))
    for name, value in {**SETTINGS, "core.autocrlf": ends}.items():
        our_git(tmp_path, "config", "--file", "settings", name, value)
    update = world.merge(more="yes")
    trees = [our_git(world.project, "rev-parse", f"{each.commit}^{{tree}}") for each in (usual, update)]
    assert trees[0] == trees[1]
    assert (update.changed, update.left_out, update.answers) == (usual.changed, usual.left_out, usual.answers)
    assert update.conflicts == usual.conflicts
    updating.switch(world.project, update)
    assert updating.origin(world.project).version == "v1.1.0"


def test_untracked_files_are_seen_whatever_is_set(world: World) -> None:
    git(world.project, "config", "status.showUntrackedFiles", "no")
    (world.project / "kept too.txt").write_text("x", encoding="utf-8")
    with pytest.raises(Refused, match="not committed"):
        branches.require_clean(world.project)


# ------------------------------------------------------------------------------------------- sources


@pytest.mark.parametrize(
    "source",
    [
        "--upload-pack=touch ran",
        "git+--upload-pack=touch ran",
        "git+git+--upload-pack=touch ran",
        "ext::sh -c 'touch ran'",
        "git+ext::sh -c 'touch ran'",
        "gh:-x",
        "fd::17",
        "http::https://host.example/x",
        "ssh://-oProxyCommand=touch ran/x",
        "ssh://git@-oProxyCommand=x/y",
        "https://host.example/-x",
        "http://host.example/x",
        "git://host.example/x",
        "ftp://host.example/x",
        "javascript://host.example/x",
        "https://host.example/x\n--upload-pack=x",
        "",
        "git+",
    ],
)
def test_an_address_runs_no_program(source: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    if source != "gh:-x":
        with pytest.raises(Refused):
            sources.address(source)
    answers = world.project / updating.ANSWERS
    content = yaml.safe_load(answers.read_text(encoding="utf-8")) | {"_src_path": source}
    answers.write_text(yaml.safe_dump(content), encoding="utf-8")
    commit(world.project)
    monkeypatch.chdir(world.project)
    with pytest.raises(Refused):
        updating.merge(world.project)
    assert not (world.project / "ran").exists()


@pytest.mark.parametrize("version", ["--upload-pack=x", "v1.0.0 x", "v1.0.0\n-x", "-v1", "v1:x", ""])
def test_a_version_is_no_option(version: str, world: World) -> None:
    answers = world.project / updating.ANSWERS
    content = yaml.safe_load(answers.read_text(encoding="utf-8")) | {"_commit": version}
    answers.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(Refused, match="git cannot have"):
        updating.origin(world.project)


@pytest.mark.parametrize(
    ("source", "git_calls_it", "copier_gets", "recorded"),
    [
        ("gh:acme/x", "https://github.com/acme/x", "git+https://github.com/acme/x", "gh:acme/x"),
        ("gl:acme/x", "https://gitlab.com/acme/x", "git+https://gitlab.com/acme/x", "gl:acme/x"),
        ("git+https://h.example/x", "https://h.example/x", "git+https://h.example/x", "git+https://h.example/x"),
        ("https://h.example/x", "https://h.example/x", "git+https://h.example/x", "https://h.example/x"),
        ("git+file:///x/y", "file:///x/y", "git+file:///x/y", "git+file:///x/y"),
        ("git@h.example:x/y.git", "git@h.example:x/y.git", "git+git@h.example:x/y.git", "git@h.example:x/y.git"),
        ("ssh://git@h.example/x", "ssh://git@h.example/x", "git+ssh://git@h.example/x", "ssh://git@h.example/x"),
        ("../x", "/base/x", None, "/base/x"),
        ("~/x", "/home/somebody/x", None, "/home/somebody/x"),
        ("/a/b/../x", "/a/x", None, "/a/x"),
    ],
)
def test_what_is_made_of_a_source(
    source: str, git_calls_it: str, copier_gets: str | None, recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert sources.address(source, Path("/base/folder")) == git_calls_it
    assert sources.recorded(source, Path("/base/folder")) == recorded
    if copier_gets:
        assert sources.for_copier(source) == copier_gets


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://user:token@h.example/simple", True),
        ("https://token@h.example/simple", True),
        ("git+https://x:y@h.example/z", True),
        ("see https://a:b@h.example and go", True),
        ("ssh://git:pass@h.example/x", True),
        ("ssh://git@h.example/x", False),
        ("https://h.example/simple?x=y@z", False),
        ("git@h.example:x/y", False),
        ("https://[broken", False),
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(text: str, secret: bool) -> None:
    if not secret:
        sources.refuse_secret(text, "It")
        return
    with pytest.raises(Refused, match="password or token") as told:
        sources.refuse_secret(text, "It")
    assert "token@" not in told.value.message
    assert "pass@" not in told.value.message


def test_git_is_allowed_no_protocol_that_is_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="not allowed"):
        our_git(tmp_path, "ls-remote", "--", f"ext::touch {tmp_path}/ran")
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "ext:https")
    assert environment()["GIT_ALLOW_PROTOCOL"] == "https"
    # An address of a repository's own settings leads there as little.
    git(tmp_path, "init", "--quiet", "own")
    git(tmp_path / "own", "config", f"url.ext::touch {tmp_path}/ran .insteadOf", "https://h.example/")
    with pytest.raises(Refused, match="not allowed"):
        our_git(tmp_path / "own", "ls-remote", "--", "https://h.example/x")
    assert not (tmp_path / "ran").exists()


# -------------------------------------------------------------------------------------------- others


def test_an_answers_file_that_is_a_link_is_refused(world: World, tmp_path: Path) -> None:
    elsewhere = tmp_path / "answers elsewhere.yml"
    (world.project / updating.ANSWERS).rename(elsewhere)
    (world.project / updating.ANSWERS).symlink_to(elsewhere)
    commit(world.project)
    text = elsewhere.read_text(encoding="utf-8")
    with pytest.raises(Refused, match="is a link to"):
        world.merge()
    assert elsewhere.read_text(encoding="utf-8") == text


def test_names_in_updateignore_need_not_be_utf8(world: World) -> None:
    (world.project / updating.IGNORE).write_bytes(b"/caf\xe9.txt\n/kept.txt\n")
    commit(world.project)
    world.edit("other.txt", "line 3\n", "line 3, mine\n")
    assert world.merge().changed == (updating.ANSWERS,)


def test_an_updateignore_that_is_a_folder_names_nothing(world: World) -> None:
    (world.project / updating.IGNORE).mkdir()
    (world.project / updating.IGNORE / "x").write_text("x", encoding="utf-8")
    commit(world.project)
    assert "kept.txt" in world.merge().changed


def test_programs_of_the_repository_are_not_run(world: World, tmp_path: Path) -> None:
    """Hooks and the monitor; filters are a person's own, in their own repository."""
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $0 >> '{ran}'\n", encoding="utf-8")
    program.chmod(0o755)
    hooks = world.project / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "pre-commit", "post-commit", "reference-transaction", "post-index-change"):
        shutil.copy(program, hooks / name)
    git(world.project, "config", "core.fsmonitor", str(program))
    git(world.project, "config", "gpg.program", str(program))
    git(world.project, "config", "log.showSignature", "true")
    git(world.project, "config", "diff.external", str(program))
    ran.unlink(missing_ok=True)  # what these settings themselves have run
    updating.switch(world.project, world.merge())
    assert not ran.exists(), ran.read_text(encoding="utf-8")
    assert os.path.exists(world.project / "kept.txt")


# ------------------------------------------------------------------------------- handed to another job


def test_an_update_is_handed_over_without_a_push(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updating, "COPIER", world.copier)
    git(tmp_path, "clone", "--quiet", "--bare", str(world.project), "origin.git")
    git(world.project, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(tmp_path, "clone", "--quiet", str(tmp_path / "origin.git"), "second")
    before = git(tmp_path / "origin.git", "for-each-ref")
    folder = tmp_path / "handed"
    done = run(cli.app, [str(world.project), "--bundle", str(folder)])
    assert done.exit_code == 0, done.output
    assert git(tmp_path / "origin.git", "for-each-ref") == before
    monkeypatch.chdir(tmp_path / "second")
    update = handover.take(folder)
    assert update is not None
    assert (update.branch, update.commit) == ("template/1.1.0", git(world.project, "rev-parse", "template/1.1.0"))
    assert update.title == "Update the template to 1.1.0"
    assert "goes from 1.0.0 to 1.1.0" in update.body
    assert branches.MARK == handover.MARK
    assert handover.push(update)
    # The new version is there: nothing more to hand over.
    assert run(cli.app, [str(world.project), "--bundle", str(folder)]).exit_code == 0
    assert handover.take(folder) is None
    told = run(cli.app, [str(world.project), "--bundle", str(folder), "--propose"])
    assert isinstance(told.exception, Refused)


# ------------------------------------------------------------------------------------------ signatures


def test_an_update_is_taken_from_a_signer_alone(world: World, tmp_path: Path) -> None:
    assert not world.merge().verified
    key = tmp_path / "key"
    subprocess.run([need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "x", "-f", str(key)], check=True)
    signers = world.project / signatures.SIGNERS
    signers.parent.mkdir(exist_ok=True)
    signers.write_text("# nobody yet\n", encoding="utf-8")
    commit(world.project)
    update = world.merge()
    assert not update.verified
    assert "was not verified" in page.text(update)
    signers.write_text(f"maintainers {key.with_suffix('.pub').read_text(encoding='utf-8')}", encoding="utf-8")
    commit(world.project)
    before = state(world.project)
    with pytest.raises(Refused, match="is not signed"):
        world.merge()
    assert state(world.project) == before
    settings = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}")
    git(world.template, *settings, "tag", "--force", "--sign", "-m", "x", "v1.1.0", "v1.1.0^{commit}")
    update = world.merge()
    assert update.verified
    assert "was not verified" not in page.text(update)
    # The signed tag of an older release under the name of a newer one.
    git(world.template, "update-ref", "refs/tags/v1.2.0", "refs/tags/v1.1.0")
    with pytest.raises(Refused, match="is no tag of that name"):
        world.merge()
