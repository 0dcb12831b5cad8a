"""Real tables in place of simulated rows: both examples of docs/your-data.md, walked from end to end."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from commands.rendering import TEMPLATE, render
from tests.support.projects import Installed, commit, install

PAGE = (TEMPLATE / "docs/your-data.md").read_text(encoding="utf-8")
EXAMPLES = TEMPLATE / "docs/examples"
OWNED = re.compile(r"params\.yaml|src/\w+/problem/\w+\.py|tests/\w+\.(py|json)|docs/problem\.md|data/\w+\.(md|py)")


@dataclass(frozen=True)
class Example:
    """A real table, and what became of it when it was measured for the page."""

    folder: Path
    answers: dict[str, Any]
    make_table: Sequence[str]  # what writes data.source, after `uv run`
    feature: str  # the line of data.py that is left out at first
    measured: dict[str, float]  # on the holdout, with every feature

    @property
    def files(self) -> list[Path]:
        """The files that are laid over a rendered project."""
        return sorted(path.relative_to(self.folder) for path in self.folder.rglob("*.*") if path.is_file())


TUMOURS = Example(
    EXAMPLES / "tumours",
    {"project_name": "Tumours", "minimum_metric": 0.95},
    ["python", "-c", PAGE.split('uv run python -c "\n')[1].split('"\n```')[0]],
    '    "texture": 100,\n',
    {"roc_auc": 0.9981, "log_loss": 0.05368, "harm_per_tumour": 0.1048},
)
HEALTH_INSURANCE = Example(
    EXAMPLES / "health_insurance",
    {"project_name": "Visits", "problem_type": "regression"},
    ["--with", "statsmodels>=0.14.5", "python", "data/make_table.py"],
    '        "physlm": pa.Column(float, pa.Check.in_range(0, 1)),\n',
    {"deviance_explained": 0.13, "mean_absolute_error": 2.642, "root_mean_squared_error": 4.656},
)
each = pytest.mark.parametrize("example", [TUMOURS, HEALTH_INSURANCE], ids=lambda example: example.folder.name)


def lay_over(example: Example, folder: Path) -> None:
    """Put the example's files into a rendered project, and take the simulated rows out."""
    for path in example.files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(example.folder / path, folder / path)
    (sample,) = folder.glob("src/*/problem/sample.py")
    sample.unlink()
    (folder / "tests/test_sample.py").unlink()


def verdict(project: Installed) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((project.folder / "reports/verdict.json").read_text(encoding="utf-8"))
    return content


def begin_as_the_page_tells(project: Installed) -> None:
    """Go the page's way up to its first run: a table without categories, with the model that the project came with.

    What it prints is what the page says; afterwards the project is as it was.
    """
    folder, example = project.folder, TUMOURS.folder
    kept = {path: (folder / path).read_bytes() for path in ("params.yaml", "src/tumours/problem/metrics.py")}
    for path in ("tests/example.py", "src/tumours/problem/data.py"):
        shutil.copy(example / path, folder / path)
    params, shipped = (kept[path].decode() for path in kept)
    params = params.replace("raw/simulated", "raw/tumours")
    assert "\n  label_days: null" in PAGE
    params = re.sub(r"label_days: \d+", "label_days: null", params)
    (folder / "params.yaml").write_text(params, encoding="utf-8")
    mine = (example / "src/tumours/problem/metrics.py").read_text(encoding="utf-8")
    # "Leave `baseline` for now, a logistic regression."
    metrics = mine.partition("def baseline")[0] + "".join(shipped.partition("def baseline")[1:])
    (folder / "src/tumours/problem/metrics.py").write_text(metrics, encoding="utf-8")
    project.run(*TUMOURS.make_table)
    quoted = PAGE.partition("## Another table")[0]
    told = project.verb("prepare").stdout
    assert all(line in quoted for line in told.splitlines()), told
    told = project.verb("run", code=2).stdout
    result = verdict(project)
    for name, value in (
        ("roc_auc", result["metrics"]["roc_auc"]["value"]),
        ("gain over baseline", result["gains"]["baseline"]["value"]),
    ):
        (page,) = (float(found) for found in re.findall(rf"^{name}: (-?[\d.]+)", quoted, re.MULTILINE)[:1])
        # Libraries change a model a little; more than that, and the page must be measured anew.
        assert value == pytest.approx(page, abs=0.01), name
    assert next(rule for rule in result["rules"] if rule["rule"] == "parity")["passed"], "exported without a category"
    for path, content in kept.items():
        (folder / path).write_bytes(content)
    for path in ("data/holdout.json", "mlflow.db", "dvc.lock"):
        (folder / path).unlink(missing_ok=True)
    for path in ("artifacts", "reports", "mlruns", "data/prepared"):
        shutil.rmtree(folder / path, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "example",
    [
        pytest.param(TUMOURS, id="tumours"),
        pytest.param(HEALTH_INSURANCE, id="health_insurance", marks=pytest.mark.twin),
    ],
)
def test_a_real_table_goes_all_the_way(example: Example, tmp_path: Path) -> None:
    project = install(tmp_path / "project", example.answers)
    (project.folder / "data/raw").mkdir(parents=True)
    if example is TUMOURS:
        begin_as_the_page_tells(project)
    lay_over(example, project.folder)
    project.run(*example.make_table)

    # Without one feature at first.
    (contract,) = project.folder.glob("src/*/problem/data.py")
    whole = contract.read_text(encoding="utf-8")
    assert whole.count(example.feature) == 1
    contract.write_text(whole.replace(example.feature, ""), encoding="utf-8")
    commit(project.folder)
    fewer = json.loads(project.verb("prepare", "--json").stdout)
    project.verb("run")
    assert verdict(project)["verdict"] == "green"
    assert "Champion: version 1" in project.verb("promote").stdout

    # A new feature, as the project's own page tells it: the contract, a new holdout, a run.
    contract.write_text(whole, encoding="utf-8")
    assert "--new-holdout" in project.verb("prepare", code=1).stderr
    more = json.loads(project.verb("prepare", "--new-holdout", "--json").stdout)
    assert set(more["features"]) > set(fewer["features"])
    assert more["holdout_rows"] == fewer["holdout_rows"], "of the same rows, so that the champion can be compared"
    few = example is TUMOURS
    told = project.verb("run", code=2 if few else 0).stderr
    assert verdict(project)["gains"]["champion"]["value"] > 0
    if few:
        # So few rows tell no difference between two good models, and the gate says so: a person decides.
        assert "Where there are no more rows a person has to decide" in told
        settings = project.folder / "params.yaml"
        text = settings.read_text(encoding="utf-8")
        settings.write_text(text.replace("with_champion: true", "with_champion: false"), encoding="utf-8")
        project.verb("run")
    result = verdict(project)
    values = {name: metric["value"] for name, metric in result["metrics"].items()}
    print(json.dumps({name: result[name] for name in ("metrics", "gains", "slices", "groups")}, indent=1))
    # Libraries change a model a little; more than that, and the page must be measured anew.
    assert {name: values[name] for name in example.measured} == pytest.approx(example.measured, rel=0.05)

    assert "Champion: version 2" in project.verb("promote").stdout
    source = max(project.folder.glob("data/raw/*.parquet"))
    told = json.loads(project.verb("predict", str(source), str(tmp_path / "out.csv"), "--json").stdout)
    predicted = pd.read_csv(tmp_path / "out.csv")
    assert told["rows"] == len(predicted) == more["rows"]
    assert predicted["prediction"].notna().all()
    checked = project.verb("check").stdout
    assert "All checks passed." in checked
    assert " skipped" in checked, "what the table does not have, such as a time, is skipped and not passed"


@each
def test_the_page_quotes_what_was_measured(example: Example) -> None:
    for name, value in example.measured.items():
        assert f"{name}: {value:.4g} " in PAGE


def blocks() -> list[str]:
    return re.findall(r"^ *```python\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(blocks())))
def test_each_block_of_python_on_the_page_is_in_an_example(number: int) -> None:
    block = textwrap.dedent(blocks()[number])
    forms = ["\n" + textwrap.indent(block, " " * width) for width in (0, 4, 8)]
    texts = ["\n" + path.read_text(encoding="utf-8") for path in EXAMPLES.rglob("*.py")]
    assert any(form in text for form in forms for text in texts), block


@each
def test_an_example_has_only_files_that_are_the_users_and_differ(example: Example, tmp_path: Path) -> None:
    render(tmp_path / "project", example.answers)
    for path in example.files:
        assert OWNED.fullmatch(path.as_posix()), path
        rendered = tmp_path / "project" / path
        assert not rendered.exists() or rendered.read_bytes() != (example.folder / path).read_bytes(), path


def test_the_rows_of_health_insurance_in_the_tests_are_rows_of_the_table() -> None:
    folder = HEALTH_INSURANCE.folder
    table = runpy.run_path(str(folder / "data/make_table.py"))["make_table"]()
    rows = runpy.run_path(str(folder / "tests/example.py"))["example_rows"]()
    columns = list(rows.columns)
    assert columns == list(table.columns)
    assert set(rows.itertuples(index=False, name=None)) <= set(table.itertuples(index=False, name=None))
    assert (folder / "tests/example.json").stat().st_size < 60_000
