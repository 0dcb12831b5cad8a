"""`draft`: what a table says and what it hides, the questions, and files that are written all or not at all."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from twoloops.problems.tabular import classification, contract
from twoloops.problems.tabular.drafting import deciding, profiling, suspecting, writing
from twoloops.verbs import drafting

from commands.answer_space import template
from tests.engine.problems.ways import project as project_of
from tests.engine.support.project import Project
from tests.engine.support.verbs import call

ROWS = 600
UNSPEAKABLE = 'a "quoted"\nname \\'
UGLY = "it's {{ a }} {% name %}|`x` # 100 % %s"


@pytest.fixture
def churn(laid_out: Callable[..., Project]) -> Path:
    folder = laid_out().folder
    answers = template().all_answers({})
    told = {name: answers[name] for name in ("owner", "contact", "minimum_metric")}
    (folder / ".copier-answers.yml").write_text(yaml.safe_dump(told), encoding="utf-8")
    return folder


def traps() -> pd.DataFrame:
    """Return a table with a trap in each column."""
    random = np.random.default_rng(3)
    size = random.normal(50, 10, ROWS)
    late = random.random(ROWS) < 0.3
    places = np.array([f"place {number}" for number in range(105)])
    return pd.DataFrame(
        {
            "Customer ID": [f"c{number:05d}" for number in random.permutation(ROWS)],
            "shop_id": random.integers(1000, 1100, ROWS),
            "seen at": pd.Timestamp("2025-01-01") + pd.to_timedelta(np.arange(ROWS), unit="h"),
            "e-mail": [f"person{number}@example.com" for number in range(ROWS)],
            "size": size.round(1),
            "size in inches": (size.round(1) / 2.54),
            "class": random.choice(["a", "b"], ROWS),  # a reserved word
            "l\N{LATIN SMALL LETTER A WITH DIAERESIS}nge": random.integers(0, 9, ROWS),
            UNSPEAKABLE: random.choice(["x", "y"], ROWS),
            UGLY: random.choice(["x", 'y"""', "z\\"], ROWS),
            "rooms": pd.Series(random.integers(1, 6, ROWS), dtype="Int64").mask(random.random(ROWS) < 0.2),
            "member": random.random(ROWS) < 0.5,
            "weight": np.where(random.random(ROWS) < 0.1, "NA", random.integers(50, 99, ROWS).astype(str)),
            "place": np.where(np.arange(ROWS) % 3 == 0, random.choice(places, ROWS), random.choice(places[:9], ROWS)),
            "born": random.choice(["01/02/1980", "13/11/1975", "05/06/1990"], ROWS),
            "zip": random.choice(["01234", "00042", "98765"], ROWS),
            "always": "same",
            "empty": pd.array([None] * ROWS, dtype="string"),
            "letter": [f"no two letters say the same, number {number}" for number in range(ROWS)],
            "refund": np.where(late, random.integers(1, 99, ROWS), np.nan),
            "reason code": np.where(late, "L", "E"),
            "late": np.where(late, "yes", "no"),
        }
    )


def written(folder: Path, frame: pd.DataFrame, name: str = "rows.csv") -> str:
    place = folder / "data/raw" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".csv"):
        frame.rename(columns=lambda each: each.replace("\n", " ")).to_csv(place, index=False)  # one line of names
    else:
        frame.to_parquet(place, index=False)
    return f"data/raw/{name}"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def contract_of(folder: Path) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(folder / "src/churn/problem/data.py")))


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_a_table_with_a_trap_in_each_column(churn: Path, name: str) -> None:
    place = written(churn, traps(), name)
    result = call("draft", place, "--target", "late", "--yes", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["entity"], told["event_time"], told["classes"]) == ("Customer ID", "seen at", ["no", "yes"])
    assert told["personal"] == ["e-mail"]
    left_out = {column: why.split(":")[0] for column, why in told["left_out"].items()}
    assert "requests cannot name it" in left_out[UNSPEAKABLE.replace("\n", " " if name.endswith(".csv") else "\n")]
    assert left_out["always"].startswith("a constant")
    assert left_out["empty"] == "no row has a value"
    assert left_out["letter"] == "an identifier"
    assert left_out["shop_id"].startswith("an identifier that comes back")
    assert "no ISO 8601" in left_out["born"]
    assert left_out["refund"] == left_out["reason code"] == "it alone tells the target"
    suspicions = "\n".join(told["suspicions"])
    for words in (
        "e-mail: perhaps personal data: it holds e-mail addresses",
        "size and size in inches say the same",
        "'NA' stands for no value in weight",
        "refund: a leak",
    ):
        assert words in suspicions
    if name.endswith(".csv"):
        assert "begin with 0" in left_out["zip"]

    # What was written keeps what it was drafted from, whatever the columns are called.
    code = contract_of(churn)
    with project_of(code):
        checked = contract.check(code.load(place), code.CONTRACT, place)
        features = {each.name: each for each in contract.signature(code.CONTRACT, code, "classification").features}
    assert len(checked) == ROWS
    assert list(features) == told["features"]
    assert features["place"].other == "other"
    assert len(features["place"].categories) < 105
    assert features["member"].dtype == "boolean"
    assert (features["rooms"].dtype, features["rooms"].nullable) == ("integer", True)
    assert (features["weight"].kind, features["weight"].nullable) == ("number", True)
    assert features[UGLY].categories == ("x", 'y"""', "z\\")
    for command in (["format", "--check"], ["check", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "src", "tests"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not done.returncode, done.stdout
    rows = runpy.run_path(str(churn / "tests/example.py"))["example_rows"]()
    with project_of(code):
        assert len(contract.check(rows, code.CONTRACT, "example")) == len(rows)
    assert "person" not in (churn / "tests/example.py").read_text(encoding="utf-8")

    params = yaml.safe_load((churn / "params.yaml").read_text(encoding="utf-8"))
    assert params["data"] | {"label_days": None} == params["data"]
    assert (params["data"]["source"], params["data"]["minimum_rows"]) == (place, 300)
    assert params["monitor"]["minimum_rows"] == 100
    assert not (churn / "src/churn/problem/sample.py").exists()
    sheet = (churn / "data/README.md").read_text(encoding="utf-8")
    assert len([line for line in sheet.splitlines() if line.startswith("| `size` |")]) == 1


def test_what_nobody_answers_is_named_and_nothing_is_written(churn: Path) -> None:
    place = written(churn, traps())
    before = content(churn)
    for given, missing in (
        ([], "--target"),
        (["--yes"], "--target"),
        (["--target", "late"], "--entity"),
        (["--target", "late", "--entity", "none"], "--event-time"),
    ):
        result = call("draft", place, *given)
        assert result.exit_code == 1
        assert f"{missing} is missing" in str(result.exception)
    assert content(churn) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "lat"], "did you mean 'late'"),
        (["--target", "place"], "different values ('place"),
        (["--target", "size"], "different values"),
        (["--target", "late", "--event", "maybe"], "no value 'maybe'"),
        (["--target", "late", "--entity", "rooms"], "rows have no value"),
        (["--target", "late", "--event-time", "born"], "no ISO 8601"),
        (["--target", "late", "--leave-out", "late"], "is the target"),
        (["--target", "late", "--label-days", "soon"], "no number of days"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(churn: Path, options: list[str], words: str) -> None:
    result = call("draft", written(churn, traps()), "--yes", *options)
    assert result.exit_code == 1
    assert words in str(result.exception)


def test_a_person_is_asked_until_the_answer_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["lat", "late"])
    monkeypatch.setattr("typer.prompt", lambda *words, **how: next(typed))
    asking = drafting._Asking({"entity": "id"}, yes=False)
    asking.talks = True
    assert asking(deciding.Question("target", "Which?", None, ["id", "late"])) == "late"
    assert asking(deciding.Question("entity", "Which?", "none")) == "id", "an option is not asked for"
    assert next(typed, "") == ""


def test_more_than_two_classes_are_refused_in_words(churn: Path) -> None:
    frame = pd.DataFrame({"size": np.arange(90.0), "species": ["a", "b", "c"] * 30})
    result = call("draft", written(churn, frame), "--target", "species", "--yes")
    assert "3 different values ('a', 'b', 'c')" in str(result.exception)
    assert "More than two classes are not offered yet" in result.exception.hint  # type: ignore[union-attr]


def test_edits_are_kept_or_all_is_written_on_demand(churn: Path) -> None:
    place = written(churn, traps())
    metrics = churn / "src/churn/problem/metrics.py"
    metrics.write_text(metrics.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    params = churn / "params.yaml"
    mine = params.read_text(encoding="utf-8").replace(
        "minimum_rows: 500\n  maximum_age", "minimum_rows: 77\n  maximum_age"
    )
    params.write_text(mine, encoding="utf-8")
    before = content(churn)
    result = call("draft", place, "--target", "late", "--yes")
    assert result.exit_code == 1
    assert "src/churn/problem/metrics.py" in str(result.exception)
    assert "data.py" not in str(result.exception), "as rendered"
    assert content(churn) == before

    metrics.write_bytes(metrics.read_bytes().removesuffix(b"# mine\n"))
    told = json.loads(call("draft", place, "--target", "late", "--yes", "--json").stdout)
    assert told["kept"] == ["data.minimum_rows"]
    assert yaml.safe_load(params.read_text(encoding="utf-8"))["data"]["minimum_rows"] == 77
    told = json.loads(call("draft", place, "--target", "late", "--yes", "--json", "--overwrite").stdout)
    assert told["kept"] == []
    assert yaml.safe_load(params.read_text(encoding="utf-8"))["data"]["minimum_rows"] == 300


def test_a_disk_that_fails_leaves_all_as_it_was(churn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = written(churn, traps())
    before = content(churn)
    write = Path.write_text

    def full(path: Path, *given: Any, **how: Any) -> int:
        if path.name == "test_model.py" and path.is_relative_to(churn):
            raise OSError(28, "No space left on device")
        return write(path, *given, **how)

    monkeypatch.setattr(Path, "write_text", full)
    assert call("draft", place, "--target", "late", "--yes").exit_code
    assert content(churn) == before


def test_a_table_without_a_key_gets_one_of_what_its_rows_say(churn: Path) -> None:
    frame = traps()[["size", "class", "place", "weight", "rooms", "late"]]
    place = written(churn, pd.concat([frame, frame.head(5)]))
    outside = str(churn / place)
    told = json.loads(call("draft", outside, "--target", "late", "--yes", "--json").stdout)
    assert told["suspicions"][0].startswith(f"{outside} lies outside the project")
    assert (told["entity"], told["made_key"], told["event_time"]) == ("row_key", True, None)
    keys = contract_of(churn).load(place)["row_key"]
    assert keys.head(5).tolist() == keys.tail(5).tolist()
    assert keys.nunique() == len(frame.drop(columns="late").drop_duplicates())


def test_an_amount_has_its_own_metrics_and_demands(laid_out: Callable[..., Project]) -> None:
    folder = laid_out(problem_type="regression", package_name="churn", project_name="Churn").folder
    frame = traps().drop(columns=["late", "reason code", "refund"])
    plan = deciding.decide(
        "rows.csv",
        profiling.profile_table(written(folder, frame)),
        "regression",
        lambda question: {"target": "size", "leave-out": "size in inches"}.get(question.name, question.suggested or ""),
    )
    assert plan.classes == ()
    changes = writing.choose_params(plan, {"primary_metric": "mean_absolute_error"})
    size = frame["size"]
    assert changes["gate"]["threshold"] == pytest.approx((size - size.median()).abs().mean(), rel=1e-3)
    texts = writing.render(plan, "churn")
    assert "root_mean_squared_error" in texts["src/churn/problem/metrics.py"]
    assert "TARGET: pa.Column(float, pa.Check.in_range(" in texts["src/churn/problem/data.py"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("customerId", ["customer", "id"]), ("Customer ID", ["customer", "id"]), ("e-mail", ["e", "mail"])],
)
def test_names_are_read_as_words(name: str, words: list[str]) -> None:
    assert suspecting.words_of(name) == words


def test_other_takes_what_is_new_on_every_way(churn: Path) -> None:
    from twoloops.contracts.serving import RefusedError

    place = written(churn, traps())
    call("draft", place, "--target", "late", "--yes", catch_exceptions=False)
    code = contract_of(churn)
    with project_of(code):
        made = contract.signature(code.CONTRACT, code, "classification")
        raw = code.load(place)
        new = raw.assign(place="a place that was not there")
        trained = classification.encode(contract.check(new, code.CONTRACT, "new"), made)
        rows = classification.requests(new, made)
        schema = classification.schema(made, 1000)
        served, _ = schema.encode(schema.from_objects([{**row, "place": "another"} for row in rows]))
        batch = classification.batches(made).check(_batch(new))
    where = made.names.index("place")
    feature = made.features[where]
    assert set(trained[:, where]) == {feature.categories.index("other") + 1}
    np.testing.assert_array_equal(trained, served)
    np.testing.assert_array_equal(trained, batch.inputs)
    with pytest.raises(RefusedError) as refused:
        schema.encode(schema.from_objects([{**rows[0], "place": ""}]))
    assert refused.value.status == 422


def _batch(frame: pd.DataFrame) -> Any:
    import pyarrow as pa

    return pa.RecordBatch.from_pandas(frame, preserve_index=False)
