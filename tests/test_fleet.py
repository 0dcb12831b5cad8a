"""The fleet: its dry run says what the update itself does, and one broken repository stops nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from commands.answer_space import Template
from commands.release import table
from commands.rendering import TEMPLATE
from extensions.fleet.judging import Row, Verdict, judge
from extensions.fleet.merging import Conflict
from extensions.fleet.repositories import Repository, head_of, read_list
from extensions.fleet.running import in_processes
from extensions.refusal import Refused
from extensions.update import updating
from tests.conftest import commit, shared_project
from tests.support.twins import twins
from tests.updates import history
from tests.updates.edits import LIVES
from tests.updates.history import git
from tests.updates.projects import COPIER, write

Edit = Callable[[Path], None]
LINES = "".join(f"line {number}\n" for number in range(30))

QUESTIONS = """
_subdirectory: template
_envops: {undefined: jinja2.StrictUndefined, keep_trailing_newline: true}
_exclude: ["{% if _copier_operation == 'update' %}mine{% endif %}"]
name: {type: str, default: Zoo}
region: {type: str, default: north, choices: CHOICES}
slug: {type: str, when: false, default: "{{ name | lower }}"}
"""
FIRST: dict[str, str] = {
    "{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers | to_nice_yaml }}",
    "README.md.jinja": "# {{ name }} in {{ region }}\n\n" + LINES,
    "{{ slug }}/code.py": LINES,
    "{{ slug }}/same.py": LINES,
    "mine/notes.txt": "yours\n",
    "gone.txt": "gone " + LINES,
    "gone-too.txt": "gone too " + LINES,
    "deleted.txt": LINES.upper(),
    "moved.txt": "moved " + LINES.replace("line", "row"),
    "here.txt": "here " + LINES.replace("line", "here"),
    "folder/one.txt": "one\n",
    "left/alone.txt": "one\ntwo\nthree\n",
    "run.sh": "#!/bin/sh\n",
}
BYTES = bytes(range(256))


def release(template: Path, tag: str, files: dict[str, str], picture: bytes, choices: str) -> None:
    for path in template.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            path.unlink()
    for name, text in files.items():
        path = template / "template" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (template / "template/picture.bin").write_bytes(picture)
    (template / "template/run.sh").chmod(0o755 if tag != "v1.0.0" else 0o644)
    (template / "copier.yml").write_text(QUESTIONS.replace("CHOICES", choices), encoding="utf-8")
    (template / "CHANGELOG.md").write_text("# Changelog\n\n## 1.1.0\n\n- Code is new.\n\n## 1.0.0\n\n- It begins.\n")
    git("add", "--all", cwd=template)
    git("commit", "--quiet", f"--message={tag}", cwd=template)
    git("tag", tag, cwd=template)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a template with two releases whose differences are of every kind."""
    template = tmp_path_factory.mktemp("template")
    git("init", "--quiet", "--initial-branch=main", cwd=template)
    release(template, "v1.0.0", FIRST, BYTES, "[north, south, west]")
    second = dict(FIRST)
    for name in ("README.md.jinja", "{{ slug }}/code.py", "deleted.txt", "here.txt"):
        second[name] = FIRST[name].replace("5\n", "5 new\n")
    del second["gone.txt"], second["gone-too.txt"]
    second["{{ slug }}/moved-there.txt"] = second.pop("moved.txt").replace("row 9\n", "row nine\n")
    second |= {"new.txt": "new\n", "new-too.txt": "new too\n", "folder/two.txt": "two\n", "mine/more.txt": "more\n"}
    second["left/alone.txt"] = "one\nTWO\nthree\n"
    release(template, "v1.1.0", second, BYTES[::-1], "[north, south]")
    return template


def born(template: Path, tag: str, project: Path, **answers: Any) -> Path:
    """Make a project from a release, as Copier would."""
    checkout = project.parent / f"template-{project.name}-{tag}"
    git("clone", "--quiet", "--branch", tag, str(template), str(checkout), cwd=project.parent)
    version = Template(checkout)
    origin = {"_src_path": str(template), "_commit": tag}
    write(project, version.render(version.all_answers(answers), origin=origin))
    commit(project)
    return project


def live(project: Path, *edits: Edit) -> Path:
    for edit in edits:
        edit(project)
    git("add", "--all", cwd=project)
    git("commit", "--quiet", "--allow-empty", "--message=Mine", cwd=project)
    return project


def replace(file: str, old: str, new: str) -> Edit:
    def edit(project: Path) -> None:
        text = (project / file).read_text(encoding="utf-8")
        assert old in text
        (project / file).write_text(text.replace(old, new), encoding="utf-8")

    return edit


def put(file: str, content: str | bytes) -> Edit:
    def edit(project: Path) -> None:
        (project / file).write_bytes(content.encode() if isinstance(content, str) else content)

    return edit


def delete(file: str) -> Edit:
    return lambda project: (project / file).unlink()


def rename(old: str, new: str) -> Edit:
    def edit(project: Path) -> None:
        (project / old).rename(project / new)

    return edit


EDITS: tuple[Edit, ...] = (
    replace("README.md", "line 20", "line twenty"),  # beside a change
    replace("zoo/code.py", "line 15\n", "line fifteen\n"),  # on a change
    replace("zoo/same.py", "line 1\n", "line one\n"),  # where nothing changes
    replace("gone.txt", "line 1\n", "line one\n"),  # the template removes it
    delete("gone-too.txt"),  # as the template does
    delete("deleted.txt"),  # the template changes it
    rename("here.txt", "there.txt"),  # the template changes it
    replace("moved.txt", "row 20\n", "row twenty\n"),  # the template moves and changes it
    put("new.txt", "mine\n"),  # the template adds another
    put("new-too.txt", "new too\n"),  # the template adds the same
    put("picture.bin", b"\0mine"),  # no lines to merge
    delete("folder/one.txt"),  # the template adds to the folder
    put("mine/notes.txt", "really mine\n"),
    put(".updateignore", "left/\n"),
    put("own.txt", "own\n"),
    put(".gitattributes", "README.md -merge\n"),  # beside a change is a conflict, then
)


def judged(project: Path, cache: Path, to: str | None = None) -> Row:
    cache.mkdir(exist_ok=True)
    repository = Repository(str(project))
    return judge(repository, head_of(repository, cache), cache, to)


def check_equal(project: Path, cache: Path) -> Row:
    """Demand that the dry run tells what the update itself does."""
    before = git("for-each-ref", cwd=project), git("count-objects", "--verbose", cwd=project)
    row = judged(project, cache)
    assert (git("for-each-ref", cwd=project), git("count-objects", "--verbose", cwd=project)) == before
    update = updating.merge(project, copier=COPIER)
    assert update is not None
    assert row.reason == ""
    assert row.changed == sorted(update.changed)
    assert row.conflicts == [Conflict(path=each.path, why=each.why) for each in update.conflicts]
    assert row.left_out == list(update.left_out)
    assert row.verdict == (Verdict.CONFLICTS if update.conflicts else Verdict.CLEAN)
    return row


@pytest.mark.parametrize("edits", [(), EDITS], ids=["no edit", "many edits"])
def test_the_dry_run_says_what_the_update_does(edits: tuple[Edit, ...], small: Path, tmp_path: Path) -> None:
    project = live(born(small, "v1.0.0", tmp_path / "zoo"), *edits)
    row = check_equal(project, tmp_path / "cache")
    assert (row.version, row.behind, row.answers["name"]) == ("v1.0.0", ["v1.1.0"], "Zoo")
    assert row.notes == "## 1.1.0\n\n- Code is new."
    assert [conflict.path for conflict in row.conflicts] == (
        ["README.md", "gone.txt", "new.txt", "picture.bin", "zoo/code.py"] if edits else []
    )


def test_a_folder_whose_only_file_was_renamed_gets_new_ones(small: Path, tmp_path: Path) -> None:
    project = live(born(small, "v1.0.0", tmp_path / "zoo"), rename("folder/one.txt", "folder/mine.txt"))
    row = check_equal(project, tmp_path / "cache")
    assert row.left_out == []
    assert "folder/two.txt" in row.changed


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, *twins(range(2, 8))])
def test_the_dry_run_says_what_the_update_does_for_any_of_the_edits(seed: int, small: Path, tmp_path: Path) -> None:
    random = Random(seed)  # noqa: S311 - nothing is secret here
    edits = random.sample(EDITS, k=random.randint(2, len(EDITS) - 1))
    check_equal(live(born(small, "v1.0.0", tmp_path / "zoo"), *edits), tmp_path / "cache")


def spoil(project: Path) -> None:
    """Edit what releases change, all of it."""
    put("README.md", "# All ours\n")(project)
    put("pyproject.toml", "[project]\nname = 'ours'\n")(project)
    delete("docs/runbooks.md")(project)


@pytest.mark.slow
@pytest.mark.parametrize(
    "life",
    ["files come and go", *twins(["files are renamed", "everything is ours"])],
)
def test_the_dry_run_says_what_an_update_of_this_template_does(
    life: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    past = history.at(shared_project(tmp_path_factory, "history", history.make))
    tag = next(iter(table(TEMPLATE)))
    version, project = past.template(tag), tmp_path / "churn"
    answers = version.all_answers({"serving_mode": "online_and_batch"})
    write(project, version.render(answers, origin={"_src_path": str(past.repository), "_commit": tag}))
    commit(project)
    row = check_equal(live(project, *LIVES.get(life, [spoil])), tmp_path / "cache")
    assert len(row.changed) > 20


def test_a_name_that_is_no_text_stops_nothing(small: Path, tmp_path: Path) -> None:
    project = born(small, "v1.0.0", tmp_path / "zoo")
    (project / os.fsdecode(b"caf\xe9.txt")).write_text("own\n", encoding="utf-8")
    assert judged(live(project), tmp_path / "cache").verdict is Verdict.CLEAN


def die(repository: Repository) -> None:
    os._exit(int(repository.address))


def test_a_killed_process_is_told() -> None:
    with pytest.raises(Refused, match="ended from outside"):
        list(in_processes(die, [Repository("1")], jobs=1))


@pytest.mark.slow
def test_a_project_in_a_folder_of_its_repository(small: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    version = Template(Path(git("rev-parse", "--show-toplevel", cwd=small)))
    git("checkout", "--quiet", "v1.0.0", cwd=small)
    files = version.render(version.all_answers({}), origin={"_src_path": str(small), "_commit": "v1.0.0"})
    git("checkout", "--quiet", "main", cwd=small)
    write(repository / "models/zoo", files)
    commit(repository)
    live(repository / "models/zoo", replace("zoo/code.py", "line 15\n", "line fifteen\n"))
    row = check_equal(repository / "models/zoo", tmp_path / "cache")
    assert [conflict.path for conflict in row.conflicts] == ["models/zoo/zoo/code.py"]


@pytest.mark.parametrize(
    ("answers", "edits", "words"),
    [
        ({}, (delete(".copier-answers.yml"),), "is missing"),
        ({}, (put(".copier-answers.yml", "a: [\n"),), "is damaged"),
        ({}, (put(".copier-answers.yml", b"\xff\xfe"),), "is damaged"),
        ({}, (put(".copier-answers.yml", "name: Zoo\n"),), "does not say which template"),
        ({}, (replace(".copier-answers.yml", "north", "nowhere"),), "region is 'nowhere'"),
        ({}, (replace(".copier-answers.yml", "name: Zoo", "name: Park"),), "edited by hand (name"),
        ({"region": "west"}, (), "v1.1.0 no longer offers"),
        ({}, (replace(".copier-answers.yml", "v1.0.0", "v0.0.9"),), "has no version v0.0.9"),
        ({}, (replace(".copier-answers.yml", "_src_path: /", "_src_path: /missing/"),), "cannot be reached"),
        ({}, (replace(".copier-answers.yml", "_src_path: /", "_src_path: --upload-pack="),), "no template's address"),
    ],
)
def test_what_cannot_be_judged_says_why(
    answers: dict[str, Any], edits: tuple[Edit, ...], words: str, small: Path, tmp_path: Path
) -> None:
    project = live(born(small, "v1.0.0", tmp_path / "zoo", **answers), *edits)
    row = judged(project, tmp_path / "cache")
    assert row.verdict is Verdict.UNKNOWN
    assert words in row.reason
    assert row.hint
    if "address" not in words:
        with pytest.raises(Refused):
            updating.merge(project, copier=COPIER)


def fleet(*words: str, cache: Path, code: int = 0, jobs: int = 1) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "extensions.fleet", *words, "--jobs", str(jobs)]
    wide = {"COLUMNS": "200", "FLEET_CACHE": str(cache)}
    done = subprocess.run(command, env=os.environ | wide, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def list_(small: Path, tmp_path: Path) -> Path:
    """Return a list of a remote repository, local ones in every state, and broken ones."""
    folder = tmp_path / "repositories"
    folder.mkdir()
    born(small, "v1.1.0", folder / "current")
    born(small, "v1.0.0", folder / "clean")
    live(born(small, "v1.0.0", folder / "edited", name="<b>Bold</b>"), *EDITS[3:4], put("own.txt", "own\n"))
    served = live(born(small, "v1.0.0", folder / "served"), replace("zoo/code.py", "line 15\n", "line fifteen\n"))
    git("clone", "--quiet", "--bare", str(served), str(folder / "remote.git"), cwd=folder)
    git("config", "uploadpack.allowFilter", "true", cwd=folder / "remote.git")
    git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=folder / "remote.git")
    (folder / "empty").mkdir()
    git("init", "--quiet", cwd=folder / "empty")
    (folder / "no-repository").mkdir()
    file = folder / "list.txt"
    file.write_text(
        "# the fleet\n\ncurrent\nclean # a comment\nedited\nempty\nmissing\n"
        f"file://{folder}/remote.git\nfile://{folder}/missing.git\ncurrent\n",
        encoding="utf-8",
    )
    return file


def test_report(list_: Path, tmp_path: Path) -> None:
    cache, page, report = tmp_path / "cache", tmp_path / "fleet.html", tmp_path / "fleet.json"
    done = fleet("report", str(list_), "--json", str(report), "--html", str(page), cache=cache, code=1, jobs=2)
    assert "7 repositories: 1 current, 1 merges cleanly, 2 conflicts, 3 unknown." in done.stdout
    content = json.loads(report.read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in content["repositories"]}
    assert list(rows) == ["current", "clean", "edited", "empty", "missing", "remote"]  # two are called missing
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "current": "current",
        "clean": "merges cleanly",
        "edited": "conflicts",
        "empty": "unknown",
        "missing": "unknown",
        "remote": "conflicts",
    }
    assert rows["remote"]["conflicts"][0]["path"] == "zoo/code.py"
    assert "no commit" in rows["empty"]["reason"]
    text = page.read_text(encoding="utf-8")
    assert "&lt;b&gt;Bold&lt;/b&gt;" in text
    assert "<b>Bold" not in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert not list(tmp_path.glob("tmp*")), "something unfinished is left"


def test_what_has_not_changed_is_not_judged_again(list_: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fleet("report", str(list_), cache=cache, code=1)
    made = {file: file.stat().st_mtime_ns for file in (cache / "rows").glob("*.json")}
    assert len(made) == 7
    live(list_.parent / "clean", put("own.txt", "mine\n"))
    fleet("report", str(list_), cache=cache, code=1)
    again = [file for file, moment in made.items() if file.stat().st_mtime_ns != moment]
    rows = [json.loads(file.read_text(encoding="utf-8"))["row"] for file in again]
    assert sorted(row["name"] for row in rows) == ["clean", "empty", "missing", "missing"]
    (judged_by_other_code,) = (file for file in made if '"name":"current"' in file.read_text(encoding="utf-8"))
    content = json.loads(judged_by_other_code.read_text(encoding="utf-8"))
    judged_by_other_code.write_text(json.dumps(content | {"rules": "other"}), encoding="utf-8")
    fleet("report", str(list_), cache=cache, code=1)
    assert json.loads(judged_by_other_code.read_text(encoding="utf-8")) == content
    fleet("report", str(list_), "--fresh", cache=cache, code=1)
    assert all(file.stat().st_mtime_ns > made[file] for file in made)


def test_a_remote_is_cloned_without_the_files_that_no_one_asks_for(list_: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fleet("report", str(list_), cache=cache, code=1)
    (clone,) = (path for path in (cache / "clones").iterdir() if path.is_dir())
    missing = git("rev-list", "--objects", "--missing=print", "refs/heads/fleet/head", cwd=clone)
    assert sum(line.startswith("?") for line in missing.splitlines()) > 5
    other = tmp_path / "other"
    git("clone", "--quiet", f"file://{list_.parent}/remote.git", str(other), cwd=tmp_path)
    live(other, replace("zoo/code.py", "line fifteen\n", "line 15\n"))
    git("push", "--quiet", "origin", "main", cwd=other)
    done = fleet("report", str(list_), cache=cache, code=1)
    assert "1 current, 2 merges cleanly, 1 conflicts, 3 unknown" in done.stdout


def test_update_makes_branches_and_touches_nothing_else(list_: Path, tmp_path: Path) -> None:
    cache, clean = tmp_path / "cache", list_.parent / "clean"
    (clean / "README.md").write_text("not committed\n", encoding="utf-8")
    before = git("rev-parse", "HEAD", cwd=clean), git("status", "--porcelain", cwd=clean)
    done = fleet("update", str(list_), "--only", "clean", "--only", "current", "--dry-run", cache=cache)
    assert "would change" in done.stdout
    assert not git("branch", "--list", "template/*", cwd=clean)
    some = [word for name in ("clean", "current", "empty") for word in ("--only", name)]
    done = fleet("update", str(list_), *some, cache=cache, code=1)
    assert "2 done, 1 refused." in done.stdout
    assert (git("rev-parse", "HEAD", cwd=clean), git("status", "--porcelain", cwd=clean)) == before
    assert git("rev-parse", "--abbrev-ref", "HEAD", cwd=clean) == "main"
    assert len(git("worktree", "list", cwd=clean).splitlines()) == 1
    assert "line 5 new" in git("show", "template/1.1.0:zoo/code.py", cwd=clean)
    made = git("rev-parse", "template/1.1.0", cwd=clean)
    again = fleet("update", str(list_), "--only", "clean", cache=cache)
    assert git("rev-parse", "template/1.1.0", cwd=clean) == made
    assert "1 done, 0 refused" in again.stdout
    fleet("update", str(list_), "--only", "clean", "--answer", "region=south", cache=cache)
    answers = yaml.safe_load(git("show", "template/1.1.0:.copier-answers.yml", cwd=clean))
    assert answers["region"] == "south"
    tree = git("rev-parse", "template/1.1.0^{tree}", cwd=clean)
    persons = git("commit-tree", tree, "-p", "template/1.1.0", "-m", "Settled", cwd=clean)
    git("branch", "--force", "template/1.1.0", persons, cwd=clean)
    assert "somebody has gone on" in fleet("update", str(list_), "--only", "clean", cache=cache, code=1).stdout
    assert git("rev-parse", "template/1.1.0", cwd=clean) == persons


PROGRAMS = {
    "core.fsmonitor": "PROGRAM",
    "core.hooksPath": "FOLDER",
    "core.sshCommand": "PROGRAM",
    "core.alternateRefsCommand": "PROGRAM",
    "core.pager": "PROGRAM",
    "core.editor": "PROGRAM",
    "credential.helper": "!PROGRAM",
    "diff.external": "PROGRAM",
    "diff.spy.textconv": "PROGRAM",
    "diff.spy.command": "PROGRAM",
    "filter.spy.clean": "PROGRAM",
    "filter.spy.smudge": "PROGRAM",
    "filter.spy.process": "PROGRAM",
    "gpg.program": "PROGRAM",
    "log.showSignature": "true",
    "merge.spy.driver": "PROGRAM",
    "remote.origin.uploadpack": "PROGRAM",
    "remote.origin.receivepack": "PROGRAM",
    "remote.origin.promisor": "true",
    "remote.origin.partialclonefilter": "blob:none",
    "uploadpack.packObjectsHook": "PROGRAM",
    "receive.procReceiveRefs": "refs",
    "url.ext::PROGRAM .insteadOf": "file://",
    "gc.recentObjectsHook": "PROGRAM",
    "trailer.x.command": "PROGRAM",
    "sequence.editor": "PROGRAM",
    "interactive.diffFilter": "PROGRAM",
}
HOOKS = [
    "post-checkout",
    "pre-commit",
    "commit-msg",
    "prepare-commit-msg",
    "post-commit",
    "pre-push",
    "pre-receive",
    "update",
    "post-receive",
    "post-update",
    "reference-transaction",
    "post-index-change",
    "post-merge",
    "post-rewrite",
    "pre-auto-gc",
    "fsmonitor-watchman",
    "proc-receive",
    "push-to-checkout",
    "pre-rebase",
    "applypatch-msg",
    "sendemail-validate",
]


def test_nothing_of_a_foreign_repository_is_run(small: Path, tmp_path: Path) -> None:
    """Its hooks, monitors, filters, drivers and helpers: by its own settings and its own attributes."""
    project = live(born(small, "v1.0.0", tmp_path / "zoo"), replace("zoo/code.py", "line 15\n", "line fifteen\n"))
    live(project, put(".gitattributes", "* filter=spy diff=spy merge=spy\n"))
    git("init", "--quiet", "--bare", str(tmp_path / "origin.git"), cwd=tmp_path)
    ran, program = tmp_path / "ran", tmp_path / "programs/program"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho \"$0 $*\" >> '{ran}'\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    for folder in (project / ".git/hooks", program.parent):
        folder.mkdir(exist_ok=True)
        for name in HOOKS:
            shutil.copy(program, folder / name)
    (project / ".git/info").mkdir(exist_ok=True)
    (project / ".git/info/attributes").write_text("* filter=spy diff=spy merge=spy\n", encoding="utf-8")
    for name, value in {"remote.origin.url": f"{tmp_path}/origin.git", **PROGRAMS}.items():
        words = [word.replace("PROGRAM", str(program)).replace("FOLDER", str(program.parent)) for word in (name, value)]
        git("config", "--file", str(project / ".git/config"), *words, cwd=tmp_path)
    (tmp_path / "list.txt").write_text("zoo\n", encoding="utf-8")
    files = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and ".git" not in path.parts}
    report = fleet("report", str(tmp_path / "list.txt"), cache=tmp_path / "cache")
    assert "conflicts in zoo/code.py" in report.stdout
    done = fleet("update", str(tmp_path / "list.txt"), "--push", cache=tmp_path / "cache")
    assert "conflicts in zoo/code.py; pushed" in done.stdout
    assert not ran.exists(), ran.read_text(encoding="utf-8")
    assert files == {path: path.read_bytes() for path in files}
    assert "template/1.1.0" in git("for-each-ref", cwd=tmp_path / "origin.git")
    assert (project / ".git/refs/heads/template/1.1.0").exists()


def test_a_program_for_an_origin_is_told(small: Path, tmp_path: Path) -> None:
    project = born(small, "v1.0.0", tmp_path / "zoo")
    git("config", "remote.origin.url", f"ext::touch {tmp_path}/ran", cwd=project)
    (tmp_path / "list.txt").write_text("zoo\n", encoding="utf-8")
    done = fleet("update", str(tmp_path / "list.txt"), "--push", cache=tmp_path / "cache", code=1)
    assert "would run a program" in done.stdout
    assert not (tmp_path / "ran").exists()


def test_two_projects_of_a_repository_have_a_branch_each(small: Path, tmp_path: Path) -> None:
    repository = tmp_path / "both"
    for name in ("one", "two"):
        project = born(small, "v1.0.0", tmp_path / name)
        (project / ".git").rename(tmp_path / f"{name}.git")
        repository.mkdir(exist_ok=True)
        project.rename(repository / name)
    commit(repository)
    (tmp_path / "list.txt").write_text("both/one\nboth/two\n", encoding="utf-8")
    foretold = fleet("update", str(tmp_path / "list.txt"), "--dry-run", cache=tmp_path / "cache").stdout
    done = fleet("update", str(tmp_path / "list.txt"), cache=tmp_path / "cache", jobs=2).stdout
    for name, other in (("one", "two"), ("two", "one")):
        branch = f"template/{name}/1.1.0"
        assert branch in foretold
        assert branch in done
        changed = git("diff", "--name-only", "main", branch, cwd=repository).splitlines()
        assert f"{name}/zoo/code.py" in changed
        assert not [path for path in changed if path.startswith(f"{other}/")]
    assert not list(repository.glob("*/.git"))
    assert git("status", "--porcelain", cwd=repository) == ""


def test_a_bare_repository_of_this_machine_is_updated(small: Path, tmp_path: Path) -> None:
    project = born(small, "v1.0.0", tmp_path / "zoo")
    git("clone", "--quiet", "--bare", str(project), str(tmp_path / "bare.git"), cwd=tmp_path)
    (tmp_path / "list.txt").write_text("bare.git\n", encoding="utf-8")
    fleet("update", str(tmp_path / "list.txt"), cache=tmp_path / "cache")
    assert "line 5 new" in git("show", "template/1.1.0:zoo/code.py", cwd=tmp_path / "bare.git")


@pytest.mark.parametrize("name", ["template", "template/1.1.0"])
def test_a_branch_in_the_way_is_named(name: str, small: Path, tmp_path: Path) -> None:
    project = born(small, "v1.0.0", tmp_path / "zoo")
    if name == "template":
        git("branch", name, cwd=project)
    else:
        git("worktree", "add", "--quiet", "-b", name, str(tmp_path / "elsewhere"), cwd=project)
    before = git("for-each-ref", cwd=project), git("status", "--porcelain", cwd=project)
    (tmp_path / "list.txt").write_text("zoo\n", encoding="utf-8")
    told = fleet("update", str(tmp_path / "list.txt"), cache=tmp_path / "cache", code=1).stdout
    assert f"one that is called {name}" in told or "is checked out in" in told
    assert (git("for-each-ref", cwd=project), git("status", "--porcelain", cwd=project)) == before


def test_what_git_ignores_in_a_working_tree_is_not_lost_by_a_branch(small: Path, tmp_path: Path) -> None:
    project = live(born(small, "v1.0.0", tmp_path / "zoo"), put(".gitignore", "/new.txt\n"))
    (project / "new.txt").write_text("only here\n", encoding="utf-8")
    (tmp_path / "list.txt").write_text("zoo\n", encoding="utf-8")
    told = fleet("update", str(tmp_path / "list.txt"), cache=tmp_path / "cache", code=1).stdout
    assert "does not know: new.txt" in told
    assert not git("branch", "--list", "template/*", cwd=project)


def link_in_place(path: str) -> Edit:
    def edit(project: Path) -> None:
        (project / path).unlink(missing_ok=True)
        (project / path).symlink_to("own.txt")

    return edit


def folder_in_place(path: str) -> Edit:
    def edit(project: Path) -> None:
        (project / path).unlink(missing_ok=True)
        (project / path).mkdir()
        (project / path / "mine.txt").write_text("mine\n", encoding="utf-8")

    return edit


def test_the_dry_run_says_what_stands_in_the_way(small: Path, tmp_path: Path) -> None:
    edits = (link_in_place("zoo/code.py"), folder_in_place("README.md"), link_in_place("new.txt"))
    row = check_equal(live(born(small, "v1.0.0", tmp_path / "zoo"), *edits), tmp_path / "cache")
    assert [each.path for each in row.conflicts] == ["README.md", "new.txt", "zoo/code.py"]


def test_an_answers_file_that_is_a_link_is_told(small: Path, tmp_path: Path) -> None:
    project = born(small, "v1.0.0", tmp_path / "zoo")
    (project / ".copier-answers.yml").rename(tmp_path / "answers.yml")
    live(project, link_in_place(".copier-answers.yml"))
    assert "is a link to own.txt" in judged(project, tmp_path / "cache").reason


@pytest.mark.slow
def test_update_pushes_and_leaves_alone_where_a_person_has_gone_on(list_: Path, tmp_path: Path) -> None:
    cache, remote = tmp_path / "cache", list_.parent / "remote.git"
    update = ("update", str(list_), "--only", "remote", "--push")
    done = fleet(*update, cache=cache)
    assert "conflicts in zoo/code.py; pushed" in done.stdout
    assert "<<<<<<< " in git("show", "template/1.1.0:zoo/code.py", cwd=remote)
    assert "conflicts in zoo/code.py; pushed" in fleet(*update, cache=cache).stdout  # again
    other = tmp_path / "other"
    git("clone", "--quiet", "--branch=template/1.1.0", str(remote), str(other), cwd=tmp_path)
    live(other, replace("zoo/code.py", "line 1\n", "line one\n"))
    git("push", "--quiet", "origin", "HEAD", cwd=other)
    tip = git("rev-parse", "template/1.1.0", cwd=remote)
    assert "somebody has gone on" in fleet(*update, cache=cache, code=1).stdout
    assert git("rev-parse", "template/1.1.0", cwd=remote) == tip


@pytest.mark.slow
def test_a_remote_that_refuses_the_push_is_told(list_: Path, tmp_path: Path) -> None:
    hook = list_.parent / "remote.git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'Branches are closed.' >&2\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    done = fleet("update", str(list_), "--only", "remote", "--push", cache=tmp_path / "cache", code=1)
    assert "0 done, 1 refused" in done.stdout


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (None, (), "cannot be read"),
        ("# nothing\n\n", (), "names no repository"),
        ("--upload-pack=x\n", (), "line 1"),
        ("a/churn\n", ("--only", "chrun"), "Did you mean churn?"),
        ("a/churn\n", ("--answer", "region"), "NAME=VALUE"),
    ],
)
def test_a_wrong_command_is_told(content: str | None, options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_text(content, encoding="utf-8")
    done = fleet("update", str(tmp_path / "list.txt"), *options, cache=tmp_path / "cache", code=1)
    assert words in done.stderr


def test_names_and_kinds_of_repositories(tmp_path: Path) -> None:
    lines = ["local", "git@host.example:team/one.git", "https://host.example/team/two.git", "ssh://h/three/", "../up"]
    (tmp_path / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    found = {repository.name: repository.remote for repository in read_list(tmp_path / "list.txt")}
    assert found == {"local": False, "one": True, "two": True, "three": True, "up": False}


@pytest.mark.slow
def test_an_interrupted_report_goes_on(small: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    project = born(small, "v1.0.0", tmp_path / "zoo")
    for number in range(30):
        git("clone", "--quiet", str(project), str(tmp_path / f"zoo-{number}"), cwd=tmp_path)
    (tmp_path / "list.txt").write_text("\n".join(f"zoo-{number}" for number in range(30)), encoding="utf-8")
    command = [sys.executable, "-m", "extensions.fleet", "report", str(tmp_path / "list.txt"), "--cache", str(cache)]
    # A terminal sends Ctrl-C to all processes of a command, so the command gets a group of its own.
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while len(list((cache / "rows").glob("*.json"))) < 3:
        assert running.poll() is None
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Interrupted" in told
    assert "Traceback" not in told
    made = {file: file.stat().st_mtime_ns for file in (cache / "rows").glob("*.json")}
    assert 3 <= len(made) < 30
    assert all('"merges cleanly"' in file.read_text(encoding="utf-8") for file in made)
    done = fleet("report", str(tmp_path / "list.txt"), cache=cache)
    assert "30 repositories: 30 merges cleanly." in done.stdout
    assert all(file.stat().st_mtime_ns == moment for file, moment in made.items())
