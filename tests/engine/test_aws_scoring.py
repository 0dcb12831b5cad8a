"""Scoring on a schedule: what is made on the platform, and what its container does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud import BUCKET, Cloud, clouded
from small_project import Project
{% if 'online' not in serving_mode %}
from typer.testing import CliRunner
{% endif %}

{% if 'online' not in serving_mode %}
from twoloops import cli
from twoloops.platforms import aws as platform
from twoloops import registry
from twoloops import storage
from twoloops.errors import ProjectError
{% else %}
from twoloops import registry
from twoloops import storage
from twoloops.errors import ProjectError
{% endif %}
from twoloops.platforms.aws import champion
from twoloops.platforms.aws import machines
from twoloops.platforms.aws import pipelines
from twoloops.platforms.aws import scoring
from twoloops.platforms.aws import scoring_step

{% if 'online' not in serving_mode %}
run = CliRunner().invoke
{% endif %}
EXECUTION = "arn:aws:sagemaker:{{ aws_region }}:{{ aws_account }}:pipeline/score/execution/1"
SCHEDULE: dict[str, Any] = {
    "ScheduleExpression": "cron(0 3 * * ? *)",
    "ScheduleExpressionTimezone": "Europe/Berlin",
    "FlexibleTimeWindow": {"Mode": "OFF"},
    "Target": {"Arn": "arn:aws:sagemaker:pipeline", "RoleArn": "arn:aws:iam::role"},
    "Description": "Scores the newest tables",
}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Return clients that reach nobody; everything that they were told to answer is asked."""
    with clouded(monkeypatch) as found:
        yield found
        found.finish()


def test_the_schedule_keeps_what_it_had(cloud: Cloud) -> None:
    cloud.settle()
    group = f"tests--{scoring.ENVIRONMENT}"
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
    monkeypatch.setattr(scoring, "_source", lambda _: "s3://other/rows")
    monkeypatch.setattr(scoring.bucket, "put_model", lambda *_: "s3://models/1")
    monkeypatch.setattr(scoring.images, "reference", lambda _: "image")
    monkeypatch.setattr(scoring.machines, "load", lambda: Machines)
    cloud["sagemaker"].add_response("update_pipeline", {"PipelineArn": "arn"})
    cloud["scheduler"].add_client_error("get_schedule", "ResourceNotFoundException")
    with pytest.raises(ProjectError, match="has no schedule yet") as raised:
        scoring.schedule(registry.in_use())
    assert "--apply" in raised.value.hint


class Machines:
    """What infra/machines.yaml says."""

    scoring = machines.Job(machine="ml.m5.large", volume_gb=30, hours=2)


def test_scoring_ends_with_what_it_executes(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "FIRST_PAUSE", 0)
    cloud.settle()
    name = {"PipelineName": f"tests--{scoring.ENVIRONMENT}--score"}
    cloud["scheduler"].add_response("get_schedule", {**SCHEDULE, "State": "ENABLED"})
    group = f"tests--{scoring.ENVIRONMENT}"
    asked = {**SCHEDULE, "GroupName": group, "Name": "score", "State": "DISABLED"}
    cloud["scheduler"].add_response("update_schedule", {"ScheduleArn": "arn"}, asked)
    cloud["sagemaker"].add_response("describe_pipeline", {}, name)
    for status in ("Executing", "Stopping", None):
        found = [{"PipelineExecutionArn": EXECUTION, "PipelineExecutionStatus": status}] if status else []
        cloud["sagemaker"].add_response("list_pipeline_executions", {"PipelineExecutionSummaries": found}, name)
        if status == "Executing":
            cloud["sagemaker"].add_response("stop_pipeline_execution", {})
    cloud["sagemaker"].add_response("delete_pipeline", {})
    scoring.remove(scoring.ENVIRONMENT)
    # Again, as after an interruption, when the environment is destroyed already: nothing is there to take away.
    cloud["scheduler"].add_client_error("get_schedule", "ResourceNotFoundException")
    cloud["sagemaker"].add_client_error("describe_pipeline", "ResourceNotFound")
    scoring.remove(scoring.ENVIRONMENT)
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
    assert scoring._source(project.folder) == scored


def test_a_file_of_this_machine_cannot_be_scored_there(project: Project) -> None:
    with pytest.raises(ProjectError, match="a file of this machine"):
        scoring._source(storage.MODEL)


def test_scoring_by_hand_wants_a_version(cloud: Cloud) -> None:
    cloud.settle()
    cloud["sagemaker"].add_client_error("describe_pipeline", "ResourceNotFound")
    with pytest.raises(ProjectError, match="No version scores") as raised:
        scoring.run(print)
    assert "promote" in raised.value.hint


def test_a_champion_of_this_machine_asks_nothing_of_the_platform(promoted: Project) -> None:
    champion.make_ready(registry.in_use())


def test_a_container_without_its_model_says_so(project: Project, cloud: Cloud, tmp_path: Path) -> None:
    for _ in range(2):
        cloud["s3"].add_response("list_objects_v2", {})
    home = f"s3://{BUCKET}"
    assert scoring_step.main("rows.parquet", f"{home}/predictions", f"{home}/captures", f"{home}/models/0") == 1
{% if 'online' not in serving_mode %}


def test_the_verb_takes_scoring_away(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [True, False]
    monkeypatch.setattr(platform, "stop", lambda _: there.pop(0))
    told = run(cli.app, ["stop"])
    assert f"{scoring.ENVIRONMENT}: scores no more." in told.output
    told = run(cli.app, ["stop", scoring.ENVIRONMENT, "--json"])
    assert json.loads(told.stdout) == {scoring.ENVIRONMENT: False}
{% endif %}
