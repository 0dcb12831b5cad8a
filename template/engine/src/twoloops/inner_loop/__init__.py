"""Model development: prepare, train, evaluate, register, and tune.

`run` is the whole loop: DVC says what has changed, and keeps the results.

`dvc repro` does the same in a process for each stage; here the stages share one, because starting
Python and loading the libraries takes longer than a small model takes to train.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from twoloops import registry
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.storage import read_json, write_json

REGISTER = "register"
# What has to be done again for another registry, though no file has changed.
OF_A_REGISTRY = ("evaluate", REGISTER)


def run(stages: Mapping[str, Callable[[], None]], *, force: bool, tell: Callable[[str], None]) -> int:
    """Run the stages of dvc.yaml that changed, in order, and return how many there were.

    Args:
        stages: by the names of dvc.yaml, in its order, what each does.
        force: run every stage, changed or not.
        tell: prints a line.

    Raises:
        ProjectError: DVC cannot read or record a stage; and whatever a stage raises.
    """
    elsewhere = OF_A_REGISTRY if REGISTER in stages and _registered_elsewhere() else ()
    if not force and not elsewhere and not _changed(*stages):
        return 0
    registry.make_ahead()
    done: list[str] = []
    try:
        for name, work in stages.items():
            if not force and name not in elsewhere and not _changed(name):
                tell(f"{name}: nothing has changed, skipped")
                continue
            tell(f"{name}:")
            _run_stage(name, work)
            done.append(name)
    finally:
        # Also when a later stage fails: what was done need not be done again.
        if done and _dvc("commit", "--force", "--quiet", *done):
            raise ProjectError(f"DVC could not record {', '.join(done)}.", hint="Its message stands above.")
    return len(done)


@contextmanager
def noted(step: str) -> Iterator[None]:
    """Write down why a step failed, for the report on a change: a reviewer need not search the log."""
    paths().failure.unlink(missing_ok=True)
    try:
        yield
    except ProjectError as error:
        write_json(paths().failure, {"step": step, "message": str(error), "hint": error.hint})
        raise


def _registered_elsewhere() -> bool:
    """Say whether reports/, which is in git, tells of a registration in another registry than that in use here."""
    if not paths().registration.exists():
        return False
    return registry.is_empty() or read_json(paths().registration, REGISTER).get("registry") != registry.place()


def _run_stage(name: str, work: Callable[[], None]) -> None:
    os.environ["DVC_STAGE"] = name  # as DVC tells the processes that it starts
    try:
        with noted(name):
            work()
    finally:
        del os.environ["DVC_STAGE"]


def _changed(*stage: str) -> bool:
    code = _dvc("status", "--quiet", *stage)
    if code not in (0, 1):
        raise ProjectError("DVC could not tell what has changed.", hint="Run 'uv run dvc status' to see why.")
    return code == 1


def _dvc(*arguments: str) -> int:
    from dvc.cli import main

    return int(main(list(arguments)))
