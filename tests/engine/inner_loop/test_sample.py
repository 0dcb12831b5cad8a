"""A change under review reads a sample that names nobody, and not the data."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from twoloops import params
from twoloops.delivery import report
from twoloops.errors import ProjectError
from twoloops.inner_loop import sample
from twoloops.paths import paths
from twoloops.problem import data
from twoloops.scoring.places import upload

from tests.engine.support.project import RAW, Project
from tests.engine.support.verbs import call

WANTED = 300


def dvc(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *words, "--quiet"], check=True)


def keep_with_dvc() -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)
    dvc("init")
    dvc("remote", "add", "--default", "kept", "kept")
    dvc("remote", "add", "sample", "kept-apart")


def make() -> pd.DataFrame:
    assert call("prepare").exit_code == 0
    sample.make(params.load(), WANTED, None, upload)
    return pd.read_parquet(paths().sample)


def test_it_names_nobody_and_is_the_same_each_time(project: Project) -> None:
    keep_with_dvc()
    found = make()
    before = json.loads(paths().sample_record.read_text(encoding="utf-8"))
    assert set(found.columns) == set(data.CONTRACT.columns) - set(data.PERSONAL)
    prepared = pd.concat([pd.read_parquet(path) for path in (paths().train, paths().holdout)])
    assert not set(found[data.ENTITY]) & set(prepared[data.ENTITY])
    raw = project.rows()
    for name in data.PERSONAL:
        assert not set(raw[name].dropna()) & set(found.astype(str).to_numpy().ravel()), "no column holds it"
    counts = prepared[data.ENTITY].value_counts()
    assert WANTED <= len(found) < WANTED + counts.max(), "entities are drawn whole"
    rest = [name for name in found.columns if name != data.ENTITY]
    assert len(found[rest].merge(prepared[rest].drop_duplicates(), how="inner")) == len(found), "the rows are real ones"
    paths().sample.unlink()
    make()
    assert json.loads(paths().sample_record.read_text(encoding="utf-8")) == before
    project.set(seed=1234)
    make()
    assert json.loads(paths().sample_record.read_text(encoding="utf-8")) != before


def test_a_change_reads_it_in_place_of_the_data(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_with_dvc()
    make()
    dvc("push")
    assert yaml.safe_load(Path("data/sample/rows.parquet.dvc").read_text("utf-8"))["outs"][0]["remote"] == "sample"
    assert list(Path("kept-apart").rglob("*")), "a remote of its own keeps it"
    # The checkout of a job: what is not in git is not here, neither is what keeps the data.
    for each in (".dvc/cache", "kept", "data/prepared"):
        shutil.rmtree(each, ignore_errors=True)
    RAW.unlink()
    paths().sample.unlink()
    project.set(data__maximum_age_days=1, data__minimum_rows=1000)
    told = call("fetch", "--sample")
    assert told.exit_code == 0, told.output
    changed = params.load()
    assert sample.in_use(changed.data.source)
    assert (changed.data.maximum_age_days, changed.data.minimum_rows) == (None, WANTED // 2)
    for verb in ("prepare", "train", "evaluate"):
        told = call(verb)
        assert told.exit_code == 0, (verb, told.output, told.exception)
    monkeypatch.setattr(report.host, "base", lambda: "main")
    assert "judged on a sample" in report.report().read_text(encoding="utf-8")


def test_without_a_sample_a_change_reads_nothing(project: Project) -> None:
    told = call("fetch", "--sample")
    assert told.exit_code == 1
    assert isinstance(told.exception, ProjectError)
    assert "reads a sample of the data, and there is no" in str(told.exception)
    assert "'sample', and commit data/sample.json" in told.exception.hint
    project.set(data__changes_read="all")
    assert "it is here" in call("fetch", "--sample").output
    RAW.unlink()
    project.set(data__changes_read="sample", data__source="data/raw/simulated.parquet")
    assert "Nobody in them exists" in call("fetch", "--sample").output


def test_what_git_does_not_name_is_refused(project: Project, tmp_path: Path) -> None:
    assert call("prepare").exit_code == 0
    store = (tmp_path / "store").as_uri()
    (tmp_path / "store").mkdir()
    record = sample.make(params.load(), WANTED, store, upload)
    assert record["table"] == f"{store}/rows-{record['sha256'][:16]}.parquet", "nothing is written over"
    paths().sample.unlink()
    sample.use(params.load())
    assert len(pd.read_parquet(paths().sample)) == record["rows"]
    kept = tmp_path / "store" / Path(record["table"]).name
    kept.write_bytes(b"another")
    with pytest.raises(ProjectError, match=r"is not the sample that data/sample\.json names"):
        sample.use(params.load())
    kept.unlink()
    with pytest.raises(ProjectError, match="cannot be read"):
        sample.use(params.load())


def test_what_dvc_does_not_keep_needs_a_place(project: Project) -> None:
    assert call("prepare").exit_code == 0
    with pytest.raises(ProjectError, match="Nothing keeps the sample"):
        sample.make(params.load(), WANTED, None, upload)


def test_the_data_itself_still_needs_its_personal_columns(project: Project) -> None:
    project.put(project.rows().drop(columns=data.PERSONAL))
    told = call("prepare")
    assert bool(told.exit_code) == bool(data.PERSONAL), "one of another name might be kept by chance"
