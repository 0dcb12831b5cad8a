"""Rendered projects at work: installed, checked, trained, tracked on a server, fed from an object store."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from commands.rendering import TEMPLATE, clean_environment

from . import readiness
from .conftest import UV, Installed, install, need
from .support.answers import hostile

both = pytest.mark.parametrize("trained", ["classification", "regression"], indirect=True)
one = pytest.mark.parametrize("trained", ["classification"], indirect=True)
twins = pytest.mark.parametrize(
    "trained", ["classification", pytest.param("regression", marks=[pytest.mark.slow, pytest.mark.twin])], indirect=True
)
ON_AWS = {
    "problem_type": "regression",
    "ci_provider": "gitlab",
    "infrastructure": "aws",
    "serving_mode": "online_and_batch",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({}, id="default"),
        # Each code host, problem and infrastructure brings modules with tests: each is part of a whole project once.
        pytest.param(ON_AWS, id="aws", marks=pytest.mark.slow),
        pytest.param(hostile("azure_devops"), id="hostile", marks=[pytest.mark.slow, pytest.mark.twin]),
    ],
)
def test_a_fresh_project_passes_all_its_checks(answers: dict[str, str], tmp_path: Path) -> None:
    project = install(tmp_path / "project", answers)
    told = project.verb("check", "--reports").stdout
    assert "All checks passed." in told
    assert " passed" in told
    assert "failed" not in told
    readiness.demand(project)
    # Nothing that the checks make may lie about as a change.
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=project.folder, capture_output=True, text=True, check=True
    )
    assert status.stdout.split() in ([], ["??", "uv.lock"])


@both
def test_the_loop_closed_with_a_green_verdict(trained: Installed) -> None:
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
    assert registered["identity"] == verdict["model"]


@both
def test_nothing_changed_nothing_runs(trained: Installed) -> None:
    assert "Nothing has changed since the last run" in trained.verb("run").stdout
    # DVC, which runs each stage in a process of its own, sees it likewise.
    assert trained.run("dvc", "repro").stdout.count("didn't change, skipping") == 4


@pytest.mark.slow
@twins
def test_dvc_reproduces_what_run_made(trained: Installed) -> None:
    before = (trained.folder / "artifacts/model/manifest.json").read_bytes()
    trained.run("dvc", "repro", "--force", "train")
    assert (trained.folder / "artifacts/model/manifest.json").read_bytes() == before
    assert "Nothing has changed since the last run" in trained.verb("run").stdout


@pytest.mark.slow
@twins
def test_metrics_and_plots_are_compared_by_dvc(trained: Installed) -> None:
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


def commit_all(project: Installed) -> None:
    author = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    for command in (["git", "add", "--all"], ["git", *author, "commit", "--quiet", "--message=Results"]):
        subprocess.run(command, cwd=project.folder, check=True)


@both
def test_the_same_commit_data_and_parameters_give_the_same_artifact(trained: Installed) -> None:
    before = (trained.folder / "artifacts/model/manifest.json").read_bytes()
    shutil.rmtree(trained.folder / "artifacts")
    shutil.rmtree(trained.folder / "data/prepared")
    # In new processes, in another folder than the first time, with another number of threads, and with
    # Python's sets in other orders.
    trained.verb("prepare", env={"OMP_NUM_THREADS": "2"})
    for seed in ("0", "1", "2", "3"):
        trained.verb("train", env={"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": seed})
        assert (trained.folder / "artifacts/model/manifest.json").read_bytes() == before


@both
def test_the_champion_predicts(trained: Installed) -> None:
    told = json.loads(trained.verb("predict", "data/raw/simulated.parquet", "out.csv", "--json").stdout)
    lines = (trained.folder / "out.csv").read_text(encoding="utf-8").splitlines()
    assert told["rows"] == len(lines) - 1 == 8000


@one
def test_tuning_and_ageing(trained: Installed) -> None:
    parameters = trained.folder / "params.yaml"
    parameters.write_text(parameters.read_text(encoding="utf-8").replace("trials: 20", "trials: 3"), encoding="utf-8")
    tuned = json.loads(trained.verb("tune", "--apply", "--json").stdout)
    assert len(tuned["trials"]) == 3
    aged = json.loads(trained.verb("staleness", "--json").stdout)
    assert len(aged["ages"]) == 5


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Yield the address of a real MLflow server on loopback."""
    with tracking_server(tmp_path) as address:
        yield address


@contextmanager
def tracking_server(folder: Path) -> Iterator[str]:
    """Start a real MLflow server on loopback that keeps everything in a folder; give its address; end it."""
    port = free_port()
    command = [
        *[UV, "tool", "run", "--quiet", "--from", "mlflow>=3.10,<4", "mlflow", "server"],
        *["--host=127.0.0.1", f"--port={port}", "--workers=1"],
        *[f"--backend-store-uri=sqlite:///{folder}/server.db", f"--artifacts-destination={folder}/store"],
    ]
    # Its job runners, nine processes, are for evaluations of language models.
    env = clean_environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/health", process, folder / "server.log")
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - loopback
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"{url} does not answer: {log.read_text()}")


@pytest.mark.slow
@one
def test_a_tracking_server_keeps_runs_and_models(trained: Installed, server: str, tmp_path: Path) -> None:
    env = {"MLFLOW_TRACKING_URI": server}
    (trained.folder / "mlflow.db").unlink()
    for words in (["evaluate"], ["register"], ["promote"], ["evaluate"]):
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


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of an S3 endpoint on loopback that has the bucket `data`."""
    import boto3

    port = free_port()
    log = tmp_path / "s3.log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    env = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        wait_for(f"{env['AWS_ENDPOINT_URL']}/moto-api/", process, log)
        client = boto3.client(
            "s3", endpoint_url=env["AWS_ENDPOINT_URL"], aws_access_key_id="testing", aws_secret_access_key="testing"
        )
        client.create_bucket(Bucket="data")
        yield env
    finally:
        process.terminate()
        process.wait(timeout=10)


@one
def test_data_comes_from_an_object_store(trained: Installed, bucket: dict[str, str]) -> None:
    import boto3

    client = boto3.client(
        "s3", endpoint_url=bucket["AWS_ENDPOINT_URL"], aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    raw = trained.folder / "data/raw/simulated.parquet"
    client.upload_file(str(raw), "data", "rows.parquet")
    source(trained, "s3://data/rows.parquet")
    assert "keeps its contract: 8,000 rows" in trained.verb("prepare", env=bucket).stdout
    source(trained, "s3://data/nothing.parquet")
    told = trained.verb("prepare", code=1, env=bucket).stderr
    assert "There is no data at s3://data/nothing.parquet" in told
    source(trained, "s3://data/rows.parquet")
    told = trained.verb("prepare", code=1, env={**bucket, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}).stderr
    assert "cannot be reached" in told


def source(project: Installed, place: str) -> None:
    parameters = project.folder / "params.yaml"
    lines = parameters.read_text(encoding="utf-8").splitlines()
    changed = [f"  source: {place}" if line.startswith("  source: ") else line for line in lines]
    parameters.write_text("\n".join(changed) + "\n", encoding="utf-8")


@one
def test_the_hooks_run_without_a_network(trained: Installed) -> None:
    prek = need("prek")
    commit_all(trained)
    offline = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    trained.run(prek, "run", "--all-files", env=offline)
    (trained.folder / "rows.csv").write_text("a\n1\n")
    subprocess.run(["git", "add", "--force", "rows.csv"], cwd=trained.folder, check=True)
    assert "data stays out of git" in trained.run(prek, "run", code=1, env=offline).stdout


def test_an_update_leaves_alone_what_is_the_users(tmp_path: Path) -> None:
    """Delivered by the newer version: machinery. Not touched: problem/, even what was deleted from it."""
    template, project = tmp_path / "template", tmp_path / "project"
    shutil.copytree(
        TEMPLATE, template, ignore=shutil.ignore_patterns(".git", ".venv", ".tools", ".*_cache", ".hypothesis")
    )
    copier = [sys.executable, "-m", "copier"]
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com"]

    def release(tag: str) -> None:
        for words in (["add", "--all"], ["commit", "--quiet", "--message", tag], ["tag", tag]):
            subprocess.run([*git, *words], cwd=template, check=True)

    subprocess.run([*git, "init", "--quiet"], cwd=template, check=True)
    release("v1.0.0")
    subprocess.run([*copier, "copy", "--defaults", "--quiet", str(template), str(project)], check=True)
    data, sample = project / "src/churn/problem/data.py", project / "src/churn/problem/sample.py"
    data.write_text("# mine\n")
    sample.unlink()
    (project / "params.yaml").write_text("seed: 1\n")
    subprocess.run([*git, "init", "--quiet"], cwd=project, check=True)
    subprocess.run([*git, "add", "--all"], cwd=project, check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=mine"], cwd=project, check=True)

    for path in template.glob("template/*/src/*/problem/*.py"):
        path.write_text(path.read_text(encoding="utf-8") + "\n# newer\n", encoding="utf-8")
    for path in template.glob("template/*/src/*/registry.py"):
        path.write_text(path.read_text(encoding="utf-8") + "\n# newer\n", encoding="utf-8")
    for path in template.glob("template/*/params.yaml.jinja"):
        path.write_text(path.read_text(encoding="utf-8") + "\n# newer\n", encoding="utf-8")
    release("v1.1.0")
    subprocess.run([*copier, "update", "--defaults", "--quiet"], cwd=project, check=True)
    assert (project / "src/churn/registry.py").read_text().endswith("# newer\n")
    assert data.read_text() == "# mine\n"
    assert not sample.exists()
    assert (project / "params.yaml").read_text() == "seed: 1\n"
