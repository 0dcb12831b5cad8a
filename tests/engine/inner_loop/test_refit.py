"""What is shipped knows the newest rows, and no model is judged on rows that it was fitted on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from twoloops import artifact, params, registry
from twoloops.artifact import Predictor
from twoloops.errors import ProjectError
from twoloops.inner_loop.evaluate import evaluate
from twoloops.inner_loop.prepare import prepare, ripe
from twoloops.inner_loop.refit import refit
from twoloops.inner_loop.register import register
from twoloops.inner_loop.train import train
from twoloops.inner_loop.unseen import unseen
from twoloops.problem import data

from tests.engine.support.project import Project, example_rows


def origin(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "lineage.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.each_problem_type
def test_what_is_shipped_was_fitted_on_the_holdout_too(project: Project) -> None:
    judged, shipped = origin("artifacts/model"), origin("artifacts/shipped")
    rows = [len(pd.read_parquet(f"data/prepared/{part}.parquet")) for part in ("train", "holdout")]
    assert (judged["train_rows"], shipped["train_rows"]) == (rows[0], sum(rows))
    assert judged["until"] < shipped["until"]
    assert shipped["refitted"]["judged_model"] == artifact.identity(Path("artifacts/model"))
    assert shipped["holdout_version"] == judged["holdout_version"], "its verdict is about this holdout"
    assert shipped["parity_difference"] <= params.load().gate.parity_tolerance
    result = refit(params.load())
    assert result["identity"] == artifact.identity(Path("artifacts/shipped")), "the same once more"
    # Of the same rows, by fits that know half of the holdout: near the verdict, and not that of a model that knows all.
    assert result["cross_fitted"] == pytest.approx(result["judged"], rel=0.2)


@pytest.mark.each_problem_type
def test_the_reference_is_of_the_newest_rows(project: Project) -> None:
    holdout = pd.read_parquet("data/prepared/holdout.parquet")
    for folder in ("artifacts/model", "artifacts/shipped"):
        known = Predictor.load(folder).reference
        assert known["rows"] == len(holdout)
        assert known["features"]["tenure"]["mean"] == pytest.approx(holdout["tenure"].mean(), rel=1e-5)
    # Its scores are of fits that have not seen the rows: those of the shipped model itself are surer.
    scores = Predictor.load("artifacts/shipped").scores(holdout)
    name = next(iter(known["scores"]))
    assert known["scores"][name]["standard_deviation"] < scores[:, 0].std()


def test_what_was_judged_can_be_shipped_as_it_is(project: Project) -> None:
    checked = project.set(gate__refit=False)
    assert refit(checked) == {
        "artifact": "artifacts/shipped", "identity": artifact.identity(Path("artifacts/model")), "refitted": False,
    }  # fmt: skip
    evaluate(checked)
    made = register()
    assert made["identity"] == artifact.identity(Path("artifacts/model"))
    assert Predictor.load("models:/churn/1").identity == made["identity"]


def test_the_registry_keeps_both_with_the_verdict(promoted: Project) -> None:
    version = registry.get("1")
    with registry.download(version.uri) as shipped, registry.download_judged(version) as judged:
        assert artifact.identity(shipped) == artifact.identity(Path("artifacts/shipped"))
        assert artifact.identity(judged) == artifact.identity(Path("artifacts/model"))
        verdict = json.loads((shipped / "evaluation/verdict.json").read_text(encoding="utf-8"))
    assert verdict["model"] == artifact.identity(Path("artifacts/model"))


def test_without_the_step_nothing_is_registered(project: Project) -> None:
    from shutil import rmtree

    rmtree("artifacts/shipped")
    with pytest.raises(ProjectError, match="nothing to ship") as raised:
        register()
    assert "dvc.yaml" in raised.value.hint


# ------------------------------------------------------------------------ rows seen


def test_a_refitted_champion_is_not_judged_on_its_own_training_rows(promoted: Project) -> None:
    verdict = evaluate(params.load())
    gain = verdict["gains"]["champion"]
    # The challenger is the champion's judged twin: compared with the refitted champion it would seem far worse.
    assert gain["value"] == 0
    assert gain["rows"] == verdict["holdout"]["rows"]
    assert "its model before that stands for it" in gain["note"]


def later(rows: pd.DataFrame, days: int) -> pd.DataFrame:
    """Return the rows with as many of the following days."""
    new = example_rows()
    moved = new[data.EVENT_TIME] + (rows[data.EVENT_TIME].max() - new[data.EVENT_TIME].min())
    new = new.assign(**{data.EVENT_TIME: moved, data.ENTITY: new[data.ENTITY] + "-later"})
    return pd.concat([rows, new[moved <= moved.min() + pd.Timedelta(days, "D")]], ignore_index=True)


def test_on_a_newer_holdout_the_champion_itself_is_compared_where_it_has_seen_nothing(promoted: Project) -> None:
    promoted.put(later(promoted.rows(), 90))
    checked = params.load()
    prepare(checked, new_holdout=True)
    train(checked)
    verdict = evaluate(checked)
    gain, until = verdict["gains"]["champion"], pd.Timestamp(origin("artifacts/shipped")["until"])
    holdout = pd.read_parquet("data/prepared/holdout.parquet")
    assert 0 < gain["rows"] == (holdout[data.EVENT_TIME] > until).sum() < len(holdout)
    assert f"on the {gain['rows']:,} rows that the champion was not fitted on" in gain["note"]


def test_a_champion_that_has_seen_the_holdout_is_refused(promoted: Project) -> None:
    # As long as before, and its rows are older: by another rule than time, of rows that both models know.
    rows = promoted.rows().sort_values(data.EVENT_TIME)
    promoted.put(rows.iloc[: len(rows) // 2])
    checked = params.load()
    prepare(checked, new_holdout=True)
    train(checked)
    with pytest.raises(ProjectError, match="fitted on all but 0 of its") as raised:
        evaluate(checked)
    assert "newer rows" in raised.value.hint


@pytest.mark.parametrize(
    ("lineage", "expected"),
    [
        ({"holdout_version": "this"}, "all"),
        ({"holdout_version": "this", "refitted": {}, "until": None}, "none"),
        ({"holdout_version": "other"}, "unknown"),
        ({"holdout_version": "other", "until": None, "split": {"rule": "order"}}, "unknown"),
        ({"holdout_version": "other", "until": "2025-07-01T00:00:00Z"}, "newer"),
        ({"holdout_version": "this", "refitted": {}, "until": "2025-07-01T00:00:00Z"}, "newer"),
        (
            {
                "holdout_version": "other",
                "until": None,
                "split": {"rule": "group", "group": "subscriber_id", "share": 0.3, "salt": "a"},
            },
            "apart",
        ),
        (
            {
                "holdout_version": "other",
                "until": None,
                "split": {"rule": "group", "group": "household", "share": 0.3, "salt": "a"},
            },
            "unknown",
        ),
    ],
)
def test_which_rows_a_model_has_not_seen(project: Project, lineage: Mapping[str, Any], expected: str) -> None:
    from twoloops.contracts.split import is_held_out

    holdout = example_rows()
    found = unseen(holdout, "this", lineage)
    keys = holdout["subscriber_id"]
    wanted = {
        "all": np.ones(len(holdout), bool),
        "none": np.zeros(len(holdout), bool),
        "newer": (holdout["observed_at"] > pd.Timestamp("2025-07-01", tz="UTC")).to_numpy(),
        "apart": np.array([is_held_out(key, 0.3, "a") for key in keys]),
    }
    if expected == "unknown":
        assert found is None
    else:
        assert found is not None
        assert (found == wanted[expected]).all()


# ------------------------------------------------------------------------ days and labels


def parts() -> tuple[pd.DataFrame, pd.DataFrame]:
    return pd.read_parquet("data/prepared/train.parquet"), pd.read_parquet("data/prepared/holdout.parquet")


def test_the_holdout_can_be_the_newest_days(project: Project) -> None:
    checked = project.set(split={"holdout_days": 60})
    with pytest.raises(ProjectError, match=r"of a share of the rows; split in .* asks for 60 days"):
        prepare(checked)
    prepare(checked, new_holdout=True)
    before = json.loads(Path("data/holdout.json").read_text(encoding="utf-8"))
    assert before["days"] == 60
    _, holdout = parts()
    times = holdout[data.EVENT_TIME]
    assert pd.Timedelta(59, "D") < times.max() - times.min() < pd.Timedelta(60, "D")
    # Days go by: the frozen rows stay the same.
    project.put(later(project.rows(), 30))
    prepare(checked)
    assert json.loads(Path("data/holdout.json").read_text(encoding="utf-8")) == before
    with pytest.raises(ProjectError, match="none is left to train on"):
        prepare(project.set(split={"holdout_days": 3000}), new_holdout=True)


def test_labels_that_cannot_be_known_yet_are_not_believed(project: Project) -> None:
    """In the table, who leaves is written down at once and who stays after 30 days: the young labels all say 1."""
    rows = project.rows()
    young = rows[data.EVENT_TIME] > rows[data.EVENT_TIME].max() - pd.Timedelta(30, "D")
    chance = np.random.default_rng(0).uniform(size=len(rows)) < 0.2
    project.put(rows.assign(**{data.TARGET: rows[data.TARGET].mask(young & chance, 1)}))
    told = prepare(project.set(data__label_days=30), new_holdout=True)
    assert told["unripe"] == young.sum()
    train_rows, holdout = parts()
    assert holdout[data.EVENT_TIME].max() <= rows[data.EVENT_TIME].max() - pd.Timedelta(30, "D")
    # And what was not labelled on the first day of the exam is not learnt: the gap is as long.
    gap = holdout[data.EVENT_TIME].min() - train_rows[data.EVENT_TIME].max()
    assert pd.Timedelta(30, "D") <= gap < pd.Timedelta(33, "D")
    assert told["embargoed"] > 50
    believed = prepare(project.set(data__label_days=None), new_holdout=True)
    assert (believed["unripe"], believed["embargoed"]) == (0, 0)
    assert parts()[1][data.TARGET].mean() > 1.2 * holdout[data.TARGET].mean(), "what the old way believed"


def test_a_label_that_takes_time_needs_a_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("churn.problem.data.EVENT_TIME", None)
    with pytest.raises(ProjectError, match="label_days is 30, and rows have no time"):
        ripe(example_rows(), project.set(data__label_days=30).data)
