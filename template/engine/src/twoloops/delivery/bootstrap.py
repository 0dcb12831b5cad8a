"""The code host is set up for the flows: once, in steps that can be repeated and taken back."""

from __future__ import annotations

from collections.abc import Callable

from twoloops.contracts.host import SetupRequest, State, Step
from twoloops.errors import ProjectError
from twoloops.hosts import host

TO_DO = (State.missing, State.differs)


def prepare(wanted: SetupRequest) -> list[Step]:
    """Return the steps with their present states; nothing has been changed then.

    Raises:
        ProjectError: a tool, the login or a right is missing.
    """
    in_the_way = host.setup().preflight()
    if in_the_way:
        raise ProjectError(
            f"{host.NAME} cannot be set up yet:\n" + "\n".join(f"  - {line}" for line in in_the_way),
            hint="Mend this, then run the same verb again. Nothing has been changed.",
        )
    return host.setup().plan(wanted)


def apply(steps: list[Step], tell: Callable[[str], None]) -> int:
    """Take the steps that are to be taken, and return how many there were.

    What is made is noted on the host before each step, so an interrupted run can be repeated, and
    taken back, at any time.

    Raises:
        ProjectError: the host refuses a step; those before it stay, and are noted.
    """
    made = host.setup().list_made()
    count = 0
    for step in steps:
        if step.state not in TO_DO or step.do is None:
            continue
        if step.state == State.missing and step.name not in made:
            made.append(step.name)
            host.setup().save_made(made)  # before it is made: what is noted and not there does no harm
        step.do()
        tell(f"done: {step.name}")
        count += 1
    return count


def undo(steps: list[Step], tell: Callable[[str], None]) -> int:
    """Take back what `apply` made and what is still there, last made first; return how many that were.

    What was there before `apply` is left alone, also when `apply` corrected it.
    """
    made = host.setup().list_made()
    count = 0
    for step in reversed(steps):
        if step.name not in made:
            continue
        if step.undo is not None and step.state in (State.there, State.differs):
            step.undo()
            tell(f"removed: {step.name}")
            count += 1
        made.remove(step.name)
        host.setup().save_made(made)
    return count
