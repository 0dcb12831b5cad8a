"""The program of a step of the loop, in its container.

    python -m twoloops.platforms.kubernetes.steps RUN STEP

RUN is a folder in the object store, with what the steps of one run hand on to each other and with the graph that says
what STEP is.
"""

from __future__ import annotations

from twoloops.platforms.kubernetes import store
from twoloops.platforms.shared.steps import run_program, run_step


def main(run: str, name: str) -> int:
    """Run a step on what lies in the object store, and return its exit code.

    Args:
        run: the folder in the object store.
        name: the step's.
    """
    return run_step(store, run, name)


if __name__ == "__main__":
    run_program(main)
