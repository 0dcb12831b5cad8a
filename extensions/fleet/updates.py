"""The update of many repositories: a branch with the merged newer version in each that is behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ..update import branches, updating
from ..update.update import update as run_update
from .git import Refused, git, items, line
from .judging import Row, Verdict, judge, newest_release, origin_of
from .repositories import Repository, Snapshot, deliver, head_of, snapshot, tip_of, workshop
from .running import in_processes


@dataclass(frozen=True)
class Plan:
    """What is to be done with each repository."""

    cache: Path
    to: str | None
    answers: dict[str, str]
    push: bool
    dry_run: bool


@dataclass(frozen=True)
class Outcome:
    """What was done with one."""

    name: str
    address: str
    told: str
    branch: str = ""
    conflicts: bool = False
    refused: bool = False


def update_all(repositories: Iterable[Repository], plan: Plan, jobs: int) -> Iterator[Outcome]:
    """Yield what was done with each repository, as it is done."""
    yield from in_processes(partial(_update_one, plan=plan), repositories, jobs)


def _update_one(repository: Repository, *, plan: Plan) -> Outcome:
    outcome = partial(Outcome, repository.name, repository.address)
    try:
        plan.cache.mkdir(parents=True, exist_ok=True)
        head = head_of(repository, plan.cache)
        if plan.dry_run:
            return _foretell(judge(repository, head, plan.cache, plan.to))
        place = snapshot(repository, head, plan.cache)
        known = origin_of(place)
        newest = newest_release(known.source, plan.to)
        if not plan.answers and updating.number(known.version) >= updating.number(newest):
            return outcome("current")
        branch = branches.name_of(newest.removeprefix("v"), place.prefix)
        # Beside the repository's own checkout, whose working tree may hold anything.
        with workshop(repository, place, branch) as made, updating.checkout(made.folder) as tree:
            return _update(repository, place, made, tree / place.prefix, branch, newest, plan)
    except Refused as refused:
        return outcome(f"{refused.message} {refused.hint}", refused=True)
    except Exception as error:  # whatever a repository holds, the others are updated
        return outcome(f"This is a fault of fleet: {type(error).__name__}: {error}", refused=True)


def _foretell(row: Row) -> Outcome:
    branch = branches.name_of(row.newest.removeprefix("v"), row.inside) if row.behind else ""
    told = {
        Verdict.CURRENT: "current",
        Verdict.CLEAN: f"would change {len(row.changed)} files",
        Verdict.CONFLICTS: f"would conflict in {', '.join(conflict.path for conflict in row.conflicts)}",
        Verdict.UNKNOWN: f"{row.reason} {row.hint}",
    }[row.verdict]
    refused, conflicts = row.verdict is Verdict.UNKNOWN, row.verdict is Verdict.CONFLICTS
    return Outcome(row.name, row.address, told, branch=branch, conflicts=conflicts, refused=refused)


def _update(
    repository: Repository, place: Snapshot, made: Snapshot, project: Path, branch: str, newest: str, plan: Plan
) -> Outcome:
    outcome = partial(Outcome, repository.name, repository.address)
    tip = tip_of(made, branch)
    if tip and not branches.is_free(project, tip, place.head):
        told = "somebody has gone on there, so it stays as it is: merge it or delete it"
        return outcome(told, branch=branch, refused=True)
    update = _made_before(made, project, tip, plan)
    if update is None:
        update = run_update(project, to=newest, answers=plan.answers)
        if update is None:
            return outcome("current")
        deliver(repository, place, made, branch, update.commit)
    told = f"{len(update.changed)} files changed"
    if update.conflicts:
        told += f", conflicts in {', '.join(conflict.path for conflict in update.conflicts)}"
    if plan.push and not updating.push(project, update):
        told = "somebody has gone on there at the remote, so it stays as it is: merge it or delete it"
        return outcome(told, branch=branch, refused=True)
    if plan.push:
        told += "; pushed"
    elif repository.remote:
        told += "; not pushed, --push brings it to the remote"
    return outcome(told, branch=branch, conflicts=bool(update.conflicts))


def _below(place: Snapshot, tip: str) -> list[str]:
    """Return the commits under those that an update made: it makes one, or two when it rewrites what has moved."""
    words = ("rev-list", "--first-parent", "--max-count=3", tip, "--")
    first, *others = line(*words, folder=place.folder).splitlines()
    if others and branches.made_here(place.folder, first) and branches.made_here(place.folder, others[0]):
        return others[:2]
    return others[:1]


def _made_before(place: Snapshot, project: Path, tip: str, plan: Plan) -> Any:
    """Return the update that an earlier run has made of the same commit with the same answers; None: there is none."""
    if not tip or place.head not in _below(place, tip):
        return None
    recorded = yaml.safe_load(git("show", f"{tip}:./{updating.ANSWERS}", folder=project))
    if any(str(recorded.get(name)) != value for name, value in plan.answers.items()):
        return None
    changed = items(git("diff", "--name-only", "--no-renames", "-z", place.head, tip, folder=place.folder))
    words = ("grep", "-l", "-z", "--full-name", "-e", "^<<<<<<< ", tip, "--", ":/")
    marked = [item.removeprefix(f"{tip}:") for item in items(git(*words, folder=project, accepted=(0, 1)))]
    return updating.Update(
        before=updating.origin(project).version.removeprefix("v"),
        after=recorded["_commit"].removeprefix("v"),
        commit=tip,
        changed=tuple(changed),
        conflicts=tuple(updating.Conflict(path, "") for path in marked if path in changed),
        left_out=(),
        answers={},
        notes="",
        inside=place.prefix,
    )
