"""Sequences of edits, answers and releases, by Hypothesis, against the laws of updates.

Templates with generated histories are synthetic and small; Copier, git and the engine are real. The
oracle is a model: it renders each release by itself, and knows what of a file each side has changed.

UPDATES_EXAMPLES=5000 makes so many sequences, new ones each time. Otherwise they are always the same.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from extensions.update import updating
from tests.conftest import MEMORY

from .history import git
from .projects import ANSWERS, MARKERS
from .synthetic import KINDS, OWNED, Answers, Author, Draw, Lines, Release, Render, publish, tag

EXAMPLES = int(os.environ.get("UPDATES_EXAMPLES", "80"))
APART = 3  # lines between two changes, from which on git sees two
ALIKE = 0.75  # of the lines: git takes the file for a renamed one from a half on, counted in bytes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 + 5 * EXAMPLES)]
sequences = settings(
    max_examples=EXAMPLES // 2,  # by each of two ways
    deadline=None,
    derandomize="UPDATES_EXAMPLES" not in os.environ,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", autouse=True)
def in_memory(warm: tuple[str, ...]) -> Iterator[None]:
    """Keep the many small files of a sequence in memory, where the machine has such a file system.

    Other modules use the warm Copier as well: it has to be there before, or its socket would go with the memory.
    """
    if not os.access(MEMORY, os.W_OK):
        yield
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@dataclass
class Told:
    """What an update says of itself."""

    conflicts: set[str]
    left_out: set[str] = field(default_factory=set)


Update = Callable[["Project", str, Answers], Told]


@dataclass
class Project:
    """A project of a synthetic template, and what the model knows of it.

    Attributes:
        folder: its place.
        history: the template's releases.
        release: the place of the present one in it.
        answers: the recorded ones.
        renamed: the template's name of files that the user has renamed, by the user's name.
    """

    folder: Path
    history: list[Release]
    release: int
    answers: Answers
    renamed: dict[str, str] = field(default_factory=dict)
    count: Iterator[int] = field(default_factory=itertools.count)

    def read(self) -> Render:
        """Return the files as they are, but the answers."""
        return {
            path.relative_to(self.folder).as_posix(): tuple(path.read_text(encoding="utf-8").splitlines())
            for path in self.folder.rglob("*")
            if path.is_file() and path.relative_to(self.folder).parts[0] != ".git" and path.name != ANSWERS
        }

    def write(self, path: str, lines: Lines) -> None:
        """Write a file."""
        (self.folder / path).parent.mkdir(exist_ok=True)
        (self.folder / path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def commit(self) -> None:
        """Commit everything."""
        git("add", "--all", cwd=self.folder)
        git("commit", "--quiet", "--allow-empty", "--message=Mine", cwd=self.folder)

    def recorded(self) -> dict[str, Any]:
        """Return what the answers file says."""
        content: dict[str, Any] = yaml.safe_load((self.folder / ANSWERS).read_text(encoding="utf-8"))
        return content


# ------------------------------------------------------------------------------------ what users do


def word(project: Project) -> str:
    """Return a line of the user's that was never used."""
    return f"the user's u{next(project.count)}."


def edit(draw: Draw, project: Project) -> None:
    """Change, insert, append or delete a line."""
    files = project.read()
    if not files:
        return
    path = draw(st.sampled_from(sorted(files)))
    lines = files[path]
    at = draw(st.integers(0, len(lines)))
    way = draw(st.sampled_from(["change", "insert", "append", "delete"]))
    new = () if way == "delete" and len(lines) > 1 else (word(project),)
    if way == "append":
        at = len(lines)
    project.write(path, (*lines[:at], *new, *lines[at if way == "insert" else at + 1 :]))


def delete(draw: Draw, project: Project) -> None:
    """Delete a file."""
    files = project.read()
    if len(files) > 1:
        path = draw(st.sampled_from(sorted(files)))
        (project.folder / path).unlink()
        project.renamed.pop(path, None)


def add(draw: Draw, project: Project) -> None:
    """Add a file."""
    folder = draw(st.sampled_from(["", "lib/", OWNED]))
    lines = tuple(word(project) for _ in range(draw(st.integers(1, 12))))
    project.write(f"{folder}mine{next(project.count)}.txt", lines)


def rename(draw: Draw, project: Project) -> None:
    """Rename a file of the template in its folder."""
    render = project.history[project.release].render(project.answers)
    choices = sorted(path for path in project.read() if path in render and not path.startswith(OWNED))
    if choices:
        old = draw(st.sampled_from(choices))
        new = f"{old[: old.rfind('/') + 1]}mine{next(project.count)}.txt"
        (project.folder / old).rename(project.folder / new)
        project.renamed[new] = old


HABITS = (edit, edit, edit, edit, delete, add, rename)


# ------------------------------------------------------------------------- what an update should do


@dataclass(frozen=True)
class Thread:
    """One file through an update: its path before, as the user has it, and in the newer version."""

    base: str | None
    ours: str | None
    theirs: str | None

    @property
    def places(self) -> set[str]:
        """Where the file may be afterwards."""
        return {path for path in (self.base, self.ours, self.theirs) if path}


@dataclass(frozen=True)
class Step:
    """An update with all that decides what it should make: three states, and the fourth that was found."""

    before: Render
    lived: Render
    after: Render
    found: Render
    told: Told
    renamed_by_user: dict[str, str]  # the template's name: the user's
    renamed_by_template: dict[str, str]  # the former name: the newer one
    follows_renames: bool  # the engine does, plain Copier does not

    def threads(self) -> Iterator[Thread]:
        """Yield every file once."""
        seen: set[str] = set()
        ours, theirs = (self.renamed_by_user, self.renamed_by_template) if self.follows_renames else ({}, {})
        for base in self.before:
            thread = Thread(
                base,
                base if base in self.lived else ours.get(base),
                base if base in self.after else theirs.get(base),
            )
            seen |= thread.places
            yield thread
        for path in sorted({*self.lived, *self.after} - seen):
            yield Thread(None, path if path in self.lived else None, path if path in self.after else None)


def check(step: Step) -> None:
    """Demand every law of an update."""
    allowed: set[str] = set()
    for thread in step.threads():
        note(f"{thread}")
        allowed |= thread.places
        if any(path.startswith(OWNED) for path in thread.places):
            check_owned(step, thread)
        else:
            check_thread(step, thread)
    assert set(step.found) <= allowed
    marked = {path for path, lines in step.found.items() if has_marks(lines)}
    assert marked <= step.told.conflicts
    check_words(step)


def check_owned(step: Step, thread: Thread) -> None:
    """Demand that the user's own files are as they were, and that no new ones come."""
    for path in thread.places:
        assert step.found.get(path) == step.lived.get(path)


def check_thread(step: Step, thread: Thread) -> None:
    """Demand of one file what the two sides' changes make of it."""
    base, ours, theirs = (
        side.get(path) if path else None
        for side, path in ((step.before, thread.base), (step.lived, thread.ours), (step.after, thread.theirs))
    )
    if base is not None and ours is None:
        assert thread.base not in step.found, "what the user deleted came back"
        return
    if base is None and ours is None and thread.theirs in step.told.left_out:
        assert emptied(step, thread.theirs), "the user has not deleted all that was there"
        assert thread.theirs not in step.found
        return
    if ours == base and thread.ours == thread.base:
        assert thread.theirs is None or step.found.get(thread.theirs) == theirs, "not edited, and not a fresh one"
        assert thread.theirs == thread.base or thread.base not in step.found, "the template gave it up"
        return
    assert ours is not None
    assert thread.ours
    if theirs is None:
        check_given_up(step, thread, ours, edited=base is not None)
    elif base is None:
        check_merged((), ours, theirs, places(step, thread))
    elif thread.ours == thread.theirs == thread.base:
        check_lines(base, ours, theirs, step.found[thread.base])
    else:
        check_renamed(step, thread, base, ours, theirs)


def emptied(step: Step, path: str) -> bool:
    """Say whether of what the template had in a new file's folder the user has nothing, as far as git can see."""
    folder = f"{path.rpartition('/')[0]}/"
    theirs = [name for name in step.before if name.startswith(folder)]
    kept = [
        name
        for name in theirs
        if name in step.lived or alike(step.before[name], step.lived.get(step.renamed_by_user.get(name, ""), ()))
    ]
    return folder != "/" and bool(theirs) and not kept


def check_given_up(step: Step, thread: Thread, ours: Lines, *, edited: bool) -> None:
    """Demand that a file of the user alone stays as it is, or is told to be at stake."""
    assert thread.ours
    if edited and not step.follows_renames:
        assert thread.ours not in step.found, "Copier deletes what the template gave up"
    else:
        assert step.found.get(thread.ours) == ours
        assert not edited or thread.ours in step.told.conflicts or thread.ours != thread.base


def check_renamed(step: Step, thread: Thread, base: Lines, ours: Lines, theirs: Lines) -> None:
    """Demand that a renamed file carries both sides' changes along, where git can see that it is one file."""
    renamed_ours, renamed_theirs = thread.ours != thread.base, thread.theirs != thread.base
    seen = (not renamed_ours or alike(base, ours)) and (not renamed_theirs or alike(base, theirs))
    if seen and not (renamed_ours and renamed_theirs):
        target = thread.ours if renamed_ours else thread.theirs
        assert target
        assert {path for path in thread.places if path in step.found} == {target}
        check_lines(base, ours, theirs, step.found[target])
    else:
        found = set(places(step, thread))
        assert set(ours) - (set(base) - set(theirs)) <= found


def check_lines(base: Lines, ours: Lines, theirs: Lines, found: Lines) -> None:
    """Demand the merge of two sides' changes: exact where they are apart, marked where they are the same."""
    check_merged(base, ours, theirs, found)
    mine, other = regions(base, ours), regions(base, theirs)
    if all(max(a[0], b[0]) - min(a[1], b[1]) >= APART for a in mine for b in other):
        lines = list(base)
        for start, end, new in sorted([*mine, *other], reverse=True):
            lines[start:end] = new
        assert found == tuple(lines), "the changes are apart"
    if any(max(a[0], b[0]) < min(a[1], b[1]) and a[2] != b[2] for a in mine for b in other):
        assert has_marks(found), "both changed the same line"


def check_merged(base: Lines, ours: Lines, theirs: Lines, found: Lines) -> None:
    """Demand that every line is there which one side has and the other has not deleted."""
    assert set(ours) - (set(base) - set(theirs)) <= set(found)
    assert set(theirs) - (set(base) - set(ours)) <= set(found)


def check_words(step: Step) -> None:
    """Demand that nothing that the user ever wrote is gone, wherever it is now."""
    kept = [
        lines
        for path, lines in step.lived.items()
        if step.follows_renames or path in step.after or path not in step.before or path.startswith(OWNED)
    ]
    written = {line for lines in kept for line in lines if line.startswith("the user's")}
    assert written <= {line for lines in step.found.values() for line in lines}


def places(step: Step, thread: Thread) -> Lines:
    """Return all lines at a file's places, together."""
    return tuple(line for path in thread.places for line in step.found.get(path, ()))


def regions(base: Lines, other: Lines) -> list[tuple[int, int, Lines]]:
    """Return what of the base was replaced, from which line to which, and by what."""
    matcher = SequenceMatcher(None, base, other, autojunk=False)
    return [(a, b, other[c:d]) for kind, a, b, c, d in matcher.get_opcodes() if kind != "equal"]


def alike(base: Lines, other: Lines) -> bool:
    """Say whether git surely takes one file for the other."""
    return len(set(base) & set(other)) >= ALIKE * max(len(base), len(other))


def has_marks(lines: Lines) -> bool:
    """Say whether a conflict is marked."""
    return all(any(line.startswith(marker) for line in lines) for marker in MARKERS)


# --------------------------------------------------------------------------------------- sequences


def by_copier(project: Project, to: str, answers: Answers) -> Told:
    """Update as bots do."""
    copier.run_update(project.folder, data=answers, defaults=True, quiet=True, overwrite=True, vcs_ref=to)
    return Told(set(git("diff", "--name-only", "--diff-filter=U", cwd=project.folder).splitlines()))


def born(draw: Draw, folder: Path) -> Project:
    """Make a template with a history, and a project of any of its releases."""
    history = Author(draw).history()
    template = publish(history, folder / "template.git")
    release = draw(st.integers(0, len(history) - 1))
    answers = history[release].answers({}, {"extra": draw(st.booleans()), "kind": draw(st.sampled_from(KINDS))})
    project = Project(folder / "project", history, release, answers)
    copier.run_copy(str(template), project.folder, data=answers, defaults=True, quiet=True, vcs_ref=tag(release))
    git("init", "--quiet", "--template=", "--initial-branch=main", cwd=project.folder)
    project.commit()
    assert project.read() == history[release].render(answers)
    return project


def update(draw: Draw, project: Project, way: Update, *, follows: bool) -> None:
    """Update to a later release, or change answers at the same one, and demand the laws."""
    to = draw(st.integers(project.release, len(project.history) - 1))
    changes: Answers = draw(
        st.fixed_dictionaries({}, optional={"extra": st.booleans(), "kind": st.sampled_from(KINDS)})
    )
    if to == project.release and not changes:
        return
    old, new = project.history[project.release], project.history[to]
    answers = new.answers(project.answers, changes)
    before, lived, after = old.render(project.answers), project.read(), new.render(answers)
    after = {path: lines for path, lines in after.items() if path in lived or not path.startswith(OWNED)}
    note(f"from {tag(project.release)} to {tag(to)} with {changes}")
    told = way(project, tag(to), changes)
    names = {file.number: path for path, file in new.files.items()}
    later = {path: names[file.number] for path, file in old.files.items() if file.number in names}
    found = project.read()
    step = Step(
        before=before,
        lived=lived,
        after=after,
        found=found,
        told=told,
        renamed_by_user={theirs: mine for mine, theirs in project.renamed.items()},
        renamed_by_template={path: name for path, name in later.items() if name in after and name not in before},
        follows_renames=follows,
    )
    check(step)
    address = project.folder.parent / "template.git"
    assert project.recorded() == {"_src_path": str(address), "_commit": tag(to), **answers}
    project.release, project.answers = to, answers
    project.renamed = {
        mine: later[old] for mine, old in project.renamed.items() if later.get(old) == old and mine in found
    }
    settle(project, found)


def settle(project: Project, found: Render) -> None:
    """Let the user keep both sides of each conflict, and commit."""
    for path, lines in found.items():
        if has_marks(lines):
            project.write(path, tuple(line for line in lines if not line.startswith(MARKERS)))
    project.commit()


def live_through(draw: Draw, folder: Path, way: Update, *, follows: bool) -> Project:
    """Let a new project go through seasons of edits, each with an update at its end."""
    project = born(draw, folder)
    for _ in range(draw(st.integers(1, 3))):
        for _ in range(draw(st.integers(0, 5))):
            draw(st.sampled_from(HABITS))(draw, project)
        project.commit()
        update(draw, project, way, follows=follows)
    return project


def again(draw: Draw) -> bool:
    """Say whether to try a second update, which costs as much as the first: in some sequences."""
    return bool(draw(st.integers(0, 3)) == 0)


@sequences
@given(data=st.data())
def test_sequences_with_copier(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = live_through(data.draw, Path(folder), by_copier, follows=False)
        if again(data.draw):
            by_copier(project, tag(project.release), {})
            assert git("status", "--porcelain", cwd=project.folder) == "", "a second update changes nothing"


@sequences
@given(data=st.data())
def test_sequences_with_the_engine(warm: tuple[str, ...], data: st.DataObject) -> None:
    def by_engine(project: Project, to: str, answers: Answers) -> Told:
        told = updating.merge(project.folder, to=to.removeprefix("v"), answers=answers, copier=warm)
        assert told is not None
        branch = updating.switch(project.folder, told)
        git("switch", "--quiet", "--force-create", "main", cwd=project.folder)
        git("branch", "--quiet", "--delete", "--force", branch, cwd=project.folder)
        return Told({conflict.path for conflict in told.conflicts}, set(told.left_out))

    with tempfile.TemporaryDirectory() as folder:
        project = live_through(data.draw, Path(folder), by_engine, follows=True)
        present = tag(project.release).removeprefix("v")
        assert updating.merge(project.folder, to=present, copier=warm) is None
        if again(data.draw):
            same = updating.merge(project.folder, to=present, answers={"kind": project.answers["kind"]}, copier=warm)
            assert same is not None
            assert (same.changed, same.conflicts) == ((), ()), "a second update changes nothing"


@settings(sequences, max_examples=max(EXAMPLES // 20, 1))
@given(data=st.data())
def test_many_small_steps_lead_where_one_leads(data: st.DataObject) -> None:
    """But for questions that came in between: their default is recorded as it was then, and stays."""
    with tempfile.TemporaryDirectory() as folder:
        first = born(data.draw, Path(folder))
        second = replace(first, folder=Path(folder) / "other")
        shutil.copytree(first.folder, second.folder)
        newest = len(first.history) - 1
        by_copier(first, tag(newest), {})
        for number in range(first.release + 1, newest + 1):
            by_copier(second, tag(number), {})
            second.commit()
        one, many = first.recorded(), second.recorded()
        assert one.keys() == many.keys()
        if one == many:
            assert first.read() == second.read()
        else:
            assert second.read() == {
                path: lines
                for path, lines in first.history[newest].render(many).items()
                if not path.startswith(OWNED) or path in first.read()
            }
