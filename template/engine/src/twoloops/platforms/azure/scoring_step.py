"""The program of the step that scores, in its container.

    python -m twoloops.platforms.azure.scoring_step --done FOLDER SOURCE RESULTS CAPTURES MODEL

SOURCE is the table's URL; RESULTS, CAPTURES and MODEL are folders in the project's container. What is printed, and how
it ended, is left in RESULTS too. FOLDER is what Azure ML hands on.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twoloops.platforms.azure import blobs
from twoloops.platforms.azure.steps import INNER, watch
from twoloops.platforms.shared.scoring_step import score
from twoloops.platforms.shared.steps import run_program


def main(*words: str) -> int:
    """Score a table, and return the verb's exit code.

    Args:
        words: `--done FOLDER SOURCE RESULTS CAPTURES MODEL`; or, of the process that does the work, `--inner` and these
            without FOLDER.
    """
    if words[0] == INNER:
        _, source, results, captures, model = words
        return score(blobs, source, results, captures, model)
    _, done, *places = words
    return watch([sys.executable, "-m", __spec__.name, INNER, *places], places[1], "score", Path(done))


if __name__ == "__main__":
    run_program(main)
