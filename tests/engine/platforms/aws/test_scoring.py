"""Scoring on a schedule: what is made on the platform, and what its container does."""

import json
from pathlib import Path
from typing import Any

import pytest
from twoloops import registry
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.platforms import aws, platform
from twoloops.platforms.aws import machines, pipelines, scoring, scoring_step

from tests.engine.support.aws_stubs import ACCOUNT, AWS, BUCKET, REGION, Cloud
from tests.engine.support.configuration import configure
from tests.engine.support.project import Project
from tests.engine.support.verbs import call

LAST = "production"
EXECUTION = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/score/execution/1"
SCHEDULE: dict[str, Any] = {
    "ScheduleExpression": "cron(0 3 * * ? *)",
    "ScheduleExpressionTimezone": "Europe/Berlin",
    "FlexibleTimeWindow": {"Mode": "OFF"},
    "Target": {"Arn": "arn:aws:sagemaker:pipeline", "RoleArn": "arn:aws:iam::role"},
    "Description": "Scores the newest tables",
}


def test_the_schedule_keeps_what_it_had(cloud: Cloud) -> None:
    cloud.settle()
    group = f"tests--{LAST}"
    cloud["scheduler"].add_response("get_schedule", {**SCHEDULE, "State": "DISABLED"})
    asked = {**SCHEDULE, "GroupName": group, "Name": "score", "State": "ENABLED"}
    cloud["scheduler"].add_response("update_schedule", {"ScheduleArn": "arn"}, asked)
    assert scoring._switch(scoring.ON)
    cloud["scheduler"].add_response("get_schedule", {**SCHEDULE, "State": "ENABLED"})
    assert scoring._switch(scoring.ON)


def test_an_environment_without_its_infrastructure_is_told(
    promoted: Project, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.settle()
    monkeypatch.setattr(scoring, "locate_source", lambda _: "s3://other/rows")
    monkeypatch.setattr(scoring, "upload_model", lambda *_: "s3://models/1")
    monkeypatch.setattr(scoring.images, "reference", lambda _: "image")
    monkeypatch.setattr(scoring.machines, "load", lambda: Machines)
    cloud["sagemaker"].add_response("update_pipeline", {"PipelineArn": "arn"})
    cloud["scheduler"].add_client_error("get_schedule", "ResourceNotFoundException")
    with pytest.raises(ProjectError, match="has no schedule yet") as raised:
        scoring.schedule(registry.find_in_use())
    assert "--apply" in raised.value.hint


class Machines:
    """What infra/machines.yaml says."""

    scores = machines.Job(machine="ml.m5.large", volume_gb=30, hours=2)


def test_scoring_ends_with_what_it_executes(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "FIRST_PAUSE", 0)
    cloud.settle()
    name = {"PipelineName": f"tests--{LAST}--score"}
    cloud["scheduler"].add_response("get_schedule", {**SCHEDULE, "State": "ENABLED"})
    group = f"tests--{LAST}"
    asked = {**SCHEDULE, "GroupName": group, "Name": "score", "State": "DISABLED"}
    cloud["scheduler"].add_response("update_schedule", {"ScheduleArn": "arn"}, asked)
    cloud["sagemaker"].add_response("describe_pipeline", {}, name)
    for status in ("Executing", "Stopping", None):
        found = [{"PipelineExecutionArn": EXECUTION, "PipelineExecutionStatus": status}] if status else []
        cloud["sagemaker"].add_response("list_pipeline_executions", {"PipelineExecutionSummaries": found}, name)
        if status == "Executing":
            cloud["sagemaker"].add_response("stop_pipeline_execution", {})
    cloud["sagemaker"].add_response("delete_pipeline", {})
    scoring.remove(LAST)
    # Again, as after an interruption, when the environment is destroyed already: nothing is there to take away.
    cloud["scheduler"].add_client_error("get_schedule", "ResourceNotFoundException")
    cloud["sagemaker"].add_client_error("describe_pipeline", "ResourceNotFound")
    scoring.remove(LAST)
    scoring.remove("elsewhere")
    assert not scoring.exists("elsewhere")


@pytest.mark.parametrize(
    ("source", "trained_on", "scored"),
    [
        ("s3://other/rows", "data/raw.parquet", "s3://other/rows"),
        (None, f"s3://{BUCKET}/data/1.parquet", f"s3://{BUCKET}/data/1.parquet"),
    ],
)
def test_what_is_scored_is_where_the_platform_can_read_it(
    source: str | None, trained_on: str, scored: str, project: Project
) -> None:
    project.set(score__source=source)
    (project.folder / "lineage.json").write_text(json.dumps({"params": {"data.source": trained_on}}), encoding="utf-8")
    assert scoring.locate_source(project.folder) == scored


def test_a_file_of_this_machine_cannot_be_scored_there(project: Project) -> None:
    with pytest.raises(ProjectError, match="a file of this machine"):
        scoring.locate_source(paths().model)


def test_scoring_by_hand_wants_a_version(cloud: Cloud) -> None:
    cloud.settle()
    cloud["sagemaker"].add_client_error("describe_pipeline", "ResourceNotFound")
    with pytest.raises(ProjectError, match="No version scores") as raised:
        scoring.run(print)
    assert "promote" in raised.value.hint


def test_a_champion_of_this_machine_asks_nothing_of_the_platform(promoted: Project) -> None:
    platform.follow_champion(registry.find_in_use())


def test_a_container_without_its_model_says_so(project: Project, cloud: Cloud, tmp_path: Path) -> None:
    for _ in range(2):
        cloud["s3"].add_response("list_objects_v2", {})
    home = f"s3://{BUCKET}"
    assert scoring_step.main("rows.parquet", f"{home}/predictions", f"{home}/captures", f"{home}/models/0") == 1


def test_the_verb_takes_scoring_away(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(configured, serving=["batch"], environments=[LAST], **AWS)
    there = [True, False]
    monkeypatch.setattr(aws, "stop", lambda _: there.pop(0))
    told = call("stop")
    assert f"{LAST}: scores no more." in told.output
    told = call("stop", LAST, "--json")
    assert json.loads(told.stdout) == {LAST: False}
