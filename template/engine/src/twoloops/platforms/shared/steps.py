"""A step of the loop in a container: download what it reads, run its command, upload what it writes.

The container has nobody's rights but its role's, and writes into a temporary folder alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from twoloops import config
from twoloops.contracts.graph import Step, overlap
from twoloops.errors import ProjectError
from twoloops.paths import RELATIVE
from twoloops.platforms.shared import plan
from twoloops.platforms.shared.objects import ObjectStore

# What every step finds, read or not: what the project is, its numbers, and which rows are held out.
ALWAYS = (config.FILE, *(each.as_posix() for each in (RELATIVE.params, RELATIVE.graph, RELATIVE.frozen_holdout)))


def run_step(store: ObjectStore, run: str, name: str, finish: Callable[[Path, Step], object] | None = None) -> int:
    """Run a step of the graph on what lies in the object store, and return its exit code.

    Args:
        store: the object store.
        run: a URL: the folder with what the steps of one run hand on to each other.
        name: the step's.
        finish: is called with the step's folder, and the step, when it has succeeded.

    Raises:
        ProjectError: the graph has no such step.
    """
    planned = plan.load(store.read_bytes(f"{run}/{plan.FILE}"))
    step = planned.graph.step(name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _download(store, run, folder, step, planned.data)
        code = run_commands(step, folder)
        # Also after a failure: a red verdict is what people want to read.
        missing = [each for each in step.writes if not (folder / each).exists()]
        for path in _files(folder, step.writes):
            store.upload(folder / path, f"{run}/{path}")
        if code == 0 and missing:
            print(f"Error: {name} succeeded, and has not written {', '.join(missing)}, as dvc.yaml says.", flush=True)
            return 1
        if finish and code == 0:
            finish(folder, step)
    return code


def _download(store: ObjectStore, run: str, folder: Path, step: Step, data: Mapping[str, str]) -> None:
    reads = (*ALWAYS, *step.reads, *step.params)
    names = [name for name in store.sizes(run) if any(overlap(name, each) for each in reads)]
    store.download(run, folder, names)
    for path, url in data.items():
        if any(overlap(path, each) for each in reads):
            home, _, name = url.rpartition("/")
            target = folder / path
            store.download(home, target.parent, [name])
            (target.parent / name).rename(target)


def run_commands(step: Step, folder: Path) -> int:
    """Run a step's commands as `run` and DVC do, and return the exit code of the first that fails, or 0.

    Args:
        step: the step.
        folder: stands for the project's.
    """
    for made in step.writes:
        (folder / made).parent.mkdir(parents=True, exist_ok=True)
    if words := step.verb(config.current().package):
        return run_verb(list(words), folder)
    for line in step.commands:
        print(f"> {line}", flush=True)
        if code := _call(["sh", "-c", line], folder, step.folder):
            return code
    return 0


def run_verb(words: list[str], folder: Path) -> int:
    """Run one of the project's verbs in a folder, and return its exit code."""
    return _call([sys.executable, "-m", "twoloops", *words], folder)


def _call(command: list[str], folder: Path, below: str = ".") -> int:
    # The image's user has no home, and the image no git: libraries look for both.
    own = {"HOME": str(folder / ".home"), "MPLCONFIGDIR": str(folder / ".home"), "GIT_PYTHON_REFRESH": "quiet"}
    own["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    own[config.VARIABLE] = str(folder)  # a container may be told of the image's own project: the step's is here
    return subprocess.run(command, cwd=folder / below, env=os.environ | own, check=False).returncode


def _files(folder: Path, paths: Iterable[str]) -> Iterator[str]:
    """Yield the files at and below paths, as far as there are any."""
    for path in paths:
        found = [folder / path] if (folder / path).is_file() else sorted((folder / path).rglob("*"))
        yield from (each.relative_to(folder).as_posix() for each in found if each.is_file())


def watch(folder: Path) -> Callable[[], list[str]]:
    """Return a function that names the files which are new or other than now."""
    before = _state(folder)
    return lambda: [name for name, state in _state(folder).items() if before.get(name) != state]


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the files that a step may hand on, each with what tells whether it has changed."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            about = path.stat()
            found[name.as_posix()] = (about.st_mtime_ns, about.st_size)
    return found


def run_program(main: Callable[..., int]) -> NoReturn:
    """Run a step with the words of the command line; an error that people can put right goes to the log in words."""
    try:
        sys.exit(main(*sys.argv[1:]))
    except ProjectError as error:
        sys.exit(f"Error: {error}\nWhat to do: {error.hint}")
