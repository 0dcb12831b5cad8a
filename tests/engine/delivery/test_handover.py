"""An update that another job merged: what is pushed is the one branch of an update, whatever that job handed over."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from twoloops.delivery import handover
from twoloops.errors import ProjectError

from tests.engine.support.hosting import Host
from tests.engine.support.project import Project
from tests.engine.support.verbs import call

BRANCH = "template/1.0.0"


def git(*words: str, folder: Path | None = None) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def handed(bare_project: Project, tmp_path: Path) -> Path:
    """Return what the first job hands over; the project is the second job's checkout, with a remote."""
    origin = tmp_path / "origin.git"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git("init", "--quiet", "--initial-branch=main")
    git("add", "--all")
    git("commit", "--quiet", "--message=Start")
    git("remote", "add", "origin", str(origin))
    git("push", "--quiet", "origin", "main")
    other = tmp_path / "first job"
    git("clone", "--quiet", str(origin), str(other))
    git("switch", "--quiet", "--create", BRANCH, folder=other)
    (other / "new.txt").write_text("new\n", encoding="utf-8")
    git("add", "--all", folder=other)
    git("commit", "--quiet", f"--message=Update\n\n{handover.MARK} nobody's work", folder=other)
    return pack(other, tmp_path / "handed")


def pack(other: Path, folder: Path, *refs: str, **told: str) -> Path:
    """Write what is handed over, from a repository; `told` is said in place of the truth."""
    folder.mkdir(exist_ok=True)
    commit = git("rev-parse", "HEAD", folder=other)
    content = {"branch": BRANCH, "commit": commit, "title": "Update the template to 1.0.0"} | told
    (folder / handover.DOCUMENT).write_text(json.dumps(content), encoding="utf-8")
    refs = refs or (f"refs/heads/{BRANCH}", "^origin/main")
    git("bundle", "create", "--quiet", str(folder / handover.BUNDLE), *refs, folder=other)
    (folder / handover.PAGE).write_text("# New\n", encoding="utf-8")
    return folder


def on_the_host(tmp_path: Path) -> dict[str, str]:
    listed = git("for-each-ref", "--format=%(refname) %(objectname)", folder=tmp_path / "origin.git")
    return dict(line.split() for line in listed.splitlines())


def test_the_branch_is_pushed_and_proposed(handed: Path, bare_project: Project, hosted: Host, tmp_path: Path) -> None:
    bare_project.configure(host="stand_in")
    told = call("propose", "--bundle", str(handed), "--json")
    assert json.loads(told.output) == {"url": "https://host.invalid/change", "pushed": True}
    assert hosted.asked == ["propose template/1.0.0: Update the template to 1.0.0"]
    first = on_the_host(tmp_path)
    assert first.keys() == {"refs/heads/main", f"refs/heads/{BRANCH}"}
    # Another run may replace it, as long as nobody has gone on there.
    other = tmp_path / "first job"
    git("commit", "--quiet", "--amend", f"--message=Again\n\n{handover.MARK} nobody's work", folder=other)
    update = handover.take(pack(other, handed))
    assert update is not None
    assert handover.push(update)
    assert on_the_host(tmp_path) == first | {f"refs/heads/{BRANCH}": update.commit}
    git("commit", "--quiet", "--allow-empty", "--message=A person's", folder=other)
    git("push", "--quiet", "origin", BRANCH, folder=other)
    of_a_person = on_the_host(tmp_path)
    assert not handover.push(update)
    assert on_the_host(tmp_path) == of_a_person


def test_where_nothing_is_newer_nothing_is_proposed(handed: Path, bare_project: Project, hosted: Host) -> None:
    bare_project.configure(host="stand_in")
    (handed / handover.DOCUMENT).write_text('{"branch": null}', encoding="utf-8")
    assert "no update to propose" in call("propose", "--bundle", str(handed)).output
    assert hosted.asked == []


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"branch": "main"}, "something else than an update does: branch"),
        ({"branch": "template/../main"}, "something else than an update does: branch"),
        ({"branch": "template/1/../../main"}, "git check-ref-format failed"),
        ({"branch": "template/x:main"}, "something else than an update does: branch"),
        ({"branch": "--upload-pack=x"}, "something else than an update does: branch"),
        ({"branch": "template/2.0.0"}, "something else than the branch"),
        ({"commit": "HEAD"}, "something else than an update does: commit"),
        ({"commit": "0" * 40}, "something else than the branch"),
        ({"title": "a\nb"}, "something else than an update does: title"),
    ],
)
def test_what_is_said_must_be_an_update(handed: Path, tmp_path: Path, told: dict[str, str], words: str) -> None:
    pack(tmp_path / "first job", handed, **told)
    before = on_the_host(tmp_path)
    with pytest.raises(ProjectError, match=words):
        handover.take(handed)
    assert on_the_host(tmp_path) == before


def test_a_bundle_with_more_or_from_elsewhere_is_refused(handed: Path, tmp_path: Path) -> None:
    other = tmp_path / "first job"
    git("branch", "evil", folder=other)
    pack(other, handed, f"refs/heads/{BRANCH}", "refs/heads/evil", "^origin/main")
    with pytest.raises(ProjectError, match="something else than the branch"):
        handover.take(handed)
    # A history of its own, or what main has already, is no update of it.
    git("branch", "--delete", "--force", "evil", folder=other)
    git("switch", "--quiet", "--detach", folder=other)
    git("branch", "--force", BRANCH, "origin/main", folder=other)
    git("switch", "--quiet", BRANCH, folder=other)
    with pytest.raises(ProjectError, match="nothing that is new"):
        handover.take(pack(other, handed, f"refs/heads/{BRANCH}"))
    git("switch", "--quiet", "--orphan", "alone", folder=other)
    git("commit", "--quiet", "--allow-empty", "--message=Another history", folder=other)
    git("branch", "--force", BRANCH, "alone", folder=other)
    git("switch", "--quiet", BRANCH, folder=other)
    with pytest.raises(ProjectError, match="does not stand above"):
        handover.take(pack(other, handed, f"refs/heads/{BRANCH}"))
    (handed / handover.BUNDLE).write_bytes(b"no bundle")
    with pytest.raises(ProjectError, match="git bundle failed"):
        handover.take(handed)
    (handed / handover.DOCUMENT).unlink()
    with pytest.raises(ProjectError, match="holds no update"):
        handover.take(handed)


@pytest.mark.usefixtures("bare_project", "hosted")
def test_what_is_proposed_is_said_once(tmp_path: Path) -> None:
    for words in ([], ["template/1"], ["template/1", "--bundle", str(tmp_path)]):
        assert "not said, or twice" in str(call("propose", *words).exception)
