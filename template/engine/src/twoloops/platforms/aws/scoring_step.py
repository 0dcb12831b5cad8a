"""Scoring in its container: fetch the model and the earlier results, run the verb, keep what it made.

    python -m PACKAGE.platform.scoring_step SOURCE RESULTS CAPTURES MODEL

The results are written here and uploaded, because whoever runs this may delete nothing in the bucket: not
even the lock and the unfinished files of a run that works there directly. The manifest comes last.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twoloops import config
from twoloops.paths import paths
from twoloops.platforms.aws import bucket
from twoloops.platforms.aws.steps import as_program, changes, run_verb

RESULTS, CAPTURES, MODEL = "results", "data/captures", "model"
MANIFEST = "manifest.json"


def main(source: str, results: str, captures: str, model: str) -> int:
    """Score a table, and return the verb's exit code.

    Args:
        source: the table's URL.
        results: the folder in the bucket for the results.
        captures: the folder in the bucket for the sample that the monitor looks at.
        model: the folder in the bucket that holds the artifact.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in (paths().params, paths().root / config.FILE):
            shutil.copy(path, folder)
        for uri, place in ((model, MODEL), (results, RESULTS)):
            bucket.download(uri, folder / place, list(bucket.sizes(uri)))
        made = changes(folder)
        code = run_verb(["score", source, RESULTS, "--model", MODEL], folder)
        new = made()
        for kept, uri in ((CAPTURES, captures), (RESULTS, results)):
            names = [path.removeprefix(f"{kept}/") for path in new if path.startswith(f"{kept}/")]
            for path in sorted(names, key=lambda path: (path == MANIFEST, path)):
                bucket.upload(folder / kept / path, f"{uri}/{path}")
    return code


if __name__ == "__main__":
    as_program(main)
