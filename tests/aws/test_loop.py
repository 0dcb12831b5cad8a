"""The inner loop and scoring of a project on AWS, on an emulator that runs the pipelines' steps for real."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Installed, install
from tests.support.aws.account import BUCKET, NAME, PIPELINE, SCORING, STEPS, Account, account
from tests.support.models import LENIENT
from tests.support.projects import commit_all
from tests.support.servers import tracking_server

pytestmark = pytest.mark.slow
ANSWERS = {"infrastructure": "aws", "serving_mode": "batch"}
ROWS = 2000


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Return a project on AWS that has simulated data; the tests of this module that one process runs share it."""
    project = install(tmp_path_factory.mktemp("loop") / "project", ANSWERS)
    project.verb("simulate", "--rows", str(ROWS))
    for key, value in LENIENT.items():
        change(project, "gate", key, value)
    commit_all(project)
    return project


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a real MLflow server."""
    with tracking_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def there(installed: Installed, server: str, tmp_path: Path) -> Iterator[Account]:
    """Yield an account with the project; every test begins with an empty working tree and an empty account."""
    subprocess.run(["git", "reset", "--quiet", "--hard"], cwd=installed.folder, check=True)
    clean = ["git", "clean", "--quiet", "-fdx", "--exclude=.venv", "--exclude=data/raw"]
    subprocess.run(clean, cwd=installed.folder, check=True)
    with account(installed, tmp_path, MLFLOW_TRACKING_URI=server) as found:
        found.push()
        yield found


def change(project: Installed, section: str, key: str, value: Any) -> None:
    path = project.folder / "params.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content[section][key] = value
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def document(project: Installed, name: str) -> Any:
    return json.loads((project.folder / name).read_text(encoding="utf-8"))


# In CI test_added_step.py passes through the platform with the same pipeline and one step more.
@pytest.mark.twin
def test_from_data_to_scores_on_the_platform(there: Account, server: str) -> None:
    """The whole: submit, registered twice, promoted, scored on schedule, watched, retrained, rolled back."""
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=there.project.folder, capture_output=True, text=True, check=True
    ).stdout.strip()
    told = there.verb("run", "--submit").stdout
    registration = submitted(there, told, head)
    number = registration["version"]
    package = the_package(there, registration)
    assert package["ModelApprovalStatus"] == "PendingManualApproval"

    # The same again is another run, which finds the model registered already.
    there.verb("run", "--submit")
    assert document(there.project, "reports/registration.json")["version"] == number
    assert len(there.executions()) == 2
    assert (
        len(there.client("sagemaker").list_model_packages(ModelPackageGroupName=NAME)["ModelPackageSummaryList"]) == 1
    )

    there.verb("promote")
    assert the_package(there, registration)["ModelApprovalStatus"] == "Approved"
    scheduled(there, registration)
    scored(there, registration)
    watched(there)
    retrained(there, registration)
    stopped(there, number)


def submitted(there: Account, told: str, head: str) -> dict[str, Any]:
    """Look at what a green run has left here, in the bucket and in both registries."""
    (execution,) = there.executions()
    name = execution["PipelineExecutionDisplayName"]
    assert f"Run {name} has started" in told
    assert "Verdict: green" in told
    for step in STEPS:
        assert f"{step}: succeeded after" in told
        assert f"/processing-jobs/pipelines-{execution['PipelineExecutionArn'].rpartition('/')[2]}-{step}-" in told
    folder = there.project.folder
    registration: dict[str, Any] = document(there.project, "reports/registration.json")
    assert (
        document(there.project, "artifacts/shipped/lineage.json")["refitted"]["judged_model"]
        == (document(there.project, "reports/verdict.json")["model"])
    )
    assert (folder / "reports/model_card.md").exists()
    assert list((folder / "reports/plots").glob("*.png"))
    assert (folder / "data/holdout.json").exists()
    lineage = document(there.project, "artifacts/model/lineage.json")
    assert lineage["code_version"] == head
    # The model's data is in the bucket, by its content, and the lineage says so.
    assert lineage["params"]["data.source"].startswith(f"s3://{BUCKET}/data/")
    assert there.objects("data/") == [lineage["params"]["data.source"].removeprefix(f"s3://{BUCKET}/")]
    # The artifact lies where everything that runs it will look, file by file.
    model = f"models/{registration['identity']}/"
    assert {key.removeprefix(model) for key in there.objects(model)} == {
        path.name for path in (folder / "artifacts/shipped").iterdir()
    }
    return registration


def the_package(there: Account, registration: dict[str, Any]) -> dict[str, Any]:
    """Return the model package of a version, after a look at what it says."""
    sagemaker = there.client("sagemaker")
    found = sagemaker.list_model_packages(ModelPackageGroupName=NAME)["ModelPackageSummaryList"]
    packages = [sagemaker.describe_model_package(ModelPackageName=each["ModelPackageArn"]) for each in found]
    (package,) = [
        each for each in packages if each["CustomerMetadataProperties"]["mlflow_version"] == registration["version"]
    ]
    properties = package["CustomerMetadataProperties"]
    assert properties["model_identity"] == registration["identity"]
    assert properties["verdict"] == "green"
    (container,) = package["InferenceSpecification"]["Containers"]
    assert "@sha256:" in container["Image"]
    assert container["ModelDataSource"]["S3DataSource"] == {
        "S3Uri": f"s3://{BUCKET}/models/{registration['identity']}/",
        "S3DataType": "S3Prefix",
        "CompressionType": "None",
    }
    quality = package["ModelMetrics"]["ModelQuality"]
    for place in (quality["Statistics"]["S3Uri"], quality["Constraints"]["S3Uri"], properties["model_card"]):
        assert there.read(place.removeprefix(f"s3://{BUCKET}/"))
    return dict(package)


def scheduled(there: Account, registration: dict[str, Any]) -> None:
    """Look at the pipeline that promote has made, and at the schedule that it has switched on."""
    schedule = there.schedule()
    assert schedule["State"] == "ENABLED"
    assert schedule["ScheduleExpressionTimezone"] == "Europe/Berlin"
    assert schedule["Description"] == "Scores the newest tables"
    assert schedule["Target"]["RetryPolicy"] == {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 3}
    found = there.client("sagemaker").describe_pipeline(PipelineName=SCORING)
    assert schedule["Target"]["Arn"] == found["PipelineArn"]
    (step,) = json.loads(found["PipelineDefinition"])["Steps"]
    assert step["Arguments"]["Environment"] == scored_by(registration)
    assert step["Arguments"]["RoleArn"].endswith("--production--serving")


def scored(there: Account, registration: dict[str, Any]) -> None:
    """Score by hand, twice: the second run finds nothing new."""
    first = json.loads(there.verb("score", "--submit", "--json").stdout)["summary"]
    assert (first["rows"], first["model"]["version"]) == (ROWS, registration["version"])
    manifest = json.loads(there.read("predictions/production/manifest.json"))
    assert manifest["partitions"]
    assert not any("lock" in key for key in there.objects("predictions/"))
    captures = there.objects("captures/production/")
    assert len(captures) == 1
    second = json.loads(there.verb("score", "--submit", "--json").stdout)["summary"]
    assert second == first, "nothing was published anew"
    assert there.objects("captures/production/") == captures


def watched(there: Account) -> None:
    """The monitor sees the captures once, on whichever machine it runs."""
    first = json.loads(there.verb("monitor", "--json").stdout)
    assert first["window"]["rows"] == ROWS
    assert there.objects("monitoring/") == ["monitoring/history.json"]
    for name in ("data/captures", "reports/monitoring"):
        shutil.rmtree(there.project.folder / name)
    again = json.loads(there.verb("monitor", "--json").stdout)
    assert again["decision"] == "waiting"
    assert len(document(there.project, "reports/monitoring/history.json")["windows"]) == 1


def retrained(there: Account, before: dict[str, Any]) -> None:
    """A retraining on newer data freezes a new holdout, and the way back is open."""
    holdout = (there.project.folder / "data/holdout.json").read_bytes()
    there.verb("simulate", "--rows", str(ROWS + 500), "--seed", "8", "--force")
    # The frozen holdout is in git, and so part of what is submitted.
    told = there.verb("retrain", "--submit", "--reason", "drift").stdout
    assert "staleness: succeeded after" in told
    assert (there.project.folder / "reports/staleness.png").exists()
    assert (there.project.folder / "data/holdout.json").read_bytes() != holdout
    remembered = json.loads(there.read("monitoring/history.json"))["retraining"]
    assert (remembered["reason"], remembered["outcome"]) == ("drift", "challenger")
    after = document(there.project, "reports/registration.json")
    assert after["version"] != before["version"]
    there.verb("promote")
    assert environment_of(there) == scored_by(after)
    there.verb("rollback")
    assert environment_of(there) == scored_by(before)


def scored_by(registration: dict[str, Any]) -> dict[str, str]:
    """Return the environment by which a scoring job knows its model."""
    return {"MODEL_VERSION": registration["version"], "MODEL_IDENTITY": registration["identity"]}


def environment_of(there: Account) -> Any:
    """Return the environment of the scoring pipeline's job."""
    return json.loads(definition_of(there))["Steps"][0]["Arguments"]["Environment"]


def stopped(there: Account, number: str) -> None:
    """Scoring ends, with what it is doing, and comes back for the same champion."""
    before = there.schedule()
    waiting = there.begin("score", "--submit")
    there.until(lambda: there.executions(SCORING)[0]["PipelineExecutionStatus"] == "Executing")
    assert "production: scores no more." in there.verb("stop").stdout
    output, _ = waiting.communicate(timeout=60)
    assert "What to do: " in output, "whoever waits for it is told"
    assert waiting.returncode == 1
    kept = ("Description", "ScheduleExpression", "ScheduleExpressionTimezone", "Target")
    after = there.schedule()
    assert after["State"] == "DISABLED"
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert there.pipelines() == [PIPELINE]
    assert "production: nothing scored." in there.verb("stop").stdout
    assert "No version scores on the platform." in there.verb("score", "--submit", code=1).stderr
    there.verb("promote", number)
    assert there.schedule()["State"] == "ENABLED"
    there.verb("score", "--submit")


def definition_of(there: Account) -> str:
    text: str = there.client("sagemaker").describe_pipeline(PipelineName=SCORING)["PipelineDefinition"]
    return text


def test_a_red_verdict_is_told_as_locally_and_registers_nothing(there: Account) -> None:
    change(there.project, "gate", "threshold", 0.999)
    there.push()
    finished = there.verb("run", "--submit", code=2)
    assert "Verdict: red" in finished.stdout
    assert "0.999" in finished.stdout
    assert document(there.project, "reports/verdict.json")["verdict"] == "red"
    (execution,) = there.executions()
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert "register" not in there.steps(execution["PipelineExecutionArn"])
    assert not (there.project.folder / "reports/registration.json").exists()


def test_until_evaluate_judges_and_does_not_register(there: Account) -> None:
    there.verb("run", "--submit", "--until", "evaluate")
    (execution,) = there.executions()
    assert list(there.steps(execution["PipelineExecutionArn"])) == STEPS[:3]


def test_a_failed_step_is_told_with_its_log(there: Account) -> None:
    change(there.project, "data", "minimum_rows", ROWS * 10)
    there.push()
    finished = there.verb("run", "--submit", code=1)
    assert "The step prepare failed on the platform: ClientError: AlgorithmError" in finished.stderr
    assert "data.minimum_rows demands 20,000" in finished.stderr
    assert "#/processing-jobs/pipelines-" in finished.stderr


def test_an_interrupted_wait_is_taken_up(there: Account) -> None:
    """A second Ctrl-C leaves the execution alone; the same verb waits for it, and starts no other."""
    waiting = there.begin("run", "--submit", "--until", "evaluate")
    there.until(lambda: started(there))
    for _ in range(2):
        os.killpg(waiting.pid, signal.SIGINT)
        time.sleep(2)
    output, _ = waiting.communicate(timeout=60)
    assert "Ctrl-C once more leaves it alone" in output
    assert waiting.returncode != 0
    (execution,) = there.executions()
    assert execution["PipelineExecutionStatus"] == "Executing"
    told = there.verb("run", "--submit", "--until", "evaluate").stdout
    assert "is under way already" in told
    assert "Verdict: green" in told
    assert len(there.executions()) == 1


def started(there: Account) -> bool:
    """Say whether a step of an execution is at work."""
    return PIPELINE in there.pipelines() and any(
        there.steps(each["PipelineExecutionArn"]) for each in there.executions()
    )


def test_ctrl_c_stops_the_execution(there: Account) -> None:
    # Three steps, of which the first is at work: one alone may be done before it can be stopped.
    waiting = there.begin("run", "--submit", "--until", "evaluate")
    there.until(lambda: started(there))
    os.killpg(waiting.pid, signal.SIGINT)
    output, _ = waiting.communicate(timeout=60)
    assert "It is being stopped." in output
    there.until(lambda: there.executions()[0]["PipelineExecutionStatus"] not in ("Executing", "Stopping"))
    assert there.executions()[0]["PipelineExecutionStatus"] == "Stopped", output


@pytest.mark.parametrize(
    ("action", "code", "words"),
    [
        ("StartPipelineExecution", "ThrottlingException", "AWS asks to slow down"),
        ("UpdatePipeline", "AccessDeniedException", "the login may not do that"),
        ("DescribePipelineExecution", "ExpiredTokenException", "the login has expired"),
        ("StartPipelineExecution", "ResourceLimitExceeded", "a quota of the account is used up"),
        ("DescribeImages", "ImageNotFoundException", "uv run churn image"),
    ],
)
def test_what_aws_refuses_is_told_and_can_be_repeated(there: Account, action: str, code: str, words: str) -> None:
    there.refuse(action, code)
    finished = there.verb("run", "--submit", "--until", "train", code=1)
    assert words in finished.stderr
    assert "Traceback" not in finished.stderr
    there.recover()
    there.verb("run", "--submit", "--until", "train")
    assert len(there.executions()) == 1


def test_throttling_for_a_while_is_waited_out(there: Account) -> None:
    there.refuse("StartPipelineExecution", "ThrottlingException", times=2)
    there.verb("run", "--submit", "--until", "prepare")
    assert len(there.executions()) == 1
