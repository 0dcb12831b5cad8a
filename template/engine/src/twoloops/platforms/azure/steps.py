"""The program of a step of a job, in its container.

    python -m twoloops.platforms.azure.steps --done FOLDER RUN STEP

RUN is a folder in the project's container, with what the steps of one run hand on to each other and with the graph that
says what STEP is. FOLDER is what the steps after it wait for. What STEP prints, and how it ended, is left in RUN too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twoloops.platforms.azure import blobs
from twoloops.platforms.azure.jobs import RESULTS
from twoloops.platforms.shared.steps import run_program, run_step

INNER = "--inner"


def main(*words: str) -> int:
    """Run a step on what lies in the container, and return its exit code.

    Args:
        words: `--done FOLDER RUN STEP`; or, of the process that does the work, `--inner RUN STEP`.
    """
    if words[0] == INNER:
        _, run, name = words
        return run_step(blobs, run, name)
    _, done, run, name = words
    return watch([sys.executable, "-m", __spec__.name, INNER, run, name], run, name, Path(done))


def watch(command: list[str], run: str, name: str, done: Path) -> int:
    """Run a program, show what it prints, and leave that and how it ended where people and the next steps find it.

    Args:
        command: the program.
        run: the folder in the container.
        name: of the step.
        done: the local folder that Azure ML hands to the next steps.
    """
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with (
            log.open("wb") as kept,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process,
        ):
            for line in process.stdout or ():
                kept.write(line)
                sys.stdout.buffer.write(line)
                sys.stdout.flush()
        code = process.returncode
        blobs.upload(log, f"{run}/{RESULTS}/{name}.txt")
    about = json.dumps({"code": code, "seconds": time.time() - began, "ended": time.time()})
    blobs.upload_bytes(about.encode(), f"{run}/{RESULTS}/{name}.json")
    done.mkdir(parents=True, exist_ok=True)
    (done / "step.json").write_text(about, encoding="utf-8")  # an empty folder cannot be handed on
    return code


if __name__ == "__main__":
    run_program(main)
