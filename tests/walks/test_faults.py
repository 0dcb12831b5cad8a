"""Each fault turns the right gate red, in words, and takes nothing away that was there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from commands.rendering import render
from tests.support.answers import METRICS
from tests.support.projects import CopyOf, change

RAW = "data/raw/simulated.parquet"
OUTPUTS = ("data/prepared", "data/holdout.json", "artifacts", "reports")

SHUFFLE = (
    "path = 'data/prepared/train.parquet'\nrows = pd.read_parquet(path)\n"
    "rows[data.TARGET] = rows[data.TARGET].sample(frac=1, random_state=1).to_numpy()\n"
    "rows.to_parquet(path, index=False)"
)

# What breaks the raw rows (Python, on the data frame `rows`), and the words that tell it.
BROKEN = {
    "missing column": ("rows = rows.drop(columns='tenure')", "tenure: the column is missing"),
    "wrong type": ("rows['tenure'] = 'long'", "tenure: 8,000 rows cannot be read as float64"),
    "unknown category": ("rows.loc[3, 'plan'] = 'gold'", "plan: 1 row break isin"),
    "no rows": ("rows = rows.head(0)", "holds no rows"),
    "one value": ("rows[data.TARGET] = rows[data.TARGET].dropna().iloc[0]", "Every row has the same"),
    "duplicated keys": ("rows = pd.concat([rows, rows.head(2)])", "a key that occurs more than once"),
    "leaking target": (
        "rows = rows.dropna(subset=[data.TARGET]); rows['tenure'] = rows[data.TARGET] / rows[data.TARGET].max()",
        "the target leaks into it",
    ),
}


def python(project: CopyOf, code: str) -> None:
    """Run code in the project's environment, with its problem/data.py as `data`."""
    prelude = f"import pandas as pd\nfrom {project.package}.problem import data\n"
    project.run("python", "-c", prelude + code)


def outputs(project: CopyOf) -> dict[str, bytes]:
    files = [path for name in OUTPUTS for path in [project.folder / name, *(project.folder / name).rglob("*")]]
    # But for the note of what went wrong, which the report on a change reads.
    return {str(path): path.read_bytes() for path in files if path.is_file() and path.name != "failure.json"}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_data_stops_the_loop_and_nothing_is_lost(trained: CopyOf, fault: str) -> None:
    code, words = BROKEN[fault]
    before = outputs(trained)
    python(trained, f"rows = pd.read_parquet('{RAW}')\n{code}\nrows.to_parquet('{RAW}', index=False)")
    answer = trained.verb("run", code=None)
    assert words in answer.stdout + answer.stderr
    assert "What to do:" in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr
    assert outputs(trained) == before


def test_a_truncated_file_and_a_silent_address_are_told(trained: CopyOf) -> None:
    raw = trained.folder / RAW
    raw.write_bytes(raw.read_bytes()[:5000])
    assert "cannot be read as a table" in trained.verb("prepare", code=1).stderr
    change(trained, "data", source="http://127.0.0.1:9/rows.parquet")
    assert "cannot be reached" in trained.verb("prepare", code=1).stderr


def test_a_model_of_shuffled_labels_is_red(trained: CopyOf) -> None:
    python(trained, SHUFFLE)
    trained.verb("train")
    told = trained.verb("evaluate", code=2)
    assert "Verdict: red" in told.stdout
    assert "threshold: " in told.stderr
    assert "It is missed by" in told.stderr
    assert "it is not registered" in trained.verb("register", code=1).stderr
    answer = json.loads(trained.verb("evaluate", "--json", code=2).stdout)
    assert {"threshold", "champion"} <= {rule["rule"] for rule in answer["rules"] if not rule["passed"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trained", "metric"),
    [(type_, metric) for type_, metrics in METRICS.items() for metric in metrics],
    indirect=["trained"],
)
def test_each_metric_tells_a_good_model_from_one_that_learned_nothing(
    trained: CopyOf, metric: str, tmp_path: Path
) -> None:
    type_ = next(type_ for type_, metrics in METRICS.items() if metric in metrics)
    render(tmp_path / "other", {"problem_type": type_, "primary_metric": metric})
    shutil.copy(tmp_path / "other/params.yaml", trained.folder / "params.yaml")
    assert "Verdict: green" in trained.verb("evaluate").stdout
    # The project's own test of this, on its few example rows.
    trained.run("pytest", "--no-cov", "-q", "-k", "shuffled_labels")
    python(trained, SHUFFLE)
    trained.verb("train")
    assert f"threshold: {metric} is " in trained.verb("evaluate", code=2).stderr


def test_a_graph_that_answers_otherwise_is_not_written(trained: CopyOf) -> None:
    model = trained.folder / f"src/{trained.package}/problem/model.py"
    text = model.read_text(encoding="utf-8")
    # The graph of an estimator that has forgotten its last trees.
    wrong = "    boosting = estimator[-1]\n    boosting._predictors = boosting._predictors[:-20]\n"
    place = '    """Return the fitted estimator in the form in which it is shipped."""\n'
    assert place in text
    faulty = text.replace(place, place + "    import copy\n\n    estimator = copy.deepcopy(estimator)\n" + wrong)
    model.write_text(faulty, encoding="utf-8")
    before = outputs(trained)
    answer = trained.verb("run", code=None)
    assert "differ by up to" in answer.stderr
    assert "gate.parity_tolerance" in answer.stderr
    assert outputs(trained) == before


def test_a_changed_holdout_is_refused_until_a_new_one_is_frozen(trained: CopyOf) -> None:
    python(
        trained, f"rows = pd.read_parquet('{RAW}')\nrows.drop(index=rows.index[-2000]).to_parquet('{RAW}', index=False)"
    )
    answer = trained.verb("run", code=None)
    assert "Models judged on different rows cannot be compared" in answer.stderr
    trained.verb("prepare", "--new-holdout")
    assert "Verdict: green" in trained.verb("run").stdout
    assert json.loads(Path(trained.folder / "reports/verdict.json").read_text(encoding="utf-8"))["champion"] == "1"
