"""Batch scoring: every row once, the same answers as anywhere, and reasons for what is not scored."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from twoloops import params, project_signature
from twoloops.artifact import Predictor
from twoloops.contracts.watched import Layout
from twoloops.errors import ProjectError
from twoloops.outer_loop.monitoring import captures
from twoloops.paths import paths
from twoloops.problem import data as problem
from twoloops.problems import problem as task
from twoloops.problems.tabular import contract
from twoloops.problems.tabular.checking import check, refuse_schema
from twoloops.problems.tabular.encoding import encode
from twoloops.problems.tabular.signature import Feature, Signature
from twoloops.scoring import engines, locking, sampling
from twoloops.scoring.partitions import plan, read
from twoloops.scoring.places import Place
from twoloops.scoring.run import Options
from twoloops.scoring.run import score as scoring

from tests.engine.support.project import Project, example_rows
from tests.engine.support.verbs import call

MODEL = "artifacts/model"
ROWS = 600
EVERY_ROW_MAY_BE_BAD = {"score__maximum_quarantined_share": 1.0}


def keys() -> list[str]:
    return [name for name in (problem.ENTITY, problem.EVENT_TIME) if name is not None]


def good_rows() -> pd.DataFrame:
    """Return rows that keep the contract, as Parquet and training give them."""
    frame = problem.load("data/raw/rows.parquet")
    return contract.check(frame, contract.without_target(problem.CONTRACT, problem), "rows").head(ROWS)


@dataclass
class Table:
    """A source of 6 row groups in 3 partitions, its target, and what a run leaves there."""

    rows: pd.DataFrame
    source: Path = Path("source/rows.parquet")
    target: Path = Path("target")

    def write(self) -> None:
        self.source.parent.mkdir(exist_ok=True)
        self.rows.to_parquet(self.source, index=False, row_group_size=100)

    def score(self, **options: Any) -> dict[str, Any]:
        model = options.pop("model", MODEL)
        return scoring(str(self.source), str(self.target), params.load(), model=model, options=Options(**options))

    def manifest(self) -> dict[str, Any]:
        return dict(json.loads((self.target / "manifest.json").read_text()))

    def files(self, kind: str) -> list[Path]:
        found = [part[kind] for part in self.manifest()["partitions"] if part[kind]]
        for each in found:
            assert (self.target / each["file"]).stat().st_size == each["bytes"]
        return [self.target / each["file"] for each in found]

    def result(self, kind: str = "predictions") -> pd.DataFrame:
        return pd.concat([pd.read_parquet(path) for path in self.files(kind)], ignore_index=True)


@pytest.fixture
def table(project: Project) -> Table:
    project.set(score__batch_rows=70, score__partition_rows=200)
    made = Table(good_rows())
    made.write()
    return made


def test_a_folder_must_hold_the_model_that_the_platform_names(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_IDENTITY", "another")
    with pytest.raises(ProjectError, match="MODEL_IDENTITY names 'another'"):
        table.score()
    assert not (table.target / "manifest.json").exists()
    monkeypatch.setenv("MODEL_IDENTITY", Predictor.load(MODEL).identity)
    assert table.score()["status"] == "published"


def test_answers_are_those_of_the_predictor(table: Table) -> None:
    summary = table.score()
    expected = Predictor.load(MODEL).predict(table.rows)
    result = table.result()
    assert summary["status"] == "published"
    assert (summary["rows"], summary["scored"], summary["partitions"]) == (ROWS, ROWS, 3)
    assert list(result) == [*keys(), *expected, "model"]
    for name, column in expected.items():
        np.testing.assert_array_equal(result[name], column)
    for name in keys():
        assert result[name].tolist() == table.rows[name].tolist()
    assert set(result["model"]) == {summary["model"]["identity"][:12]}


def test_columns_are_carried_along_but_personal_ones_are_not(table: Table) -> None:
    table.rows = table.rows.assign(note="kept", model="an older one", **dict.fromkeys(problem.PERSONAL, "someone"))
    table.write()
    table.score(keep_columns=True)
    result = table.result()
    assert {"note", *project_signature().names} <= set(result)
    assert not set(problem.PERSONAL) & set(result)
    for name in project_signature().names:
        assert result[name].astype(object).where(result[name].notna(), None).tolist() == (
            table.rows[name].astype(object).where(table.rows[name].notna(), None).tolist()
        )
    assert "an older one" not in set(result["model"])


def test_batches_are_bounded(table: Table) -> None:
    place = Place.of(str(table.source))
    parts = plan(place, task.batches(project_signature()), 250)
    assert [(part.first_row, part.rows, part.row_groups) for part in parts] == [
        (0, 200, (0, 1)),
        (200, 200, (2, 3)),
        (400, 200, (4, 5)),
    ]
    sizes = [[len(batch) for batch in read(place, part, task.batches(project_signature()), 70)] for part in parts]
    assert all(sum(each) == 200 and max(each) <= 70 for each in sizes)


def broken_values() -> dict[str, tuple[str, Any]]:
    """Return a column and a value by the reason for which a row with it is refused."""
    cases: dict[str, tuple[str, Any]] = {f"{problem.ENTITY} is missing": (problem.ENTITY, None)}
    if problem.EVENT_TIME:
        cases[f"{problem.EVENT_TIME} is missing"] = (problem.EVENT_TIME, None)
    for feature in project_signature().features:
        name = feature.name
        if not feature.nullable:
            cases[f"{name} is missing"] = (name, None)
        if feature.kind == "category":
            if isinstance(feature.categories[0], str):
                cases[f"{name} is not a known value: 'no such value'"] = (name, "no such value")
            continue
        cases[f"{name} is not finite: inf"] = (name, np.inf)
        if feature.minimum is not None:
            cases[f"{name} is below {feature.minimum:g}: {feature.minimum - 1!r}"] = (name, feature.minimum - 1)
        if feature.maximum is not None:
            cases[f"{name} is above {feature.maximum:g}: {feature.maximum + 1!r}"] = (name, feature.maximum + 1)
    return cases


def test_each_bad_value_is_quarantined_with_its_reason_and_place(project: Project, table: Table) -> None:
    project.set(**EVERY_ROW_MAY_BE_BAD)
    cases = broken_values()
    table.rows = table.rows.astype(dict.fromkeys(project_signature().numeric, "float64")).reset_index(drop=True)
    expected = {}
    for place, (reason, (column, value)) in enumerate(cases.items()):
        row = 7 * place  # in several batches and partitions
        table.rows.loc[row, column] = value
        expected[row] = reason
    table.write()
    summary = table.score()
    bad = table.result("quarantine").set_index("source_row")
    assert bad["reason"].to_dict() == expected
    assert set(bad["source_file"]) == {table.source.resolve().as_posix()}
    assert {problem.ENTITY, *project_signature().names} <= set(bad)
    assert summary["rules"] == {reason.partition(":")[0]: 1 for reason in cases}
    good = table.rows.drop(index=list(expected))
    assert table.result()[problem.ENTITY].tolist() == good[problem.ENTITY].tolist()
    np.testing.assert_array_equal(table.result()["prediction"], Predictor.load(MODEL).predict(good)["prediction"])


def test_a_row_tells_all_its_reasons(project: Project, table: Table) -> None:
    project.set(**EVERY_ROW_MAY_BE_BAD)
    name = project_signature().numeric[0]
    table.rows = table.rows.assign(**{name: np.inf, problem.ENTITY: None})
    table.write()
    summary = table.score()
    assert set(table.result("quarantine")["reason"]) == {f"{name} is not finite: inf; {problem.ENTITY} is missing"}
    assert (summary["scored"], summary["quarantined"]) == (0, ROWS)
    assert not table.files("predictions")


def test_an_answer_that_is_not_finite_is_not_used(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Predictor.score_inputs

    def broken(self: Predictor, matrix: Any) -> Any:
        scores = whole(self, matrix).copy()
        scores[0] = np.nan
        return scores

    monkeypatch.setattr(Predictor, "score_inputs", broken)
    summary = table.score()
    assert summary["rules"] == {"the model's answer is not finite": summary["quarantined"]}
    assert np.isfinite(table.result().select_dtypes("number")).all(axis=None)


def test_types_are_read_as_in_training(bare_project: Project) -> None:
    frame = good_rows_of_example()
    columns: dict[str, Any] = {name: frame[name].tolist() for name in keys()}
    for feature in project_signature().features:
        columns[feature.name] = [None if pd.isna(value) else str(value) for value in frame[feature.name]]
    numeric = project_signature().numeric[0]
    columns[numeric][3] = "many"
    if problem.EVENT_TIME:
        columns[problem.EVENT_TIME] = [moment.isoformat() for moment in frame[problem.EVENT_TIME]]
        columns[problem.EVENT_TIME][4] = "yesterday"
    checked = check(pa.RecordBatch.from_pydict(columns), project_signature())
    assert checked.reasons()[0] == f"{numeric} is not a number: 'many'"
    bad = [3]
    if problem.EVENT_TIME:
        bad.append(4)
        assert checked.reasons()[1] == f"{problem.EVENT_TIME} is not a time: 'yesterday'"
        assert checked.event_time is not None
        assert checked.event_time[0].as_py() == frame[problem.EVENT_TIME].iloc[0].to_pydatetime()
    assert np.flatnonzero(checked.bad).tolist() == bad
    np.testing.assert_array_equal(
        checked.inputs[~checked.bad], encode(frame, project_signature().features)[~checked.bad]
    )


def test_any_type_that_holds_the_values_will_do() -> None:
    features = (
        Feature(name="size", kind="number", nullable=False, maximum=10),
        Feature(name="grade", kind="category", nullable=False, categories=(1, 2)),
        Feature(name="member", kind="category", nullable=True, categories=(False, True)),
    )
    signature = Signature(task="any", features=features, entity="id", event_time=None, target="y")
    forms: dict[str, list[pa.Array]] = {
        "size": [
            pa.array([1, None, 20], pa.int16()),
            pa.array([1, np.nan, 20], pa.float32()),
            pa.array([Decimal(1), None, Decimal(20)]),
            pa.array(["1", None, "20"]),
            pa.array([1.0, None, 20.0]).dictionary_encode(),
        ],
        "grade": [pa.array(["2", None, "two"]), pa.array([2, None, 3]), pa.array([2.0, np.nan, 3.0])],
        "member": [pa.array(["true", "False", None]), pa.array([True, False, None])],
    }
    expected = [[1, 2, 2], [np.nan, 0, 1], [20, -1, 0]]
    for number in range(5):
        columns = {name: form[number % len(form)] for name, form in forms.items()} | {"id": pa.array([1, 2, 3])}
        batch = pa.RecordBatch.from_pydict(columns)
        refuse_schema(batch.schema, signature, "rows")
        checked = check(batch, signature)
        # A category that cannot be read as one has no code: whichever it is given, it is refused.
        np.testing.assert_array_equal(checked.inputs[:2], np.asarray(expected, np.float32)[:2])
        first, second = (reason.split("; ") for reason in checked.reasons())
        assert first == ["size is missing", "grade is missing"]
        assert [reason.partition(":")[0] for reason in second] == ["size is above 10", "grade is not a known value"]
    nothing = pa.RecordBatch.from_pydict(columns | {"size": pa.nulls(3)})
    assert check(nothing, signature).broken[0].rule == "size is missing"


def good_rows_of_example() -> pd.DataFrame:
    return contract.check(example_rows(), contract.without_target(problem.CONTRACT, problem), "rows").head(50)


def test_csv_gives_the_same_answers(table: Table) -> None:
    table.score()
    expected = table.result()["prediction"].tolist()
    table.source = Path("rows.csv")
    table.rows.to_csv(table.source, index=False)
    table.target = Path("other")
    assert table.score()["partitions"] == 1
    np.testing.assert_allclose(table.result()["prediction"].tolist(), expected)


def test_too_many_bad_rows_publish_nothing(project: Project, table: Table) -> None:
    project.set(score__maximum_quarantined_share=0.1)
    table.score()
    before = table.manifest()
    table.rows.loc[table.rows.index[:61], problem.ENTITY] = None
    table.write()
    assert table.score()["status"] == "failed"
    assert table.manifest() == before
    assert len(table.result()) == ROWS
    summary = json.loads((table.target / "summary.json").read_text())
    assert (summary["status"], summary["quarantined"], summary["scored"]) == ("failed", 61, ROWS - 61)
    metrics = paths().scoring_metrics.read_text()
    assert "score_failed 1.0" in metrics
    assert "score_last_success_timestamp_seconds" in metrics
    told = call("score", str(table.source), str(table.target), "--model", MODEL)
    assert told.exit_code == 2
    assert "Nothing was published: 10.17% of the rows break the contract" in told.output
    # Once more is allowed, the same results are published, and nothing is scored again.
    project.set(score__maximum_quarantined_share=0.2)
    again = table.score()
    assert (again["status"], again["partitions_scored_now"]) == ("published", 0)
    assert len(table.result()) == ROWS - 61


def everything(folder: Path) -> dict[str, int]:
    return {path.as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_nothing_changed_nothing_runs(table: Table) -> None:
    table.score()
    before, captured = everything(table.target), everything(paths().captures)
    again = table.score()
    assert (again["status"], again["partitions_scored_now"], again["rows"]) == ("unchanged", 0, ROWS)
    assert everything(table.target) == before
    forced = table.score(force=True)
    assert (forced["status"], forced["partitions_scored_now"]) == ("published", 3)
    assert set(everything(table.target)) != set(before)
    assert len(everything(table.target)) == len(before)
    assert everything(paths().captures) == captured, "the same rows are not captured twice"


def test_what_changed_is_replaced_and_leftovers_go(table: Table) -> None:
    other = table.source.with_name("second.parquet")
    table.rows.head(50).to_parquet(other)
    table.source, first = table.source.parent, table.source
    table.score()
    assert len(table.result()) == ROWS + 50
    kept = table.files("predictions")[:3]
    (table.target / "predictions" / "mine.txt").write_text("not of scoring")

    table.rows.tail(60).to_parquet(other)
    summary = table.score()
    assert (summary["partitions"], summary["partitions_scored_now"]) == (4, 1)
    assert table.files("predictions")[:3] == kept
    assert table.result()[problem.ENTITY].tolist() == [
        *table.rows[problem.ENTITY],
        *table.rows[problem.ENTITY].tail(60),
    ]

    first.unlink()
    assert table.score()["rows"] == 60
    assert sorted(path.name for path in (table.target / "predictions").iterdir()) == sorted(
        ["mine.txt", *(path.name for path in table.files("predictions"))]
    )


def test_another_model_scores_again(table: Table) -> None:
    table.score()
    shutil.copytree(MODEL, "other")
    # Another manifest, so another identity, of the same files.
    path = Path("other/manifest.json")
    path.write_text(json.dumps(json.loads(path.read_text())))
    again = table.score(model="other")
    assert again["partitions_scored_now"] == 3
    assert set(table.result()["model"]) == {again["model"]["identity"][:12]}


@pytest.mark.parametrize("damage", ["record gone", "record broken", "file gone", "file shorter", "unfinished"])
def test_an_interrupted_run_is_resumed(table: Table, damage: str) -> None:
    table.score()
    expected = table.result()
    record = next((table.target / "state").glob("*.json"))
    file = table.target / json.loads(record.read_text())["predictions"]["file"]
    unfinished = file.with_name(f".{file.name}-x1y2")
    if damage == "record gone":
        record.unlink()
    elif damage == "record broken":
        record.write_text("{")
    elif damage == "file gone":
        file.unlink()
    elif damage == "file shorter":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        unfinished.mkdir()
    summary = table.score()
    assert summary["partitions_scored_now"] == (0 if damage == "unfinished" else 1)
    pd.testing.assert_frame_equal(table.result(), expected)
    assert not unfinished.exists()
    assert not (table.target / locking.LOCK).exists()


def lock_of(**changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    lock = {"run": "other", "host": socket.gethostname(), "pid": os.getppid(), "started_at": now, "renewed_at": now}
    return lock | changes


LONG_AGO = (datetime.now(UTC) - timedelta(hours=1)).isoformat()


def test_a_second_run_is_refused(table: Table) -> None:
    target = Place.of(str(table.target))
    for other in (lock_of(), lock_of(host="elsewhere")):
        target.write_json(locking.LOCK, other)
        with pytest.raises(ProjectError, match=f"Another run writes into target: process {os.getppid()} on"):
            table.score()
        assert target.read_json(locking.LOCK) == other, "the other keeps its lock"
    assert not (table.target / "manifest.json").exists()
    assert "score_failed 1.0" in paths().scoring_metrics.read_text()


@pytest.mark.parametrize("gone", [{"pid": os.getpid()}, {"renewed_at": LONG_AGO}])
def test_the_lock_of_a_run_that_is_gone_is_taken(table: Table, gone: dict[str, Any]) -> None:
    Place.of(str(table.target)).write_json(locking.LOCK, lock_of(**gone))
    assert table.score()["status"] == "published"


def test_who_lost_the_lock_publishes_nothing(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = engines.score_partition

    def overtaken(*words: Any, **named: Any) -> Any:
        Place.of(str(table.target)).write_json(locking.LOCK, lock_of())
        return whole(*words, **named)

    monkeypatch.setattr(engines, "score_partition", overtaken)
    with pytest.raises(ProjectError, match="has taken over"):
        table.score()
    assert not (table.target / "manifest.json").exists()
    assert json.loads((table.target / locking.LOCK).read_text())["run"] == "other"


def no_column(table: Table) -> None:
    table.rows = table.rows.drop(columns=project_signature().names[-1])
    table.write()


def a_list(table: Table) -> None:
    table.rows[project_signature().numeric[0]] = pd.Series([[1.0]] * len(table.rows), index=table.rows.index)
    table.write()


def no_rows(table: Table) -> None:
    table.rows = table.rows.head(0)
    table.write()


def an_empty_folder(table: Table) -> None:
    table.source = Path("empty")
    (table.source / "_ignored").mkdir(parents=True)
    (table.source / "_ignored" / "rows.parquet").touch()


def damaged(table: Table) -> None:
    table.source.write_bytes(table.source.read_bytes()[:-200])


def damaged_inside(table: Table) -> None:
    content = bytearray(table.source.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    table.source.write_bytes(content)


def twice(table: Table) -> None:
    arrow = pq.read_table(table.source)
    place = arrow.schema.get_field_index(problem.ENTITY)
    pq.write_table(arrow.append_column(problem.ENTITY, arrow.column(place)), table.source)


def inside(table: Table) -> None:
    table.source = table.source.parent
    table.target = table.source / "target"


UNUSABLE: dict[str, Callable[[Table], Any]] = {
    "has no column": no_column,
    "a number is needed": a_list,
    "holds no rows": no_rows,
    "There are no Parquet files": an_empty_folder,
    "cannot be used": damaged,
    "rows.parquet cannot be used": damaged_inside,
    "more than once": twice,
    "There is nothing at": lambda table: table.source.unlink(),
    "lie in one another": inside,
    "is a web address": lambda table: setattr(table, "source", "https://example.com/rows.parquet"),
}


@pytest.mark.parametrize("words", UNUSABLE)
def test_what_cannot_be_scored_is_told(table: Table, words: str) -> None:
    UNUSABLE[words](table)
    with pytest.raises(ProjectError, match=words) as raised:
        table.score()
    assert raised.value.hint
    assert not (table.target / "manifest.json").exists()
    assert not list(table.target.rglob("*.parquet"))
    assert "score_failed 1.0" in paths().scoring_metrics.read_text()


def test_the_monitor_gets_a_sample(table: Table) -> None:
    name = project_signature().numeric[0]
    table.rows.loc[table.rows.index[:20], name] = np.inf
    table.write()
    summary = table.score()
    (file,) = captures.find(None)
    predictor = Predictor.load(MODEL)
    window = captures.gather([file], predictor)
    assert not window.unreadable
    assert (window.rows, window.refused) == (ROWS - 20, 20)
    assert window.skew < 1e-6
    assert summary["drift"]["rows"] == ROWS - 20
    assert set(summary["drift"]["features"]) == set(project_signature().names)
    # New rows are captured, those before are not once more.
    table.rows.head(30).iloc[20:].to_parquet(table.source.with_name("new.parquet"))
    table.source = table.source.parent
    table.score()
    assert captures.gather(captures.find(None)[1:], predictor).rows == 10


def test_a_sample_is_uniform_and_bounded(bare_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "LIMIT", 200)
    signature = project_signature().model_copy(
        update={"features": project_signature().features[:1], "classes": (), "personal": (problem.ENTITY,)}
    )
    layout = Layout(task.watched(signature), tuple(signature.outputs))
    samples = []
    for part in range(2):
        sample = sampling.Sample(layout, 1.0, keeps_entities=False)
        for first in range(0, 5000, 100):
            rows = np.arange(first, first + 100)
            draw = sampling.draws(100, 7, "ab", first + 10_000 * part)
            entities = pa.array(map(str, rows))
            scores = (rows[:, None] + 5000.0 * part).astype(np.float64)
            sample.add(rows[:, None].astype(np.float32), scores, (entities, None), draw)
        held = sample.table()
        assert held is not None
        assert held.num_rows <= 2 * 200
        samples.append((held, sample.below))
    whole = sampling.merge(samples)
    matrix, scores = sampling.arrays(whole, layout)
    assert matrix.shape == (200, 1)
    assert len(np.unique(scores)) == 200
    # 200 uniform draws of 0 to 9999: the mean's standard error is 204.
    assert abs(scores.mean() - 4999.5) < 4 * 204
    assert whole["entity"].null_count == 200, "a personal entity is not kept"
    assert sampling.threshold(100) == 1.0


def test_the_champion_scores_by_default(promoted: Project) -> None:
    told = call("score", "data/raw/rows.parquet", "target", "--json")
    summary = json.loads(told.stdout)
    assert summary["model"]["version"] == "1"
    assert summary["model"]["identity"] == Predictor.load(paths().shipped).identity
    told = call("score", "data/raw/rows.parquet", "target", "--model", summary["model"]["uri"])
    assert "Nothing has changed since the last run" in told.output


def test_without_ray_the_way_to_get_it_is_told(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ProjectError, match="Ray is not installed") as raised:
        table.score(engine="ray")
    assert raised.value.hint == "uv add --group train 'twoloops[ray]'"
