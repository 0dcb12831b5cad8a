"""A step that the owner of a project adds to dvc.yaml runs wherever the graph runs, and no engine is touched for it.

The project's table lies in two sources, which a step of its own joins: a module of its package, and a file in git of
what regions are called. The step is run here, by DVC, as a job of a flow does, and on the emulator of SageMaker.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.aws.account import BUCKET, PIPELINE, Account, account
from tests.support.models import LENIENT
from tests.support.projects import CopyOf, Installed, change, commit_all, install
from tests.support.servers import tracking_server

pytestmark = pytest.mark.slow
ANSWERS = {"infrastructure": "aws", "serving_mode": "batch"}
ROWS = 2000
STEPS = ["join", "prepare", "train", "evaluate", "refit", "register"]
SOURCES = ("data/raw/subscribers.parquet", "data/raw/payments.parquet")
JOIN = '''"""Join what is known of subscribers with what they paid."""

import json
from pathlib import Path

import pandas as pd

REGIONS = Path("data/regions.json")
SUBSCRIBERS, PAYMENTS, JOINED = (
    Path(f"data/raw/{name}.parquet") for name in ("subscribers", "payments", "joined")
)


def main() -> None:
    """Write the joined table, and how many rows it has."""
    joined = pd.read_parquet(SUBSCRIBERS).merge(pd.read_parquet(PAYMENTS), on="subscriber_id")
    joined["region"] = joined["region"].map(json.loads(REGIONS.read_text()))
    joined.to_parquet(JOINED)
    Path("reports").mkdir(exist_ok=True)
    Path("reports/join.json").write_text(json.dumps({"rows": len(joined)}))


if __name__ == "__main__":
    main()
'''
STAGE = {
    "cmd": "python -m churn.join && echo joined",
    "deps": [*SOURCES, "data/regions.json", "src/churn/join.py"],
    "outs": ["data/raw/joined.parquet", {"reports/join.json": {"cache": False}}],
}
SPLIT = """
import pandas as pd
rows = pd.read_parquet("data/raw/simulated.parquet")
rows["region"] = rows["region"].str[:1]
paid = ["monthly_price", "late_payments"]
rows.drop(columns=paid).to_parquet("data/raw/subscribers.parquet")
rows[["subscriber_id", *paid]].to_parquet("data/raw/payments.parquet")
"""

FEWER = """
import pandas as pd
pd.read_parquet("data/raw/payments.parquet")[:-9].to_parquet("data/raw/payments.parquet")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Return a project on AWS with a step of its owner's, and its data in DVC's remote."""
    folder = tmp_path_factory.mktemp("added")
    project = install(folder / "project", ANSWERS)
    project.verb("simulate", "--rows", str(ROWS))
    project.run("python", "-c", SPLIT)
    (project.folder / "data/raw/simulated.parquet").unlink()
    (project.folder / "src/churn/join.py").write_text(JOIN, encoding="utf-8")
    regions = {name[0]: name for name in ("north", "south", "east", "west")}
    (project.folder / "data/regions.json").write_text(json.dumps(regions), encoding="utf-8")
    path = project.folder / "dvc.yaml"
    graph = yaml.safe_load(path.read_text(encoding="utf-8"))
    graph["stages"]["join"] = STAGE  # the last in the file, and the first to run
    path.write_text(yaml.safe_dump(graph, sort_keys=False), encoding="utf-8")
    change(project, "gate", **LENIENT)
    change(project, "data", source="data/raw/joined.parquet")
    project.run("dvc", "remote", "add", "--default", "store", str(folder / "store"))
    project.run("dvc", "add", "--quiet", *SOURCES)
    project.run("dvc", "push", "--quiet")
    commit_all(project)
    return project


def clone(project: Installed, folder: Path) -> CopyOf:
    """Return the project as git has it, as a job of a flow begins with it."""
    subprocess.run(["git", "clone", "--quiet", str(project.folder), str(folder)], check=True)
    return CopyOf(folder, project.folder)


def steps_that_ran(told: str) -> list[str]:
    return [line.removesuffix(":") for line in told.splitlines() if line.removesuffix(":") in STEPS]


def test_it_runs_here_when_what_it_reads_has_changed(project: Installed, tmp_path: Path) -> None:
    """By `run`, as by `dvc repro`: what one has done, the other need not do."""
    copy = clone(project, tmp_path / "copy")
    copy.run("dvc", "pull", "--quiet", *[f"{each}.dvc" for each in SOURCES])
    assert steps_that_ran(copy.verb("run").stdout) == STEPS
    assert json.loads((copy.folder / "reports/join.json").read_text(encoding="utf-8")) == {"rows": ROWS}
    assert "Nothing has changed" in copy.verb("run").stdout
    assert "up to date" in copy.run("dvc", "repro").stdout
    module = copy.folder / "src/churn/join.py"
    module.write_text(f"{JOIN}# changed\n", encoding="utf-8")
    copy.run("dvc", "repro", "join", "prepare")
    told = copy.verb("run").stdout
    assert "join: nothing has changed, skipped" in told
    assert steps_that_ran(told) == ["train", "evaluate", "refit", "register"], "they depend on the whole package"
    assert (
        "It has: join, prepare, train, evaluate, refit, register." in copy.verb("run", "--until", "joi", code=1).stderr
    )
    module.write_text("raise SystemExit('no payments today')\n", encoding="utf-8")
    failed = copy.verb("run", "--until", "join", code=1)
    assert "no payments today" in failed.stderr
    assert "The step join of dvc.yaml failed: python -m churn.join && echo joined" in failed.stderr
    assert json.loads((copy.folder / "reports/failure.json").read_text(encoding="utf-8"))["step"] == "join"


def test_it_runs_in_a_job_of_a_flow(project: Installed, tmp_path: Path) -> None:
    """The flows call these verbs, in a checkout that has no data."""
    job = clone(project, tmp_path / "job")
    assert "made by the step join" in job.verb("fetch").stdout
    assert steps_that_ran(job.verb("run", "--until", "evaluate").stdout) == STEPS[:-2]
    assert "made by the step join" in job.verb("fetch").stdout


@pytest.fixture
def there(project: Installed, tmp_path: Path) -> Iterator[Account]:
    """Yield an account with the project's image, and a server of MLflow."""
    with tracking_server(tmp_path) as server, account(project, tmp_path, MLFLOW_TRACKING_URI=server) as found:
        found.push()
        yield found


def test_it_runs_on_the_platform(there: Account) -> None:
    folder = there.project.folder
    told = there.verb("run", "--submit").stdout
    assert "Verdict: green" in told
    (execution,) = there.executions()
    ran = there.steps(execution["PipelineExecutionArn"])
    assert {name: step["StepStatus"] for name, step in ran.items()} == dict.fromkeys(STEPS, "Succeeded")
    definition = json.loads(there.client("sagemaker").describe_pipeline(PipelineName=PIPELINE)["PipelineDefinition"])
    after = {step["Name"]: step.get("DependsOn", []) for step in definition["Steps"]}
    assert after == {
        "join": [],
        "prepare": ["join"],
        "train": ["prepare"],
        "evaluate": ["prepare", "train"],
        "refit": ["prepare", "train", "evaluate"],
        "register": ["evaluate", "refit"],
    }
    # Both sources are in the bucket by their content; the joined table is the run's own, and stays there.
    assert len(there.objects("data/")) == len(SOURCES)
    assert there.objects(f"models/runs/{execution['PipelineExecutionDisplayName']}/data/raw/joined.parquet")
    assert json.loads((folder / "reports/join.json").read_text(encoding="utf-8")) == {"rows": ROWS}
    lineage = json.loads((folder / "artifacts/model/lineage.json").read_text(encoding="utf-8"))
    assert lineage["params"]["data.source"] == "data/raw/joined.parquet"
    assert not [key for key in there.objects("") if "/engine/" in key], "the engine is in the image"
    # The other source changes: another run.
    payments = folder / SOURCES[1]
    there.project.run(
        "python", "-c", f"import pandas as pd; pd.read_parquet('{payments}')[:-9].to_parquet('{payments}')"
    )
    assert "has started: " in there.verb("run", "--submit", "--until", "join").stdout
    assert json.loads((folder / "reports/join.json").read_text(encoding="utf-8")) == {"rows": ROWS - 9}
    assert f"s3://{BUCKET}/models/runs/" in there.verb("run", "--submit", "--until", "join").stdout
