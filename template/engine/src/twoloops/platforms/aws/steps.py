"""The program of a step of the pipeline, in its container.

    python -m twoloops.platforms.aws.steps RUN STEP

RUN is a folder in the bucket, with what the steps of one run hand on to each other and with the graph that says what
STEP is. What was registered is recorded as a model package too.
"""

from __future__ import annotations

from pathlib import Path

from twoloops import config
from twoloops.contracts.graph import Step
from twoloops.platforms.aws import bucket, packages
from twoloops.platforms.shared.steps import run_program, run_step

REGISTER = "register"


def main(run: str, name: str) -> int:
    """Run a step on what lies in the bucket, and return its exit code.

    Args:
        run: the folder in the bucket.
        name: the step's.
    """

    def finish(folder: Path, step: Step) -> None:
        if step.verb(config.current().package)[:1] == (REGISTER,):
            packages.record(folder, run)

    return run_step(bucket, run, name, finish)


if __name__ == "__main__":
    run_program(main)
