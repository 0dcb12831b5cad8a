"""The inner loop of rendered projects: checked, trained, tracked on a server, fed from an object store."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from commands.rendering import TEMPLATE
from tests.support.answers import hostile
from tests.support.projects import CopyOf, change, commit_all, install
from tests.support.servers import s3
from tests.support.tools import need

pytestmark = pytest.mark.slow
both = pytest.mark.parametrize(
    "trained",
    ["classification", pytest.param("regression", marks=pytest.mark.twin)],
    indirect=True,
)
ON_AWS = {
    "problem_type": "regression",
    "ci_provider": "gitlab",
    "infrastructure": "aws",
    "serving_mode": "online_and_batch",
}


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({}, id="default"),
        # Each code host, problem and infrastructure brings modules with tests: each is part of a whole project once.
        pytest.param(ON_AWS, id="aws"),
        pytest.param(hostile("azure_devops"), id="hostile", marks=pytest.mark.twin),
    ],
)
def test_a_fresh_project_passes_all_its_checks(answers: dict[str, str], tmp_path: Path) -> None:
    project = install(tmp_path / "project", answers)
    told = project.verb("check", "--reports").stdout
    assert "All checks passed." in told
    assert " passed" in told
    assert "failed" not in told
    # Nothing that the checks make may lie about as a change.
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=project.folder, capture_output=True, text=True, check=True
    )
    assert status.stdout.split() in ([], ["M", "uv.lock"])  # uv completes it


@both
def test_the_loop_closed_with_a_green_verdict(trained: CopyOf) -> None:
    verdict = json.loads((trained.folder / "reports/verdict.json").read_text(encoding="utf-8"))
    assert verdict["verdict"] == "green"
    assert {rule["rule"] for rule in verdict["rules"]} >= {
        "threshold",
        "baseline",
        "slice",
        "group",
        "latency",
        "parity",
    }
    assert verdict["gains"]["baseline"]["low"] > 0, "gradient boosting beats the baseline beyond doubt"
    for picture in (trained.folder / "reports/plots").iterdir():
        assert picture.read_bytes().startswith(b"\x89PNG")
    registered = json.loads((trained.folder / "reports/registration.json").read_text(encoding="utf-8"))
    assert registered["version"] == "1"
    lineage = json.loads((trained.folder / "artifacts/shipped/lineage.json").read_text(encoding="utf-8"))
    assert lineage["refitted"]["judged_model"] == verdict["model"] != registered["identity"]
    told = json.loads(trained.verb("predict", "data/raw/simulated.parquet", "out.csv", "--json").stdout)
    lines = (trained.folder / "out.csv").read_text(encoding="utf-8").splitlines()
    assert told["rows"] == len(lines) - 1 == 8000


def test_the_first_page_quotes_what_the_loop_finds(trained: CopyOf) -> None:
    verdict = json.loads((trained.folder / "reports/verdict.json").read_text(encoding="utf-8"))
    page = (TEMPLATE / "docs/start.md").read_text(encoding="utf-8").partition("## 4.")[0]
    for name, metric in verdict["metrics"].items():
        (quoted,) = re.findall(rf"^{name}: ([\d.]+)", page, re.MULTILINE)[:1]
        # Libraries change a model a little; more than that, and the page must be measured anew.
        assert metric["value"] == pytest.approx(float(quoted), rel=0.03), name
    assert f"Frozen holdout: {verdict['holdout']['rows']:,} " in page


def test_nothing_changed_nothing_runs_and_dvc_makes_the_same(trained: CopyOf) -> None:
    before = (trained.folder / "artifacts/model/manifest.json").read_bytes()
    assert "Nothing has changed since the last run" in trained.verb("run").stdout
    # DVC, which runs each stage in a process of its own, sees it likewise, and makes the same.
    assert trained.run("dvc", "repro").stdout.count("didn't change, skipping") == 5
    trained.run("dvc", "repro", "--force", "train")
    assert (trained.folder / "artifacts/model/manifest.json").read_bytes() == before
    assert "Nothing has changed since the last run" in trained.verb("run").stdout


def test_metrics_and_plots_are_compared_by_dvc(trained: CopyOf) -> None:
    commit_all(trained)
    parameters = trained.folder / "params.yaml"
    parameters.write_text(parameters.read_text(encoding="utf-8").replace("trees: ", "trees: 1 # "), encoding="utf-8")
    # A single tree is worse than the champion: the run ends red, and the comparison shows why.
    answer = trained.verb("run", code=None)
    assert "Missed" in answer.stderr
    difference = trained.run("dvc", "metrics", "diff", "--md").stdout
    assert "reports/metrics.json" in difference
    trained.run("dvc", "plots", "diff", "HEAD", "--out", "plots")
    assert (trained.folder / "plots/index.html").stat().st_size > 1000


def test_the_same_commit_data_and_parameters_give_the_same_artifact(trained: CopyOf) -> None:
    before = (trained.folder / "artifacts/model/manifest.json").read_bytes()
    shutil.rmtree(trained.folder / "artifacts")
    shutil.rmtree(trained.folder / "data/prepared")
    # In new processes, in another folder than the first time, with another number of threads, and with
    # Python's sets in other orders.
    trained.verb("prepare", env={"OMP_NUM_THREADS": "2"})
    for seed in ("1", "2"):
        trained.verb("train", env={"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": seed})
        assert (trained.folder / "artifacts/model/manifest.json").read_bytes() == before


def test_a_tracking_server_keeps_runs_and_models(trained: CopyOf, server: str, tmp_path: Path) -> None:
    env = {"MLFLOW_TRACKING_URI": server}
    (trained.folder / "mlflow.db").unlink()
    for words in (["evaluate"], ["refit"], ["register"], ["promote"], ["evaluate"]):
        trained.verb(*words, env=env)
    verdict = json.loads((trained.folder / "reports/verdict.json").read_text(encoding="utf-8"))
    assert verdict["champion"] == "1"
    assert verdict["gains"]["champion"]["value"] == 0
    trained.verb("predict", "data/raw/simulated.parquet", "out.parquet", env=env)
    assert not (trained.folder / "mlflow.db").exists()
    with urllib.request.urlopen(f"{server}/api/2.0/mlflow/registered-models/search") as answer:  # noqa: S310 - loopback
        (model,) = json.load(answer)["registered_models"]
    assert {alias["alias"]: alias["version"] for alias in model["aliases"]} == {"champion": "1"}
    assert any((tmp_path / "store").rglob("model.onnx"))


def test_data_comes_from_an_object_store(trained: CopyOf, bucket: dict[str, str]) -> None:
    raw = trained.folder / "data/raw/simulated.parquet"
    s3(bucket).upload_file(str(raw), "data", "rows.parquet")
    change(trained, "data", source="s3://data/rows.parquet")
    assert "keeps its contract: 8,000 rows" in trained.verb("prepare", env=bucket).stdout
    change(trained, "data", source="s3://data/nothing.parquet")
    told = trained.verb("prepare", code=1, env=bucket).stderr
    assert "There is no data at s3://data/nothing.parquet" in told
    change(trained, "data", source="s3://data/rows.parquet")
    told = trained.verb("prepare", code=1, env={**bucket, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}).stderr
    assert "cannot be reached" in told


def test_the_hooks_run_without_a_network(trained: CopyOf) -> None:
    prek = need("prek")
    commit_all(trained)
    offline = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    trained.run(prek, "run", "--all-files", env=offline)
    (trained.folder / "rows.csv").write_text("a\n1\n")
    subprocess.run(["git", "add", "--force", "rows.csv"], cwd=trained.folder, check=True)
    assert "data stays out of git" in trained.run(prek, "run", code=1, env=offline).stdout
