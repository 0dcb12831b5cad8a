"""The graph on this machine: what changed runs again.

DVC says what has changed, and keeps the results. `dvc repro` does the same in a process for each step; here the steps
that are the project's own verbs share one, because starting Python and loading the libraries takes longer than a small
model takes to train.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from twoloops import config, registry
from twoloops.contracts.graph import FILE, Graph, Step
from twoloops.errors import ProjectError
from twoloops.inner_loop import record_failure
from twoloops.paths import paths
from twoloops.storage import read_json

logger = logging.getLogger(__name__)

REGISTER = "register"
# Verbs that have to be done again for another registry, though no file has changed.
OF_A_REGISTRY = ("evaluate", REGISTER)
Verb = Callable[[Sequence[str]], None]


def run(graph: Graph, verb: Verb, *, force: bool, tell: Callable[[str], None]) -> int:
    """Run the steps that changed, in order, and return how many there were.

    Args:
        graph: the steps.
        verb: runs one of the project's verbs in this process, given its words.
        force: run every step, changed or not.
        tell: prints a line.

    Raises:
        ProjectError: DVC cannot read or record a step, or a command failed; and whatever a verb raises.
    """
    again = _of_another_registry(graph)
    if not force and not again and not _changed(*graph.names):
        return 0
    registry.make_ahead()
    done: list[str] = []
    count = 0
    try:
        for step in graph.steps:
            if not force and step.name not in again and not _changed(step.name):
                tell(f"{step.name}: nothing has changed, skipped")
                continue
            tell(f"{step.name}:")
            with _at_work(step), record_failure(step.name):
                if words := step.verb(config.current().package):
                    verb(words)
                    done.append(step.name)
                else:
                    _reproduce(step, force=force)
            count += 1
    finally:
        # Also when a later step fails: what was done need not be done again.
        if done and _dvc("commit", "--force", "--quiet", *done):
            _dvc("commit", "--force", *done)  # quiet, it does not even say what is wrong
            raise ProjectError(f"DVC could not record {', '.join(done)}.", hint="Its message stands above.")
    return count


def _of_another_registry(graph: Graph) -> set[str]:
    """Return the steps to repeat because reports/, which is in git, tells of another registry than that in use here."""
    package = config.current().package
    if not graph.running(package, REGISTER) or not paths().registration.exists():
        return set()
    if not registry.is_empty() and read_json(paths().registration, REGISTER).get("registry") == registry.place():
        return set()
    return {step.name for verb in OF_A_REGISTRY for step in graph.running(package, verb)}


@contextmanager
def _at_work(step: Step) -> Iterator[None]:
    """Let a step find what DVC gives it: its name, and the programs of this environment before all others."""
    before = {name: os.environ.get(name) for name in ("DVC_STAGE", "PATH")}
    os.environ["DVC_STAGE"] = step.name
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before["PATH"] or os.defpath])
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _reproduce(step: Step, *, force: bool) -> None:
    """Let DVC run and record a step whose command is any program's."""
    if _dvc("repro", "--single-item", *(["--force"] if force else []), step.name):
        raise ProjectError(
            f"The step {step.name} of {FILE} failed: {' && '.join(step.commands)}",
            hint="What it printed, and DVC's message, stand above.",
        )


def _changed(*names: str) -> bool:
    code = _dvc("status", "--quiet", *names)
    if code not in (0, 1):
        raise ProjectError("DVC could not tell what has changed.", hint="Run 'uv run dvc status' to see why.")
    return code == 1


def _dvc(*arguments: str) -> int:
    from dvc.cli import main

    code = int(main(list(arguments)))
    logger.debug("dvc %s ended with %s", " ".join(arguments), code)
    return code
