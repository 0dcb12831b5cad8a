"""The template's newer version, merged into the project by git, so that no edit is lost.

The version that the project has and the newer one are both rendered with the project's answers. What
differs between these two is picked onto the project by git's three-way merge, which follows renamed
files. Where both sides changed the same lines, git marks both. A file that the template removed and
the project has edited stays; one that the project has deleted stays deleted, and a folder of which it
has deleted every file gets no new ones. What `.updateignore` names is left alone.

The engine, the folder `engine/`, is merged by itself: nothing of the project's own moves into it, however like a
file of it may be.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from .. import signatures, sources
from ..git import RELEASE, environment, git, items, run
from ..refusal import Refused
from . import branches, dependencies
from .branches import MARK
from .obstacles import entries, find_obstacles, told

ANSWERS = ".copier-answers.yml"
IGNORE = ".updateignore"  # in a project: paths that updates leave alone, in the syntax of .gitignore
COPIER = (sys.executable, "-m", "copier")
HEADING = re.compile(r"^## \[?v?(?P<version>\d+\.\d+\.\d+)\]?(\s|$)", re.MULTILINE)
ENGINE = "engine"  # the folder of the machinery in a project
# Commits made here are nobody's own.
NOBODY = ("-c", "user.name=template", "-c", "user.email=template@invalid")
DIFF = ("diff", "--no-color", "--no-ext-diff", "--no-textconv")  # for people, and by git alone
# The answers on which the owner's own files stand: an update does not move these.
SETTLED = {
    "package_name": "it names the folder of your own code, and every import in it",
    "problem_type": "the files of problem/ are of the one type, and yours",
}
MERGE = ("-c", "merge.renames=true", "-c", "merge.directoryRenames=true", "-c", "rerere.enabled=false")


@dataclass(frozen=True)
class Origin:
    """Where a project comes from, as its answers file records it."""

    source: str  # the template's address
    version: str  # such as "v0.1.0"
    answers: dict[str, Any]


@dataclass(frozen=True)
class Conflict:
    """A file that a person has to settle."""

    path: str
    why: str
    diff: str = ""  # what the project had changed in a file that the template has no more
    left: str = ""  # what the template has changed, and could not be merged


@dataclass(frozen=True)
class Update:
    """A newer version of the template, merged into the project."""

    before: str  # versions, such as "0.1.0"
    after: str
    commit: str  # the merged state, in the project's repository and on no branch yet
    changed: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    left_out: tuple[str, ...]  # the template changed them; the project has deleted them, and they stay deleted
    answers: dict[str, tuple[Any, Any]]  # those that differ, by name; None: not there
    notes: str  # what the releases in between say, Markdown
    engine_edits: tuple[str, ...] = ()  # files of the engine that the project has changed: the changes are kept
    rewritten: tuple[str, ...] = ()  # files of the owner in which imports of what has moved were rewritten
    to_rewrite: tuple[str, ...] = ()  # places that only a person can rewrite, a line each
    inside: str = ""  # the project's folder in its repository: "" or "models/churn/"
    verified: bool = False  # whether one of the template's signers has signed the release

    @property
    def branch(self) -> str:
        """The branch that is made for it."""
        return branches.name_of(self.after, self.inside)


def origin(project: Path) -> Origin:
    """Return where a project comes from.

    Raises:
        Refused: the answers file is missing or damaged.
    """
    file = project / ANSWERS
    bring_back = f"Bring it back: git log --oneline -- {ANSWERS} names the commits, git checkout COMMIT -- {ANSWERS}."
    if file.is_symlink():
        hint = "Put the file itself there: an update writes it, and would write through the link."
        raise Refused(f"{ANSWERS} is a link to {os.readlink(file)}.", hint=hint)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        others = sorted(each.name for each in project.glob(".copier-answers*.y*ml"))
        if others:
            raise Refused(
                f"{ANSWERS} is missing; {', '.join(others)} is that of another template, and not looked at here.",
                hint=f"uvx copier update --answers-file {others[0]} updates that one.",
            ) from None
        raise Refused(f"{ANSWERS} is missing: nothing else says what this was made from.", hint=bring_back) from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise Refused(f"{ANSWERS} is damaged: {' '.join(str(error).split())}", hint=bring_back) from error
    if not isinstance(content, dict) or not {"_commit", "_src_path"} <= content.keys():
        raise Refused(f"{ANSWERS} does not say which template this was made from, in which version.", hint=bring_back)
    source, version = str(content["_src_path"]), str(content["_commit"])
    try:
        address(source)
    except Refused as error:
        message = f"{ANSWERS} names {source}, which is no template's address. {error.message}"
        raise Refused(message, hint=error.hint) from error
    if not re.fullmatch(r"\w[\w.+/-]*", version):  # git would take it for an option, or for several words
        raise Refused(f"{ANSWERS} names the version {version!r}, which git cannot have.", hint=bring_back)
    answers = {str(name): value for name, value in content.items() if not str(name).startswith("_")}
    return Origin(source, version, answers)


def releases(source: str) -> list[str]:
    """Return the tags of a template's releases, the oldest first.

    Raises:
        Refused: the template cannot be reached.
    """
    try:
        listed = git(Path(), "ls-remote", "--tags", "--refs", "--", address(source))
    except Refused as error:
        hint = f"{ANSWERS} has the address in _src_path: is it right, and can git reach it from this folder?"
        raise Refused(f"The template {source} cannot be reached. {error.message}", hint=hint) from error
    tags = [line.rpartition("/")[2] for line in listed.splitlines()]
    return sorted(filter(RELEASE.fullmatch, tags), key=number)


def merge(
    project: Path,
    *,
    to: str | None = None,
    answers: Mapping[str, str] | None = None,
    copier: Sequence[str] = COPIER,
) -> Update | None:
    """Merge a version of the template into the project's last commit, and return what came of it.

    Branches, index and working tree stay as they are; `switch` brings the result onto a branch.

    Args:
        project: its folder, in a git repository.
        to: the version, such as "0.2.0"; None: the newest release.
        answers: answers to be changed with it.
        copier: the command that renders.

    Returns:
        The update; None: there is nothing newer, and no answer changes.

    Raises:
        Refused: the project does not know its template, the template or the version cannot be reached,
            an answer is not possible (any more), or the answers file was edited by hand.
    """
    branches.require_commit(project)
    known, answers = origin(project), dict(answers or {})
    _refuse_settled(known, answers)
    target = _target(known, to, stay=bool(answers))
    if target is None:
        return None
    verified = target != known.version and signatures.verify(project, known.source, target)
    inside = git(project, "rev-parse", "--show-prefix")
    with tempfile.TemporaryDirectory() as temporary:
        renders = Path(temporary, "renders")
        kind = f"--object-format={git(project, 'rev-parse', '--show-object-format')}"
        git(renders.parent, "init", "--quiet", kind, str(renders))
        place = renders / inside
        place.parent.mkdir(parents=True, exist_ok=True)
        before = _render(known, place, copier)
        _refuse_hand_edits(project, known, Path(temporary, "answers"), copier, kind)
        _copier(copier, known, "update", f"--vcs-ref={target}", *_data(answers), cwd=place)
        _commit_all(place, f"template {target.removeprefix('v')}", ignore=project / IGNORE)
        differing = _differing(before, origin(place).answers)
        _refuse_lost_answers(differing, answers, target)
        obstacles = _take_obstacles_out(project, renders)
        theirs = _engine_first(renders, inside)
        git(project, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", str(renders), theirs)
        with checkout(project) as tree:
            picked = [_pick(tree, each, f"{theirs}~2") for each in (f"{theirs}^", theirs)]
            conflicts = (*obstacles, *(conflict for found, _ in picked for conflict in found))
            conflicts = tuple(sorted(conflicts, key=lambda conflict: conflict.path))
            deleted = [path for _, found in picked for path in found]
            left_out = tuple(sorted({*deleted, *_leave_out(tree, f"{theirs}~2", theirs, project / IGNORE)}))
            _take_answers(tree / inside, place, known)
            commit = commit_index(tree, f"Update the template to {target.removeprefix('v')}")
            edits = items(git(tree, "diff", "--name-only", "-z", theirs, commit, "--", inside + ENGINE))
            changed = items(git(tree, "diff", "--name-only", "--no-renames", "-z", "HEAD", commit))
    return Update(
        before=known.version.removeprefix("v"),
        after=target.removeprefix("v"),
        commit=commit,
        changed=changed,
        conflicts=conflicts,
        left_out=left_out,
        answers=differing,
        notes=_notes(known.source, known.version, target),
        engine_edits=tuple(path for path in edits if path not in left_out),
        inside=inside,
        verified=verified,
    )


def switch(project: Path, update: Update) -> str:
    """Make the update's branch, check it out, and return its name.

    Raises:
        Refused: the working tree has changes or files that would be lost, or the branch holds commits of a person.
    """
    branches.switch_to(project, update.branch, update.commit)
    return update.branch


@contextmanager
def checkout(project: Path, revision: str = "HEAD") -> Iterator[Path]:
    """Yield a temporary checkout of a commit of the project, beside its own."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        git(project, "worktree", "add", "--quiet", "--detach", str(tree), revision)
        try:
            yield tree
        finally:
            git(project, "worktree", "remove", "--force", str(tree))


def commit_index(tree: Path, subject: str) -> str:
    """Commit what is in the index, on no branch, marked as made here; return the commit."""
    message = f"{subject}\n\n{MARK} this commit holds nobody's work"
    return git(tree, *_author(tree), "commit-tree", git(tree, "write-tree"), "-p", "HEAD", "-m", message)


def push(project: Path, update: Update) -> bool:
    """Push the update to its branch of the remote `origin`; False: a person has gone on there, it stays as it is.

    Raises:
        Refused: the remote cannot be reached, or does not take the branch.
    """
    branch = f"refs/heads/{update.branch}"
    tip = git(project, "ls-remote", "--", "origin", branch).partition("\t")[0]
    if tip:
        git(project, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", "origin", branch)
        if not branches.is_free(project, tip, update.commit):
            return False
    # Only over the commit that was looked at: somebody may have pushed since.
    lease = f"--force-with-lease={branch}:{tip}"
    git(project, "push", "--quiet", "--no-verify", lease, "--", "origin", f"{update.commit}:{branch}")
    return True


def _target(known: Origin, to: str | None, *, stay: bool) -> str | None:
    """Return the tag to go to; None: the project has it."""
    there = releases(known.source)
    if to is not None and f"v{to.removeprefix('v')}" not in there:
        names = ", ".join(tag.removeprefix("v") for tag in there) or "none"
        raise Refused(f"The template has no release {to}.", hint=f"Its releases: {names}.")
    newest = f"v{to.removeprefix('v')}" if to else next(reversed(there), None)
    if newest is None:
        raise Refused(f"The template {known.source} has no release.", hint="A release is a tag such as v1.0.0.")
    if number(newest) > number(known.version):
        return newest
    if to and number(newest) < number(known.version):
        hint = "An update goes forward only. git revert takes an update back."
        raise Refused(f"The project has {known.version}, which is newer than {to}.", hint=hint)
    return known.version if stay else None


def _render(known: Origin, place: Path, copier: Sequence[str]) -> dict[str, Any]:
    """Render the version that the project has, commit it, and return the answers as the template took them."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml", encoding="utf-8") as data:
        yaml.safe_dump(known.answers, data, allow_unicode=True)
        data.flush()
        words = (
            "copy",
            f"--data-file={data.name}",
            f"--vcs-ref={known.version}",
            "--",
            sources.for_copier(known.source),
            str(place),
        )
        _copier(copier, known, *words, cwd=place.parent)
    _commit_all(place, f"template {known.version.removeprefix('v')}")
    return origin(place).answers


def _refuse_hand_edits(project: Path, known: Origin, spare: Path, copier: Sequence[str], kind: str) -> None:
    """Refuse when answers were changed by hand: the project's files are then not those of its answers.

    Args:
        project: the project.
        known: where it comes from.
        spare: a free place, to render the former answers and then the present ones.
        copier: the command that renders.
        kind: git's option for a repository like the project's.
    """
    since = git(project, "log", "-1", "--format=%H", "--no-textconv", "-G^_commit:", "--", ANSWERS)
    content = yaml.safe_load(git(project, "show", f"{since}:./{ANSWERS}")) if since else {}
    answers = {name: value for name, value in content.items() if not name.startswith("_")}
    edited = _differing(answers, known.answers)
    if not answers or not edited:
        return
    git(project, "init", "--quiet", kind, str(spare))
    _render(Origin(known.source, known.version, answers), spare, copier)
    then = _files(spare)
    # Updated, not rendered anew: what belongs to the user alone stays as it is then, here as in the project.
    now_given = {name: new for name, (_, new) in edited.items() if new is not None}
    _copier(copier, known, "update", f"--vcs-ref={known.version}", *_data(now_given), cwd=spare)
    _commit_all(spare, "answers")
    now = _files(spare)
    # An update that stays at its version changes answers as well. What the project deleted says nothing of either.
    files = _files(project)
    if len(files & then - now) > len(files & now - then):
        changes = ", ".join(f"{name}: {old} -> {new}" for name, (old, new) in edited.items())
        options = " ".join(f"--answer {name}={new}" for name, new in now_given.items())
        raise Refused(
            f"{ANSWERS} was edited by hand ({changes}), and the files are still those of the former answers.",
            hint=f"Put it back (git checkout {since[:12]} -- {ANSWERS}, commit), and give the update {options}.",
        )


def _refuse_settled(known: Origin, wanted: Mapping[str, str]) -> None:
    """Refuse another answer where files of the owner stand on the one that is recorded."""
    for name, why in SETTLED.items():
        if name in wanted and name in known.answers and wanted[name] != str(known.answers[name]):
            raise Refused(
                f"{name} stays {known.answers[name]}: {why}, and an update leaves what is yours alone.",
                hint=f"Make a new project with {name}={wanted[name]}, and bring your files and data over.",
            )


def _refuse_lost_answers(differing: dict[str, tuple[Any, Any]], wanted: Mapping[str, str], target: str) -> None:
    """Refuse when the newer version has put another value in place of an answer that it no longer offers."""
    lost = {name: pair for name, pair in differing.items() if None not in pair and name not in wanted}
    if lost:
        changes = "; ".join(f"{name} is {old}, it would become {new}" for name, (old, new) in lost.items())
        options = " ".join(f"--answer {name}={new}" for name, (_, new) in lost.items())
        raise Refused(
            f"Version {target.removeprefix('v')} no longer offers answers of this project: {changes}.",
            hint=f"Choose, and say so: {options}.",
        )


def _take_obstacles_out(project: Path, renders: Path) -> list[Conflict]:
    """Take out of the newer render what cannot be merged, since something of another kind stands there.

    The newer render's commit is replaced.

    Returns:
        For each file what a person is told, with the change of the template.
    """
    listing = ("ls-tree", "-r", "-z", "--full-tree")
    ours = entries(items(git(project, *listing, "HEAD")))
    before, after = (entries(items(git(renders, *listing, revision))) for revision in ("HEAD^", "HEAD"))
    found = find_obstacles(ours, before, after)
    found = {path: why for path, why in found.items() if PurePosixPath(path).name != ANSWERS}
    if not found:
        return []
    diffs = {path: git(renders, *DIFF, "HEAD^", "HEAD", "--", f":(literal){path}") for path in found}
    nothing = ("0", "0" * len(git(renders, "rev-parse", "HEAD")))
    lines = [f"{mode} {name}\t{path}" for path in found for mode, name in [before.get(path, nothing)]]
    git(renders, "update-index", "-z", "--index-info", given="\0".join(lines))
    message = git(renders, "log", "-1", "--format=%B")
    commit = git(renders, *NOBODY, "commit-tree", git(renders, "write-tree"), "-p", "HEAD^", "-m", message)
    git(renders, "update-ref", "HEAD", commit)
    return [Conflict(path, told(why), left=diffs[path]) for path, why in found.items()]


def _engine_first(renders: Path, inside: str) -> str:
    """Lay a commit with the newer engine alone between the two renders, and return the newer one above it.

    Otherwise git takes modules that moved into the engine for renamed, and brings the project's edits there.
    """
    before, after = git(renders, "rev-parse", "HEAD^"), git(renders, "rev-parse", "HEAD")
    engine = f"{inside}{ENGINE}"
    index = {"GIT_INDEX_FILE": str(renders / ".git/engine-index")}
    git(renders, "read-tree", before, variables=index)
    git(renders, "rm", "-r", "--cached", "--force", "--quiet", "--ignore-unmatch", "--", engine, variables=index)
    if git(renders, "ls-tree", after, "--", engine):
        git(renders, "read-tree", f"--prefix={engine}/", f"{after}:{engine}", variables=index)
    tree = git(renders, "write-tree", variables=index)
    between = git(renders, *NOBODY, "commit-tree", tree, "-p", before, "-m", "the engine")
    return git(renders, *NOBODY, "commit-tree", f"{after}^{{tree}}", "-p", between, "-m", "the template")


def _pick(tree: Path, theirs: str, base: str) -> tuple[list[Conflict], list[str]]:
    """Pick the commit `theirs` into the index and files of `tree`; return what is to settle, and what stays deleted.

    Args:
        tree: a checkout of the project.
        theirs: the commit.
        base: the version that the project has, to tell what the project has changed in it.
    """
    try:
        git(tree, *NOBODY, *MERGE, "cherry-pick", "--no-commit", theirs)
    except Refused:
        if not git(tree, "ls-files", "--unmerged"):  # it was not for conflicts that it failed
            raise
    conflicts, left_out = [], []
    for path, found in sorted(stages(items(git(tree, "ls-files", "--unmerged", "-z"))).items()):
        if Path(path).name == ANSWERS:
            continue
        if found == {"1", "3"}:  # base and theirs
            left_out.append(path)
            git(tree, "rm", "--quiet", "--force", "--", path)
        elif found == {"1"}:
            git(tree, "rm", "--quiet", "--cached", "--", path)
        elif (settled := settle(path, found, partial(_side, tree, path))) is not None:
            (tree / path).write_bytes(settled)
            git(tree, "add", "--force", "--", path)
        else:
            lost = found == {"1", "2"}
            diff = git(tree, *DIFF, base, "HEAD", "--", f":(literal){path}") if lost else ""
            merged = tree / path
            readable = merged.is_file() and not merged.is_symlink()
            conflicts.append(Conflict(path, why(merged.read_bytes() if readable else b"", found), diff))
            git(tree, "add", "--force", "--", path)
    return conflicts, left_out


def _leave_out(tree: Path, base: str, theirs: str, ignore: Path) -> list[str]:
    """Take back what the template adds to folders of which the project has deleted every file; return it."""
    names = ("diff", "--name-only", "-z")
    added = items(git(tree, *names, "--no-renames", "--diff-filter=A", base, theirs))
    deleted = items(git(tree, *names, "--find-renames", "--diff-filter=D", base, "HEAD"))
    unwanted = in_emptied_folders(added, _paths(tree, base), set(deleted), ignore)
    left_out = [path for path in unwanted if (tree / path).exists()]
    if left_out:
        git(tree, "rm", "--quiet", "--force", "--", *left_out)
    return left_out


def in_emptied_folders(added: Iterable[str], before: set[str], deleted: set[str], ignore: Path) -> list[str]:
    """Return those paths that the template adds to folders of which the project has deleted every file.

    Args:
        added: the paths.
        before: what the template had before.
        deleted: what of it the project has under no name any more. What is renamed is not deleted.
        ignore: names the files that updates leave alone; they do not count as there.
    """
    kept = before - deleted
    kept -= ignored(kept, ignore)
    unwanted = []
    for path in added:
        # The folder around it that had files before; but for the root, which nobody empties.
        folders = [f"{folder.as_posix()}/" for folder in Path(path).parents][:-1]
        inside = ({name for name in before if name.startswith(folder)} for folder in folders)
        nearest: set[str] = next(filter(None, inside), set())
        if nearest and not nearest & kept:
            unwanted.append(path)
    return unwanted


def _side(tree: Path, path: str, side: str) -> bytes:
    return run(tree, "show", f":{side}:{path}")


def settle(path: str, sides: set[str], read: Callable[[str], bytes]) -> bytes | None:
    """Merge by its meaning what git could not merge by its lines; None: a person has to.

    Args:
        path: the file.
        sides: which sides of the merge have it (`stages`).
        read: returns its content on a side.
    """
    if Path(path).name != dependencies.NAME or sides != {"1", "2", "3"}:
        return None
    try:
        merged = dependencies.merge(*(read(side).decode() for side in "123"))
    except UnicodeDecodeError:
        return None
    return None if merged is None else merged.encode()


def stages(unmerged: Iterable[str]) -> dict[str, set[str]]:
    """Return which sides of a merge have each unmerged path, from git's list: 1 the base, 2 ours, 3 theirs."""
    found: dict[str, set[str]] = {}
    for entry in unmerged:
        about, _, path = entry.partition("\t")
        found.setdefault(path, set()).add(about.split()[2])
    return found


def why(content: bytes, sides: set[str]) -> str:
    """Say why a person has to settle a file: its content after the merge, and which sides have it (`stages`)."""
    if sides == {"1", "2"}:
        return "the template has removed it, and you have changed it: delete it, or keep it as yours"
    if sides in ({"2"}, {"3"}):
        return "both sides renamed the same file: keep one"
    if b"<<<<<<< " not in content:
        return "both sides changed it, and it has no lines: yours is kept"
    return "both sides changed the same lines: choose, and delete the marks"


def _take_answers(tree: Path, place: Path, known: Origin) -> None:
    """Let the newer answers file replace the project's; it names the template as the project did."""
    text = (place / ANSWERS).read_text(encoding="utf-8")
    line = yaml.safe_dump({"_src_path": known.source}, width=10_000, allow_unicode=True)
    text = re.sub(r"^_src_path: .*\n", lambda _: line, text, flags=re.MULTILINE)
    (tree / ANSWERS).write_text(text, encoding="utf-8")
    git(tree, "add", "--force", "--", ANSWERS)


def _notes(source: str, before: str, after: str) -> str:
    """Return what the template's CHANGELOG.md says of the releases after `before` up to `after`."""
    with tempfile.TemporaryDirectory() as folder:
        few = ("--depth=1", "--filter=blob:none", "--no-checkout", f"--branch={after}")
        git(Path(), "clone", "--quiet", *few, "--", address(source), folder)
        listed = git(Path(folder), "ls-tree", "--name-only", "HEAD", "CHANGELOG.md")
        text = git(Path(folder), "show", "HEAD:CHANGELOG.md") if listed else ""
    return notes_between(text, before, after)


def notes_between(changelog: str, before: str, after: str) -> str:
    """Return a changelog's sections of the releases after `before` up to `after`, Markdown."""
    headings = list(HEADING.finditer(changelog))
    newer = [
        changelog[each.start() : following.start() if following else None].strip()
        for each, following in zip_longest(headings, headings[1:])
        if number(before) < number(f"v{each['version']}") <= number(after)
    ]
    return "\n\n".join(newer)


def _commit_all(folder: Path, message: str, ignore: Path | None = None) -> None:
    git(folder, "-c", "core.excludesFile=", "add", "--all")
    if ignore is not None:
        changed = set(items(git(folder, "diff", "--cached", "--name-only", "--no-renames", "--relative", "-z")))
        if left_alone := ignored(changed, ignore):
            git(folder, "reset", "--quiet", "--", *left_alone)
    git(folder, *NOBODY, "commit", "--quiet", "--allow-empty", "--message", message)


def _author(project: Path) -> tuple[str, ...]:
    """Return who commits, where git has not been told: on a code host's runner."""
    return () if git(project, "config", "user.email", accepted=(0, 1)) else NOBODY


def _files(folder: Path) -> set[str]:
    """Return the files of the last commit, a word of name and content each, without the answers."""
    return {each for each in items(git(folder, "ls-tree", "-r", "-z", "HEAD", ".")) if not each.endswith(ANSWERS)}


def ignored(paths: set[str], ignore: Path) -> set[str]:
    """Return those paths that a file in the syntax of .gitignore matches; none, where there is no file."""
    if not paths or not ignore.is_file():
        return set()
    with tempfile.TemporaryDirectory() as folder:
        git(Path(folder), "init", "--quiet", "--template=")  # whatever one's own templates hold
        Path(folder, ".git/info").mkdir()
        Path(folder, ".git/info/exclude").write_bytes(ignore.read_bytes())
        command = ("check-ignore", "--no-index", "--stdin", "-z")
        return set(items(git(Path(folder), *command, accepted=(0, 1), given="\0".join(paths))))


def _paths(folder: Path, revision: str) -> set[str]:
    return set(items(git(folder, "ls-tree", "-r", "--name-only", "-z", revision)))


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = sorted({*before, *after})
    pairs = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def assignments(words: Sequence[str], option: str) -> dict[str, str]:
    """Return answers that were given as NAME=VALUE.

    Raises:
        Refused: one has no value.
    """
    for word in words:
        if "=" not in word:
            raise Refused(f"{option} {word} has no value.", hint=f"Write it as {option} NAME=VALUE.")
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _data(answers: Mapping[str, str]) -> list[str]:
    return [f"--data={name}={value}" for name, value in answers.items()]


def number(version: str) -> tuple[int, ...]:
    """Return a release's place in their order; a version that comes from no release stands before all."""
    release = RELEASE.match(version)
    return tuple(map(int, release.groups())) if release else ()


def address(source: str) -> str:
    """Return what git calls a template's source.

    Raises:
        Refused: it is no address, or one that git would run a program for.
    """
    return sources.address(source)


def _copier(copier: Sequence[str], known: Origin, *words: str, cwd: Path) -> None:
    operation, *others = words
    try:
        _run([*copier, operation, "--quiet", "--defaults", *others], cwd)
    except Refused as error:
        hint = f"Is the version still at {known.source}? Are the answers in {ANSWERS} possible?"
        raise Refused(f"Copier could not render the template. {error.message}", hint=hint) from error


def _run(command: Sequence[str], cwd: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment(), capture_output=True, check=False,
            encoding="utf-8", errors="surrogateescape",  # a file may have any name
        )  # fmt: skip
    except OSError as error:
        raise Refused(f"{command[0]} could not be started: {error}", "Is it installed?") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        told = [line for line in lines if re.match(r"(fatal|error|\w+Error):", line)] or lines[-3:]
        said = "\n".join(f"  {line}" for line in told)
        raise Refused(f"{command[0]} ended with code {done.returncode}:\n{said}", "Its message says what to mend.")
