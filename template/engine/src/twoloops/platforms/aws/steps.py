"""The program of a step of the pipeline, in its container.

    python -m twoloops.platforms.aws.steps RUN VERB [OPTION ...]

RUN is a folder in the bucket, with what the steps of one run hand on to each other. What was registered is recorded
as a model package too.
"""

from __future__ import annotations

from twoloops.platforms.aws import bucket, packages
from twoloops.platforms.shared.steps import run_program, run_step

REGISTER = "register"


def main(run: str, *words: str) -> int:
    """Run a verb on what lies in the bucket, and return its exit code.

    Args:
        run: the folder in the bucket.
        words: the verb and its options.
    """
    finish = (lambda folder: packages.record(folder, run)) if words[0] == REGISTER else None
    return run_step(bucket, run, list(words), finish)


if __name__ == "__main__":
    run_program(main)
