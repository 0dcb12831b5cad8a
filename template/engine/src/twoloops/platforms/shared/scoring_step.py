"""Scoring in a container: download the model and the earlier results, run the verb, upload what it made.

The results are written here and uploaded, because whoever runs this may delete nothing in the object store: not
even the lock and the unfinished files of a run that works there directly. The manifest comes last.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twoloops import config
from twoloops.paths import paths
from twoloops.platforms.shared.objects import ObjectStore
from twoloops.platforms.shared.steps import run_verb, watch

RESULTS, CAPTURES, MODEL = "results", "data/captures", "model"
MANIFEST = "manifest.json"


def score(store: ObjectStore, source: str, results: str, captures: str, model: str) -> int:
    """Score a table, and return the verb's exit code.

    Args:
        store: the object store.
        source: the table's URL.
        results: the URL of the folder for the results.
        captures: the URL of the folder for the sample that the monitor looks at.
        model: the URL of the folder that holds the artifact.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in (paths().params, paths().root / config.FILE):
            shutil.copy(file, folder)
        for url, place in ((model, MODEL), (results, RESULTS)):
            store.download(url, folder / place, list(store.sizes(url)))
        list_changes = watch(folder)
        code = run_verb(["score", source, RESULTS, "--model", MODEL], folder)
        new = list_changes()
        for place, url in ((CAPTURES, captures), (RESULTS, results)):
            names = [path.removeprefix(f"{place}/") for path in new if path.startswith(f"{place}/")]
            for path in sorted(names, key=lambda path: (path == MANIFEST, path)):
                store.upload(folder / place / path, f"{url}/{path}")
    return code
