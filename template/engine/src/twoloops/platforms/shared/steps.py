"""A step of the loop in a container: download what earlier steps left, run the verb, upload what it made.

The container has nobody's rights but its role's, and writes into a temporary folder alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from twoloops.errors import ProjectError
from twoloops.platforms.shared.objects import ObjectStore


def run_step(store: ObjectStore, run: str, words: list[str], finish: Callable[[Path], object] | None = None) -> int:
    """Run a verb on what lies in the object store, and return its exit code.

    Args:
        store: the object store.
        run: a URL: the folder with what the steps of one run hand on to each other.
        words: the verb and its options.
        finish: is called with the step's folder when the verb has succeeded.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store.download(run, folder, list(store.sizes(run)))
        list_changes = watch(folder)
        code = run_verb(words, folder)
        # Also after a failure: a red verdict is what people want to read.
        for path in list_changes():
            store.upload(folder / path, f"{run}/{path}")
        if finish and code == 0:
            finish(folder)
    return code


def run_verb(words: list[str], folder: Path) -> int:
    """Run one of the project's verbs in a folder, and return its exit code."""
    # The image's user has no home, and the image no git: libraries look for both.
    own = {"HOME": str(folder / ".home"), "MPLCONFIGDIR": str(folder / ".home"), "GIT_PYTHON_REFRESH": "quiet"}
    command = [sys.executable, "-m", "twoloops", *words]
    return subprocess.run(command, cwd=folder, env=os.environ | own, check=False).returncode


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
