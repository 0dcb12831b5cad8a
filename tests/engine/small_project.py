"""A small project in a temporary folder, for every test that runs the loops."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from problem.example import example_rows

from twoloops import params
from twoloops import storage
from twoloops.inner_loop.evaluate import primary

PARAMS = Path(__file__).parents[1] / "params.yaml"
RAW = Path("data/raw/rows.parquet")


@dataclass
class Project:
    """A project's folder, which is the working folder of the test."""

    folder: Path

    def set(self, **changes: Any) -> params.Params:
        """Write params.yaml with changes such as gate__threshold=0.9, and return it checked."""
        path = self.folder / storage.PARAMS
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, value in changes.items():
            section, _, key = name.rpartition("__")
            (content.setdefault(section, {}) if section else content)[key] = value
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return params.load(path)

    def rows(self) -> pd.DataFrame:
        """Return the raw rows."""
        return pd.read_parquet(self.folder / RAW)

    def put(self, rows: pd.DataFrame) -> None:
        """Replace the raw rows."""
        rows.to_parquet(self.folder / RAW)


def make_project(folder: Path) -> Project:
    """Make a project whose gate lets every model pass, so that a test can close one door at a time."""
    (folder / RAW).parent.mkdir(parents=True)
    shutil.copy(PARAMS, folder / storage.PARAMS)
    project = Project(folder)
    project.put(example_rows())
    higher = primary(params.load(PARAMS)).direction == "higher"
    never = -1e9 if higher else 1e9
    project.set(
        data__source=RAW.as_posix(),
        data__minimum_rows=20,
        data__maximum_age_days=None,
        tune__trials=2,
        tune__folds=2,
        gate__threshold=never,
        gate__slice_threshold=never,
        gate__minimum_slice_rows=30,
        gate__minimum_gain_over_baseline=-1e9,
        gate__minimum_gain_over_champion=-1e9,
        gate__minimum_group_ratio=0.0,
        gate__maximum_latency_ms=1000.0,
        gate__bootstrap_samples=50,
    )
    return project
