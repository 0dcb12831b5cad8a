"""The program of the step that scores, in its container.

    python -m twoloops.platforms.aws.scoring_step SOURCE RESULTS CAPTURES MODEL

SOURCE is the table's URL; the others are folders in the bucket.
"""

from __future__ import annotations

from twoloops.platforms.aws import bucket
from twoloops.platforms.shared.scoring_step import score
from twoloops.platforms.shared.steps import run_program


def main(source: str, results: str, captures: str, model: str) -> int:
    """Score a table, and return the verb's exit code.

    Args:
        source: the table's URL.
        results: the folder in the bucket for the results.
        captures: the folder in the bucket for the sample that the monitor looks at.
        model: the folder in the bucket that holds the artifact.
    """
    return score(bucket, source, results, captures, model)


if __name__ == "__main__":
    run_program(main)
