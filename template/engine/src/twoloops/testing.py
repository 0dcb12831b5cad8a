"""What a project's own tests want of the loops: one small run of the inner loop, apart from the project's own files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from twoloops import config
from twoloops.errors import RedVerdictError
from twoloops.paths import STATE_VARIABLE, paths
from twoloops.problems.tabular.files import write_table
from twoloops.storage import read_json

if TYPE_CHECKING:
    import pandas as pd

ROWS = "data/raw/rows.parquet"
# A few hundred rows cannot show what the real table must show: the rules still run, on demands that few rows can meet.
SMALL = {
    "data": {"source": ROWS, "minimum_rows": 20, "maximum_age_days": None, "label_days": None},
    "gate": {"minimum_slice_rows": 30},
}


def run_small_loop(rows: pd.DataFrame, folder: Path, **changes: Any) -> dict[str, Any]:
    """Run the verbs prepare, train and evaluate on some rows in a folder of their own, and return the verdict.

    The project's params.yaml holds, but for what a small table cannot give. Nothing is written outside the folder.

    Args:
        rows: a raw table that keeps the contract.
        folder: where the data, the artifact and the reports go; a test's `tmp_path`.
        **changes: further keys of params.yaml, as in `gate={"threshold": 0.6}`.

    Returns:
        What `evaluate` writes to reports/verdict.json, green or red.

    Raises:
        ProjectError: a step refuses the rows, the model or the parameters.
    """
    project = config.current().root
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(project / config.FILE, folder / config.FILE)
    parameters = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    for section, values in [*SMALL.items(), *changes.items()]:
        parameters[section] = {**parameters.get(section, {}), **values} if isinstance(values, Mapping) else values
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
    write_table(folder / ROWS, rows)
    with _working_in(folder):
        app = import_module("twoloops.verbs").app
        import_module("twoloops.verbs.inner_loop")
        for verb in ("prepare", "train", "evaluate"):
            with suppress(RedVerdictError):  # a verdict as any other: the caller sees it
                app([verb], standalone_mode=False)
        verdict: dict[str, Any] = read_json(paths().verdict, "evaluate")
    return verdict


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Make the folder the current project and the working folder: its verbs read and write there."""
    before = {name: os.environ.get(name) for name in (config.VARIABLE, "MLFLOW_TRACKING_URI", STATE_VARIABLE)}
    for name in before:
        os.environ.pop(name, None)  # a test never writes into a registry that people use
    try:
        with chdir(folder):
            yield
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})
