"""Projects for the engine's tests: laid out as Copier does, in milliseconds, and small enough to run the loops in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import yaml
from twoloops import config, params, problem
from twoloops.artifact import Predictor
from twoloops.inner_loop.evaluate import primary
from twoloops.problems.tabular.signature import Signature

from commands.answer_space import template

ORIGINALS = TemporaryDirectory(prefix="twoloops-tests-")  # gone with the process
RAW = Path("data/raw/rows.parquet")
# By problem type, the package of the project that is laid out for it.
PACKAGES = {"classification": "churn", "regression": "spending"}


def lay_out(folder: Path, answers: Mapping[str, Any]) -> None:
    """Write the project that Copier renders for these answers, but for the engine: that is imported from its source.

    The default answers are taken for all others, and both ways of serving.
    """
    complete = template().all_answers({"serving_mode": "online_and_batch", **answers})
    for path, file in template().render(complete).items():
        if not path.startswith("engine/"):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)


@cache
def original(problem_type: str) -> Path:
    """Return a whole project of this problem type, whose package this process can import; tests only read it."""
    folder = Path(ORIGINALS.name) / problem_type
    lay_out(folder, {"problem_type": problem_type})
    sys.path.insert(0, str(folder / "src"))
    return folder


@dataclass
class Project:
    """A project's folder."""

    folder: Path

    def configure(self, **changes: Any) -> config.Config:
        """Write [tool.twoloops] with changes such as platform="aws", aws={"region": ...}, and return it checked.

        Nothing else stays in pyproject.toml. A key whose value is None is left out.
        """
        path = self.folder / config.FILE
        before = path.stat().st_mtime_ns
        table = tomllib.loads(path.read_text(encoding="utf-8"))["tool"]["twoloops"] | changes
        path.write_text(toml(config.TABLE, table), encoding="utf-8")
        os.utime(path, ns=(before + 1_000, before + 1_000))  # a file system's clock may stand still between two writes
        return config.check({name: value for name, value in table.items() if value is not None}, self.folder)

    def set(self, **changes: Any) -> params.Params:
        """Write params.yaml with changes such as gate__threshold=0.9, and return it checked."""
        path = self.folder / "params.yaml"
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


def toml(name: str, table: Mapping[str, Any]) -> str:
    """Return a table of texts, truth values, lists of texts, and tables of those, as TOML."""
    plain = {key: value for key, value in table.items() if value is not None and not isinstance(value, Mapping)}
    lines = [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in plain.items()), ""]
    inner = [toml(f"{name}.{key}", value) for key, value in table.items() if isinstance(value, Mapping)]
    return "\n".join([*lines, *inner])


def signature_of(predictor: Predictor) -> Signature:
    """Return the signature of a model of tables."""
    assert isinstance(predictor.signature, Signature)
    return predictor.signature


def example_rows(seed: int = 1) -> pd.DataFrame:
    """Return the rows that the tests of the current project use; of another seed, rows that no model has seen."""
    rows: pd.DataFrame = problem.module("sample").simulate(rows=1500, seed=seed)
    return rows


def begin_project(folder: Path, problem_type: str) -> Project:
    """Write a small project: its configuration, its parameters as they are rendered, and its graph."""
    source = original(problem_type)
    folder.mkdir(parents=True, exist_ok=True)
    table = tomllib.loads((source / config.FILE).read_text(encoding="utf-8"))["tool"]["twoloops"]
    (folder / config.FILE).write_text(toml(config.TABLE, table), encoding="utf-8")
    for name in ("params.yaml", "dvc.yaml"):
        (folder / name).write_bytes((source / name).read_bytes())
    return Project(folder)


def open_gate(project: Project) -> params.Params:
    """Put in data, and let the gate pass every model, so that a test can close one door at a time.

    The project has to be the current one.
    """
    (project.folder / RAW).parent.mkdir(parents=True)
    project.put(example_rows())
    never = -1e9 if primary(params.load()).direction == "higher" else 1e9
    return project.set(
        data__source=RAW.as_posix(),
        data__minimum_rows=20,
        data__maximum_age_days=None,
        data__label_days=None,
        tune__trials=2,
        tune__folds=2,
        gate__threshold=never,
        gate__slice_threshold=never,
        gate__minimum_slice_rows=30,
        gate__minimum_gain_over_baseline=-1e9,
        gate__minimum_gain_over_champion=-1e9,
        gate__minimum_group_ratio=0.0,
        gate__maximum_latency_ms=1000.0,
        gate__jackknife_groups=50,
    )


def prepare_graph(project: Project, problem_type: str = "classification") -> None:
    """Put what dvc.yaml reads into a project: its package, a stand-in for the engine's source, a lock file, git."""
    shutil.copytree(original(problem_type) / "src", project.folder / "src", dirs_exist_ok=True)
    shutil.copy(original(problem_type) / ".gitignore", project.folder)  # DVC refuses outputs that git has
    (project.folder / "engine/src").mkdir(parents=True)
    (project.folder / "engine/src/file.py").touch()
    (project.folder / "uv.lock").write_text("version = 1\npackage = []\n", encoding="utf-8")
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"], ["git", "add", "."]):
        subprocess.run(command, check=True)
