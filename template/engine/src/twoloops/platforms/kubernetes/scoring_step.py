"""The program of the container that scores.

    python -m twoloops.platforms.kubernetes.scoring_step SOURCE RESULTS CAPTURES MODEL

SOURCE is the table's URL; the others are folders in the object store.
"""

from __future__ import annotations

from twoloops.platforms.kubernetes import store
from twoloops.platforms.shared.scoring_step import score
from twoloops.platforms.shared.steps import run_program


def main(source: str, results: str, captures: str, model: str) -> int:
    """Score a table, and return the verb's exit code.

    Args:
        source: the table's URL.
        results: the folder in the object store for the results.
        captures: the folder in the object store for the sample that the monitor looks at.
        model: the folder in the object store that holds the artifact.
    """
    return score(store, source, results, captures, model)


if __name__ == "__main__":
    run_program(main)
