"""The inner loop as a whole: what goes in, which gate closes when, and what stays when one closes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from twoloops import artifact, params, project_signature, registry
from twoloops.artifact import Predictor
from twoloops.errors import ProjectError
from twoloops.inner_loop import backtest, folds
from twoloops.inner_loop import tune as tuning
from twoloops.inner_loop.evaluate import evaluate, primary
from twoloops.inner_loop.prepare import prepare
from twoloops.inner_loop.refit import refit
from twoloops.inner_loop.register import register
from twoloops.inner_loop.rule import failed_rules
from twoloops.inner_loop.staleness import staleness
from twoloops.inner_loop.train import read_parts, train
from twoloops.outer_loop.predict import predict
from twoloops.outer_loop.promote import promote
from twoloops.paths import paths
from twoloops.platforms import platform
from twoloops.problem import data as problem
from twoloops.problem import metrics, model

from tests.engine.support.project import Project, original
from tests.engine.support.verbs import call

each_problem_type = pytest.mark.each_problem_type


def snapshot() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().glob("*/**/*")) if path.is_file()}


@each_problem_type
def test_the_finished_loop_left_a_champion_with_its_lineage(promoted: Project) -> None:
    champion = registry.find(registry.CHAMPION)
    assert champion is not None
    lineage = json.loads(Path("artifacts/shipped/lineage.json").read_text(encoding="utf-8"))
    assert champion.tags["model_identity"] == artifact.identity(Path("artifacts/shipped"))
    assert champion.tags["judged_identity"] == artifact.identity(Path("artifacts/model"))
    assert champion.tags["train_version"] == lineage["train_version"]
    assert lineage["params"]["seed"] == params.load().seed
    holdout = json.loads(Path("data/holdout.json").read_text(encoding="utf-8"))
    assert lineage["holdout_version"] == holdout["version"]


@each_problem_type
def test_personal_columns_stop_at_prepare(project: Project) -> None:
    for name in ("train", "holdout"):
        prepared = pd.read_parquet(f"data/prepared/{name}.parquet")
        assert not set(problem.PERSONAL) & set(prepared.columns)


@each_problem_type
def test_the_same_inputs_give_the_same_artifact(project: Project) -> None:
    before = artifact.identity(Path("artifacts/model"))
    prepare(params.load())
    assert train(params.load())["identity"] == before
    other = project.set(seed=params.load().seed + 1, model=params.load().model.model_dump())
    assert train(other)["identity"] != before


# What is broken in the rows, by the words that the refusal must hold.
BROKEN: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "is missing": lambda rows: rows.drop(columns=problem.TARGET),
    "more than once": lambda rows: pd.concat([rows, rows.head(3)]),
    "holds no rows": lambda rows: rows.head(0),
    "demands": lambda rows: rows.head(10),
    "leaks|break": lambda rows: rows.dropna(subset=[problem.TARGET]).assign(
        **{project_signature().numeric[0]: lambda labelled: labelled[problem.TARGET].astype(float)}
    ),
    "same|single": lambda rows: rows.assign(**{problem.TARGET: rows[problem.TARGET].dropna().iloc[0]}),
}


@each_problem_type
@pytest.mark.parametrize("words", BROKEN)
def test_bad_data_is_refused_and_nothing_is_lost(project: Project, words: str) -> None:
    if words == "more than once" and not any(column.unique for column in problem.CONTRACT.columns.values()):
        pytest.skip("the contract allows a key to come back")
    before = snapshot()
    raw = project.rows()
    project.put(BROKEN[words](raw))
    with pytest.raises(ProjectError, match=words) as raised:
        prepare(params.load())
    assert raised.value.hint
    project.put(raw)
    after = snapshot()
    assert {name: after[name] for name in before if "raw" not in name} == {
        name: content for name, content in before.items() if "raw" not in name
    }


def test_old_data_is_refused_when_an_age_is_demanded(project: Project) -> None:
    if problem.EVENT_TIME is None:
        pytest.skip("the rows have no time")
    rows = project.rows()
    project.put(rows.assign(**{problem.EVENT_TIME: rows[problem.EVENT_TIME] - pd.Timedelta(3650, "D")}))
    with pytest.raises(ProjectError, match="days ago"):
        prepare(project.set(data__maximum_age_days=30))


def test_changed_data_needs_a_new_holdout(project: Project) -> None:
    rows = project.rows()
    project.put(rows.sample(frac=0.8, random_state=1))
    with pytest.raises(ProjectError, match="frozen holdout"):
        prepare(params.load())
    assert prepare(params.load(), new_holdout=True)["holdout_rows"] > 0


def test_no_parity_no_artifact(project: Project) -> None:
    before = snapshot()
    with pytest.raises(ProjectError, match="parity_tolerance"):
        train(project.set(gate__parity_tolerance=1e-300))
    assert snapshot() == before


@each_problem_type
@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("threshold", "gate__threshold"),
        ("slice", "gate__slice_threshold"),
        ("baseline", "gate__minimum_gain_over_baseline"),
        ("latency", "gate__maximum_latency_ms"),
    ],
)
def test_each_rule_of_the_gate_can_close_it(project: Project, rule: str, change: str) -> None:
    if rule == "slice" and not metrics.SLICES:
        pytest.skip("no slices are declared in problem/metrics.py")
    never = 1e9 if primary(params.load()).direction == "higher" or "gain" in change else -1e9
    verdict = evaluate(project.set(**{change: 1e-9 if rule == "latency" else never}))
    assert verdict["verdict"] == "red"
    assert {line.partition(":")[0] for line in failed_rules(verdict)} == {rule}
    for verb in (lambda: refit(params.load()), register):
        with pytest.raises(ProjectError, match=r"is missed by|another model"):
            verb()
    assert registry.find(registry.CHALLENGER) is None


@each_problem_type
def test_a_model_of_shuffled_labels_misses_the_gate_of_a_fresh_project(project: Project, problem_type: str) -> None:
    demanded = params.load(original(problem_type) / "params.yaml").gate
    rows = pd.read_parquet("data/prepared/train.parquet")
    shuffled = rows[problem.TARGET].sample(frac=1, random_state=3).to_numpy()
    rows.assign(**{problem.TARGET: shuffled}).to_parquet("data/prepared/train.parquet", index=False)
    checked = project.set(gate__threshold=demanded.threshold, gate__primary_metric=demanded.primary_metric)
    train(checked)
    closed = {rule["rule"] for rule in evaluate(checked)["rules"] if not rule["passed"]}
    assert "threshold" in closed, (
        f"gate.threshold, {demanded.threshold} for {demanded.primary_metric}, is met by a model that has learned "
        "nothing: demand more in params.yaml"
    )


def test_the_champion_is_compared_on_the_same_rows(promoted: Project) -> None:
    verdict = evaluate(params.load())
    assert verdict["champion"] == "1"
    assert verdict["gains"]["champion"]["value"] == pytest.approx(0, abs=1e-6)
    assert verdict["gains"]["champion"]["low"] == pytest.approx(0, abs=1e-6)
    worse = evaluate(promoted.set(gate__minimum_gain_over_champion=0.5, gate__champion_margin=0.0))
    assert [rule["rule"] for rule in worse["rules"] if not rule["passed"]] == ["champion"]
    without = evaluate(promoted.set(gate__compare_with_champion=False))
    assert "champion" not in without["gains"]


def test_register_wants_the_verdict_of_this_very_model(project: Project) -> None:
    train(project.set(seed=12345))
    with pytest.raises(ProjectError, match="another model"):
        refit(params.load())
    evaluate(params.load())
    with pytest.raises(ProjectError, match="another model"):
        register()


def test_register_wants_the_champion_of_the_verdict(promoted: Project) -> None:
    train(promoted.set(seed=12345))
    verdict = evaluate(params.load())
    refit(params.load())
    verdict["champion"] = "7"
    Path("reports/verdict.json").write_text(json.dumps(verdict), encoding="utf-8")
    with pytest.raises(ProjectError, match="compared with champion 7"):
        register()


def test_registering_twice_is_once(project: Project) -> None:
    evaluate(params.load())
    assert register() == register()


def test_a_new_version_is_promoted_and_rolled_back(promoted: Project) -> None:
    train(promoted.set(seed=12345))
    evaluate(params.load())
    refit(params.load())
    assert register()["version"] == "2"
    assert promote(platform) == {"champion": "2", "before": "1"}
    assert promote(platform, "1") == {"champion": "1", "before": "2"}
    with pytest.raises(ProjectError, match="no challenger"):
        promote(platform)
    # The same model again: its version is the challenger once more, and was compared with champion 1.
    assert (register()["version"], register()["alias"]) == ("2", "challenger")
    promote(platform, "2")
    assert register()["alias"] == "champion"


def test_a_version_that_is_judged_again_was_compared_with_the_champion_of_then(promoted: Project) -> None:
    train(promoted.set(seed=12345))
    evaluate(params.load())
    refit(params.load())
    register()
    registry.set_tag(registry.get("2"), "compared_with", "7")
    with pytest.raises(ProjectError, match="compared with champion 7"):
        promote(platform)
    evaluate(params.load())
    refit(params.load())
    register()
    assert promote(platform) == {"champion": "2", "before": "1"}


def test_a_challenger_of_another_champion_is_not_promoted_unasked(promoted: Project) -> None:
    stale = registry.create_version(registry.get("1").run_id, {"compared_with": "7"})
    registry.set_alias(registry.CHALLENGER, stale)
    with pytest.raises(ProjectError, match="compared with champion 7, but the champion is now 1"):
        promote(platform)
    assert promote(platform, "2") == {"champion": "2", "before": "1"}


@each_problem_type
def test_unequal_groups_of_people_close_the_gate(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    holdout = pd.read_parquet("data/prepared/holdout.parquet")
    scores = Predictor.load("artifacts/model").scores(holdout)[:, -1]
    side = np.where(scores > np.median(scores), "high", "low")
    holdout.assign(side=side).to_parquet("data/prepared/holdout.parquet", index=False)
    monkeypatch.setattr(metrics, "GROUPS", ["side"])
    mean = metrics.Metric("mean", lambda target, scores: float(scores[:, -1].mean()), "higher")
    monkeypatch.setattr(metrics, "FAIRNESS", [mean])
    verdict = evaluate(project.set(gate__minimum_group_ratio=1.0))
    assert {line.partition(":")[0] for line in failed_rules(verdict)} == {"group"}
    assert "(side=low against side=high.)" in failed_rules(verdict)[0]


def test_what_is_not_registered_cannot_be_used(project: Project) -> None:
    Path("mlflow.db").unlink()
    for attempt in (lambda: promote(platform), lambda: promote(platform, "1"), lambda: predict("x.csv", Path("y.csv"))):
        with pytest.raises(ProjectError) as raised:
            attempt()
        assert "run" in raised.value.hint


def test_a_server_that_does_not_answer_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ProjectError, match=r"http://127\.0\.0\.1:9") as raised:
        registry.find(registry.CHAMPION)
    assert "MLFLOW_TRACKING_URI" in raised.value.hint


@each_problem_type
def test_the_champion_predicts_rows_without_target(promoted: Project) -> None:
    project_rows = promoted.rows()
    project_rows.drop(columns=[problem.TARGET, *problem.PERSONAL]).to_csv("new.csv", index=False)
    result = predict("new.csv", Path("out.parquet"))
    written = pd.read_parquet("out.parquet")
    assert result["rows"] == len(written) == len(project_rows)
    assert {problem.ENTITY, "prediction", "model"} <= set(written.columns)
    expected = Predictor.load("artifacts/shipped").predict(promoted.rows())["prediction"]
    np.testing.assert_array_equal(np.sort(written["prediction"]), np.sort(expected))


def test_rows_that_break_the_contract_are_not_predicted(promoted: Project) -> None:
    promoted.rows().drop(columns=project_signature().names[0]).to_csv("new.csv", index=False)
    with pytest.raises(ProjectError, match=f"{project_signature().names[0]}: the column is missing"):
        predict("new.csv", Path("out.csv"))
    assert not Path("out.csv").exists()


@each_problem_type
def test_tuning_is_recorded_and_applied(project: Project) -> None:
    seen = []
    result = tuning.tune(params.load(), lambda number, best: seen.append(best))
    assert len(seen) == len(result["trials"]) == 2
    assert tuning.tune(params.load())["best"] == result["best"]
    path = Path("params.yaml")
    path.write_text(path.read_text(encoding="utf-8") + "# a remark\n", encoding="utf-8")
    tuning.apply(result["params"])
    assert params.load().model.model_dump().items() >= result["params"].items()
    assert "# a remark" in path.read_text(encoding="utf-8")
    assert "maximum_age_days: null" in path.read_text(encoding="utf-8")


def test_the_best_of_trials_that_are_alike_is_not_applied(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    search = {"minimum_leaf_rows": 30}
    monkeypatch.setattr(
        model,
        "search_space",
        lambda trial: {**params.load().model.model_dump(), **search, "l2": trial.suggest_float("l2", 1.0, 1.001)},
    )
    before = Path("params.yaml").read_bytes()
    result = call("tune", "--apply")
    assert result.exit_code == 0
    assert "within its noise" in result.output or "No trial was better" in result.output
    assert Path("params.yaml").read_bytes() == before


def test_folds_without_every_class_are_left_out_or_refused(project: Project) -> None:
    rows = pd.read_parquet("data/prepared/train.parquet").sort_values(problem.EVENT_TIME, kind="stable")
    values = sorted(rows[problem.TARGET].unique())
    early = [values[1]] * 6 + [values[0]] * (len(rows) - 6)
    rows.assign(**{problem.TARGET: early}).to_parquet("data/prepared/train.parquet", index=False)
    with pytest.raises(ProjectError, match="the rarest has 6 training rows"):
        tuning.tune(params.load())


def test_folds_keep_times_order_and_the_gap_of_labels_or_the_entity(project: Project) -> None:
    times = np.random.default_rng(1).permutation(100).astype("datetime64[D]").astype("datetime64[us]")
    checked = project.set(data__label_days=7)
    for fitted, judged in folds.rolling(times, 3, checked.data):
        assert times[fitted].max() + np.timedelta64(7, "D") <= times[judged].min()
        assert times[fitted].max() + np.timedelta64(8, "D") > times[judged].min(), "no more than the gap is left out"
    entities = np.arange(100) % 20
    for fitted, judged in folds.grouped(entities, 3):
        assert not set(entities[fitted]) & set(entities[judged])


def split_by_group() -> None:
    """Say that the holdout was split off by group, as problem/data.py may."""
    content = json.loads(paths().frozen_holdout.read_text(encoding="utf-8"))
    paths().frozen_holdout.write_text(json.dumps({**content, "split": "group", "group": "any", "salt": "s"}))


def test_a_split_by_group_has_folds_of_groups_and_no_age_and_no_backtest(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows have a time, and the holdout is no newer than they are."""
    split_by_group()
    seen: list[int] = []
    grouped = folds.grouped

    def watched(entities: Any, number: int) -> list[folds.Fold]:
        seen.append(number)
        return grouped(entities, number)

    monkeypatch.setattr(folds, "grouped", watched)
    tuning.tune(params.load())
    assert seen == [params.load().tune.folds]
    with pytest.raises(ProjectError, match="split off by group"):
        staleness(params.load())
    told = backtest.backtest(params.load(), primary(params.load()), read_parts()[0], project_signature(), by_time=False)
    assert (told["origins"], told["reason"]) == ([], "the holdout is not split off by time")


def test_an_age_is_not_told_from_a_few_days(project: Project) -> None:
    path = Path("data/prepared/train.parquet")
    rows = pd.read_parquet(path)
    rows[problem.EVENT_TIME] = pd.Timestamp("2025-01-01", tz="UTC") + pd.to_timedelta(range(len(rows)), unit="min")
    rows.to_parquet(path)
    with pytest.raises(ProjectError, match=r"The training rows span .* days; ages of whole days need 8"):
        staleness(params.load())


@each_problem_type
def test_the_recipe_is_judged_from_earlier_origins_too(project: Project) -> None:
    checked = project.set(gate__backtest_origins=3)
    metric, (records, _) = primary(checked), read_parts()
    told = backtest.backtest(checked, metric, records, project_signature(), by_time=True)
    assert told == backtest.backtest(checked, metric, records, project_signature(), by_time=True)
    origins = told["origins"]
    assert len(origins) == 3
    assert all(each["fitted_until"] <= each["since"] <= each["until"] for each in origins)
    assert [each["since"] for each in origins] == sorted(each["since"] for each in origins)
    assert told["mean"] == pytest.approx(np.mean([each["value"] for each in origins]))
    assert told["spread"] > 0
    off = backtest.backtest(project.set(gate__backtest_origins=0), metric, records, project_signature(), by_time=True)
    assert (off["origins"], off["reason"]) == ([], "gate.backtest_origins is 0")


def test_the_model_card_says_what_is_shipped_and_how_steady_the_recipe_is(project: Project) -> None:
    evaluate(project.set(gate__backtest_origins=2))
    card = paths().model_card.read_text(encoding="utf-8")
    total = sum(len(pd.read_parquet(path)) for path in (paths().train, paths().holdout))
    assert f"is fitted again on all {total:,} rows, training and holdout" in card
    assert "over\n2 origins. It closes no gate." in card
    evaluate(project.set(gate__refit=False, gate__backtest_origins=0))
    card = paths().model_card.read_text(encoding="utf-8")
    assert "The judged model itself (`gate.refit: false`), fitted on" in card
    assert "No backtest: gate.backtest_origins is 0." in card


@each_problem_type
def test_ageing_is_measured_where_rows_have_a_time(project: Project) -> None:
    if problem.EVENT_TIME is None:
        with pytest.raises(ProjectError, match="have a time"):
            staleness(params.load())
        return
    ages = staleness(params.load())["ages"]
    assert ages[0]["age_days"] == 0 < ages[-1]["age_days"]
    assert Path("reports/staleness.png").exists()


@each_problem_type
def test_the_model_card_tells_what_people_ask(project: Project) -> None:
    card = Path("reports/model_card.md").read_text(encoding="utf-8")
    for heading in ("What it is for", "How good it is", "By slice", "Groups of people", "What goes in"):
        assert heading in card
    for picture in Path("reports/plots").glob("*.png"):
        assert f"plots/{picture.name}" in card


def test_a_model_is_recalibrated_as_the_page_tells(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import make_pipeline

    build = model.build

    def calibrated(*arguments: Any) -> Any:
        features, classifier = (step for _, step in build(*arguments).steps)
        return make_pipeline(features, CalibratedClassifierCV(classifier, method="sigmoid", cv=5))

    before = json.loads(Path("reports/verdict.json").read_text(encoding="utf-8"))["calibration"]
    monkeypatch.setattr(model, "build", calibrated)
    checked = project.set(gate__parity_tolerance=1e-4)
    train(checked)
    after = evaluate(checked)["calibration"]
    distances = [abs(each[name]["slope"]["value"] - 1) for each in (before, after) for name in each]
    assert distances[1] < distances[0], "the small model is too sure of itself, and recalibrated it is less so"
