"""The inner loop on the platform: what is asked of it, and what people are told when it says no."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import ANY
from twoloops import artifact, config, lineage, registry, storage
from twoloops.contracts.graph import Graph, Step
from twoloops.errors import ProjectError, RedVerdictError
from twoloops.params import ScanParams
from twoloops.paths import paths
from twoloops.platforms import aws as platform
from twoloops.platforms.aws import bucket, packages, pipelines, steps
from twoloops.platforms.aws import images as ecr
from twoloops.platforms.aws import loop as sagemaker
from twoloops.platforms.shared import images, loop
from twoloops.platforms.shared.objects import StoredRecords, upload_model
from twoloops.platforms.shared.plan import Plan
from twoloops.platforms.shared.steps import watch

from tests.engine.support.aws_stubs import ACCOUNT, BUCKET, KEY, NETWORK, REGION, ROLE, Cloud, stored
from tests.engine.support.project import Project

DIGEST = "sha256:" + "0" * 64
ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/tests--train/execution/abc"
JOB = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:processing-job/pipelines-abc-train-1"
PACKAGE = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package/models-of-tests/1"
RUN = f"s3://{BUCKET}/models/runs/abc-1"
HOME = f"s3://{BUCKET}"


@pytest.fixture
def code(configured: Path) -> Path:
    """Return a folder with what an image is made of, which is the working folder."""
    for name in set(images.FILES) - {config.FILE}:
        (configured / name).write_text(name, encoding="utf-8")
    (configured / "src/__pycache__").mkdir(parents=True)
    (configured / "src/module.py").write_text("1", encoding="utf-8")
    return configured


# ------------------------------------------------------------------ images


def test_a_tag_names_the_very_code(code: Path) -> None:
    before = images.tag(images.SERVE)
    assert before.startswith("serve-")
    assert images.tag(images.TRAIN).removeprefix("train-") == before.removeprefix("serve-")
    (code / "src/__pycache__/module.pyc").write_text("compiled", encoding="utf-8")
    assert images.tag(images.SERVE) == before
    (code / "src/module.py").rename(code / "src/other.py")
    assert images.tag(images.SERVE) != before


def test_an_image_needs_the_locked_packages(code: Path) -> None:
    (code / "uv.lock").unlink()
    with pytest.raises(ProjectError, match=r"uv\.lock is missing") as raised:
        images.tag(images.TRAIN)
    assert "uv lock" in raised.value.hint


def test_an_image_is_named_by_its_digest(code: Path, cloud: Cloud) -> None:
    cloud.settle()
    asked = {"repositoryName": "image-of-tests", "imageIds": [{"imageTag": images.tag(images.SERVE)}]}
    cloud["ecr"].add_response("describe_images", {"imageDetails": [{"imageDigest": DIGEST}]}, asked)
    assert ecr.reference(images.SERVE) == f"registry.example/image-of-tests@{DIGEST}"


def test_an_image_that_nobody_has_pushed_is_asked_for(code: Path, cloud: Cloud) -> None:
    cloud.settle()
    cloud["ecr"].add_client_error("describe_images", "ImageNotFoundException")
    with pytest.raises(ProjectError, match="no image train-") as raised:
        ecr.reference(images.TRAIN)
    assert "churn image" in raised.value.hint


def test_images_that_the_registry_has_are_not_built_again(code: Path, cloud: Cloud) -> None:
    cloud.settle()
    for _ in range(4):
        cloud["ecr"].add_response("describe_images", {"imageDetails": [{"imageDigest": DIGEST}]})
    assert set(ecr.push("no-such-engine", print)) == {"serve", "train"}


def scanned(cloud: Cloud, status: str | None, *findings: tuple[str, str], enhanced: bool = False) -> str:
    """Return the image if what ECR says of its scan is tolerated."""
    cloud.settle()
    cloud["ecr"].add_response("describe_images", {"imageDetails": [{"imageDigest": DIGEST}]})
    asked = {"repositoryName": "image-of-tests", "imageId": {"imageDigest": DIGEST}}
    if status is None:
        cloud["ecr"].add_client_error("describe_image_scan_findings", "ScanNotFoundException", expected_params=asked)
    else:
        kind = "enhancedFindings" if enhanced else "findings"
        name = "title" if enhanced else "name"
        told = [{name: finding, "severity": level} for finding, level in findings]
        answer = {"imageScanStatus": {"status": status}, "imageScanFindings": {kind: told}}
        cloud["ecr"].add_response("describe_image_scan_findings", answer, asked)
    return ecr.scanned(ScanParams(fail_on="high", accepted=("CVE-3",)))


@pytest.mark.parametrize("enhanced", [False, True])
def test_an_image_is_used_when_its_scan_found_what_is_tolerated(code: Path, cloud: Cloud, enhanced: bool) -> None:
    tolerated = [("CVE-1", "LOW"), ("CVE-2", "MEDIUM"), ("CVE-3", "CRITICAL"), ("CVE-4", "UNTRIAGED")]
    status = "ACTIVE" if enhanced else "COMPLETE"
    image = scanned(cloud, status, *tolerated, enhanced=enhanced)
    assert image == f"registry.example/image-of-tests@{DIGEST}"


@pytest.mark.parametrize("level", ["HIGH", "CRITICAL"])
def test_an_image_with_findings_is_refused(code: Path, cloud: Cloud, level: str) -> None:
    with pytest.raises(ProjectError, match=r"found in the image .*: CVE-9\.") as raised:
        scanned(cloud, "COMPLETE", ("CVE-1", "LOW"), ("CVE-9", level))
    assert "scan.accepted" in raised.value.hint


@pytest.mark.parametrize("status", [None, "FAILED", "UNSUPPORTED_IMAGE"])
def test_an_image_that_was_not_scanned_is_refused(code: Path, cloud: Cloud, status: str | None) -> None:
    with pytest.raises(ProjectError, match="has not scanned the image"):
        scanned(cloud, status)


def test_a_missing_engine_is_told(code: Path, cloud: Cloud) -> None:
    cloud.settle()
    for _ in range(2):
        cloud["ecr"].add_client_error("describe_images", "ImageNotFoundException")
    with pytest.raises(ProjectError, match="no-such-engine is not installed"):
        ecr.push("no-such-engine", print)


# --------------------------------------------------------------- pipelines


JOIN = Step("join", ("python -m churn.join",), ("a.csv", "b.csv"), ("joined.csv",))
LOOK = Step("look", ("python -m churn.look",), ("a.csv",), ("seen.json",))
PREPARE = Step("prepare", ("churn prepare --new-holdout",), ("joined.csv", "seen.json"), ("train.parquet",))


def steps_of(cloud: Cloud, *steps: Step, **settings: Any) -> list[Any]:
    cloud.settle(**settings)
    definition = sagemaker.define(Graph(steps))
    assert definition["Version"] == "2020-12-01"
    assert {each["Name"] for each in definition["Parameters"]} == set(loop.PARAMETERS)
    found: list[Any] = definition["Steps"]
    return found


def test_each_step_is_a_job_in_the_projects_image_after_those_it_reads_from(cloud: Cloud) -> None:
    first, second, third = steps_of(cloud, JOIN, LOOK, PREPARE)
    asked = first["Arguments"]
    assert asked["AppSpecification"]["ContainerArguments"] == [{"Get": "Parameters.Run"}, "join"]
    assert asked["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] == KEY
    assert asked["RoleArn"] == ROLE
    assert "NetworkConfig" not in asked
    assert "DependsOn" not in first
    assert "DependsOn" not in second, "it runs beside the first"
    assert third["DependsOn"] == ["join", "look"]


def test_in_a_network_of_its_own_each_step_is_in_it(cloud: Cloud) -> None:
    (step,) = steps_of(cloud, JOIN, **NETWORK)
    assert step["Arguments"]["NetworkConfig"]["VpcConfig"]["Subnets"] == NETWORK["subnet_ids"]


def test_a_pipeline_is_made_when_it_is_not_there(cloud: Cloud) -> None:
    cloud["sagemaker"].add_client_error("update_pipeline", "ResourceNotFound")
    cloud["sagemaker"].add_response("create_pipeline", {})
    pipelines.put("tests--train", ROLE, {"Steps": []})


def summaries(*found: tuple[str, str]) -> dict[str, Any]:
    return {
        "PipelineExecutionSummaries": [
            {"PipelineExecutionDisplayName": name, "PipelineExecutionStatus": status, "PipelineExecutionArn": ARN}
            for name, status in found
        ]
    }


@pytest.mark.parametrize(
    ("found", "attempt"),
    [
        ([], loop.Attempt("inputs-1", None)),
        ([("inputs-1", "Failed"), ("other-7", "Executing")], loop.Attempt("inputs-2", None)),
        ([("inputs-3", "Executing"), ("inputs-2", "Failed")], loop.Attempt("inputs-3", ARN)),
        ([("inputs-1", "Stopping")], loop.Attempt("inputs-2", None)),
    ],
)
def test_what_is_under_way_is_taken_up(cloud: Cloud, found: list[tuple[str, str]], attempt: loop.Attempt) -> None:
    cloud["sagemaker"].add_response("list_pipeline_executions", summaries(*found))
    assert pipelines.find_attempt("tests--train", "inputs") == attempt


def test_a_pipeline_that_was_never_made_has_no_executions(cloud: Cloud) -> None:
    cloud["sagemaker"].add_client_error("list_pipeline_executions", "ResourceNotFound")
    assert pipelines.find_attempt("tests--train", "inputs").name == "inputs-1"


def test_the_same_start_has_the_same_token(cloud: Cloud) -> None:
    tokens = []
    # The last one is of a pipeline that was deleted and made again: its first start is not the old one.
    for name, made in (("a-1", 1), ("a-1", 1), ("a-2", 1), ("a-1", 2)):
        at = datetime(2026, 1, made, tzinfo=UTC)
        tokens.append(pipelines._token("tests--train", at.isoformat(), name))
        asked = {
            "PipelineName": "tests--train",
            "PipelineExecutionDisplayName": name,
            "PipelineParameters": [{"Name": "Run", "Value": RUN}],
            "ClientRequestToken": tokens[-1],
        }
        cloud["sagemaker"].add_response("describe_pipeline", {"CreationTime": at}, {"PipelineName": "tests--train"})
        cloud["sagemaker"].add_response("start_pipeline_execution", {"PipelineExecutionArn": ARN}, asked)
        assert pipelines.start("tests--train", name, {"Run": RUN}) == ARN
    assert tokens[0] == tokens[1]
    assert len(set(tokens)) == 3


def listed(cloud: Cloud, status: str, **more: Any) -> None:
    """Answer one look at an execution with a single step."""
    begun = datetime(2026, 1, 31, tzinfo=UTC)
    step = {"StepName": "train", "StartTime": begun, "Metadata": {"ProcessingJob": {"Arn": JOB}}}
    if status != "Executing":
        step["EndTime"] = begun + timedelta(seconds=90)
    step |= {"StepStatus": status, **more}
    cloud["sagemaker"].add_response("describe_pipeline_execution", {"PipelineExecutionStatus": status})
    cloud["sagemaker"].add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": [step]})


def test_each_step_is_told_once(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "FIRST_PAUSE", 0.0)
    for status in ("Executing", "Executing", "Succeeded"):
        listed(cloud, status)
    told: list[str] = []
    assert pipelines.wait(ARN, told.append).status == pipelines.SUCCEEDED
    assert told[0].endswith("#/processing-jobs/pipelines-abc-train-1")
    assert told[1:] == ["train: succeeded after 90 s"]


def test_a_failed_step_is_told_with_the_end_of_its_log(cloud: Cloud) -> None:
    listed(cloud, "Failed", FailureReason="AlgorithmError")
    logs = cloud["logs"]
    logs.add_response("describe_log_streams", {"logStreams": [{"logStreamName": "stream"}]})
    logs.add_response("get_log_events", {"events": [{"message": "Error: no rows\n"}]})
    error = pipelines.explain_failure(pipelines.wait(ARN, print))
    assert "The step train failed on the platform: AlgorithmError\n  Error: no rows" in str(error)
    assert "pipelines-abc-train-1" in error.hint


def test_a_failed_step_without_a_log_is_told_all_the_same(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "FIRST_PAUSE", 0.0)
    listed(cloud, "Failed")
    for _ in range(pipelines.LOG_TRIES):
        cloud["logs"].add_client_error("describe_log_streams", "ResourceNotFoundException")
    assert "no reason is given" in str(pipelines.explain_failure(pipelines.wait(ARN, print)))


def test_other_ends_are_told(cloud: Cloud) -> None:
    assert "was stopped" in str(pipelines.explain_failure(pipelines.Outcome(pipelines.STOPPED, "", [])))
    assert "no such role" in str(pipelines.explain_failure(pipelines.Outcome(pipelines.FAILED, "no such role", [])))


def test_ctrl_c_stops_the_execution(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "STOP_GRACE_SECONDS", 0.0)
    cloud["sagemaker"].add_response("stop_pipeline_execution", {"PipelineExecutionArn": ARN})

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipelines, "_watch", interrupt)
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        pipelines.wait(ARN, told.append)
    assert told[-1] == "It is being stopped."


# -------------------------------------------------------------------- loop


@pytest.mark.parametrize(
    ("uri", "words"),
    [("sqlite:///mlflow.db", "need an MLflow server"), ("https://name:secret@mlflow.example", "holds a password")],
)
def test_a_tracking_server_that_steps_cannot_use_is_refused(
    uri: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(loop.TRACKING_URI, uri)
    with pytest.raises(ProjectError, match=words):
        loop.choose_tracking_uri(None)


def test_the_accounts_own_tracking_server_is_the_default(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(loop.TRACKING_URI, raising=False)  # MLflow sets it to what an earlier test used
    cloud.settle()
    assert loop.choose_tracking_uri(sagemaker.SageMaker().default_tracking_uri()) == "https://mlflow.example"


def test_a_file_is_uploaded_once_and_named_by_its_content(project: Project, cloud: Cloud) -> None:
    cloud.settle()
    checked = project.set()
    cloud["s3"].add_response("list_objects_v2", {})
    cloud["s3"].add_response("put_object", {}, {"Bucket": BUCKET, "Key": ANY, "Body": ANY, "ChecksumAlgorithm": ANY})
    first = loop.locate_source(sagemaker.SageMaker(), checked.data.source, print)
    assert first.startswith(f"s3://{BUCKET}/data/")
    assert first.endswith(".parquet")
    cloud["s3"].add_response("list_objects_v2", {"Contents": [{"Key": bucket.split(first)[1], "Size": 1}]})
    assert loop.locate_source(sagemaker.SageMaker(), checked.data.source, print) == first


def test_a_url_is_read_where_it_is(cloud: Cloud) -> None:
    cloud.settle()
    told: list[str] = []
    for source in ("https://example.com/rows.parquet", f"s3://{BUCKET}/data/rows.parquet"):
        assert loop.locate_source(sagemaker.SageMaker(), source, told.append) == source
    assert told == []
    assert (
        loop.locate_source(sagemaker.SageMaker(), "s3://other/rows.parquet", told.append) == "s3://other/rows.parquet"
    )
    assert "must have been given the right" in told[0]


def test_a_folder_is_not_uploaded(cloud: Cloud, tmp_path: Path) -> None:
    cloud.settle()
    with pytest.raises(ProjectError, match="is not a file"):
        loop.locate_source(sagemaker.SageMaker(), str(tmp_path), print)


def test_a_red_verdict_ends_as_it_does_locally(project: Project) -> None:
    verdict = storage.read_json(paths().verdict, "evaluate")
    told: list[str] = []
    loop.report_verdict(verdict, told.append)
    assert told[-1] == "Verdict: green"
    with pytest.raises(RedVerdictError) as raised:
        loop.report_verdict({**verdict, "verdict": "red"}, told.append)
    assert raised.value.code == 2


def test_who_starts_a_container_names_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lineage.CODE_VERSION, "0123abc")
    assert lineage.code_version() == "0123abc"


# ---------------------------------------------------------------- packages


def test_a_card_keeps_the_services_schema(project: Project) -> None:
    verdict = storage.read_json(paths().verdict, "evaluate")
    (details,) = packages.card(verdict)["evaluation_details"]
    assert details["name"] == "verdict: green"
    (group,) = details["metric_groups"]
    assert {each["name"] for each in group["metric_data"]} == set(verdict["metrics"])
    assert all(len(each["notes"]) <= packages.LONGEST_NOTE for each in group["metric_data"])


def recorded(project: Project, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> str:
    """Register the project's model, and record it with every file in the bucket already."""
    from twoloops.inner_loop.register import register

    register()
    monkeypatch.setenv(packages.GROUP, "models-of-tests")
    monkeypatch.setenv(packages.SERVE_IMAGE, f"registry.example/image@{DIGEST}")
    manifest = f"models/{artifact.identity(paths().shipped)}/{artifact.MANIFEST}"
    cloud["s3"].add_response("list_objects_v2", {"Contents": [{"Key": manifest, "Size": 1}]})
    cloud["sagemaker"].add_response("create_model_package", {"ModelPackageArn": PACKAGE})
    return packages.record(project.folder, RUN)


def test_a_version_is_recorded_once_and_approved(
    project: Project, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recorded(project, cloud, monkeypatch) == PACKAGE
    assert packages.record(project.folder, RUN) == PACKAGE  # asks nobody
    version = registry.find_in_use()
    for status in (packages.PENDING, packages.APPROVED):
        about: dict[str, Any] = {
            "ModelPackageName": "1",
            "ModelPackageArn": PACKAGE,
            "CreationTime": datetime(2026, 1, 31, tzinfo=UTC),
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": []},
            "ModelApprovalStatus": status,
        }
        cloud["sagemaker"].add_response("describe_model_package", about)
        if status == packages.PENDING:
            asked = {"ModelPackageArn": PACKAGE, "ModelApprovalStatus": packages.APPROVED}
            cloud["sagemaker"].add_response("update_model_package", {"ModelPackageArn": PACKAGE}, asked)
        packages.approve(version)


def test_a_version_of_this_machine_needs_no_approval(promoted: Project) -> None:
    packages.approve(registry.find_in_use())
    assert not registry.is_shared()


# ------------------------------------------------------- bucket and steps


def test_an_artifact_is_uploaded_with_its_manifest_last(project: Project, cloud: Cloud) -> None:
    cloud["s3"].add_response("list_objects_v2", {})
    names = [*(name for name in artifact.read(paths().model).files if name != artifact.MANIFEST), artifact.MANIFEST]
    home = f"models/{artifact.identity(paths().model)}"
    for name in names:
        asked = {"Bucket": BUCKET, "Key": f"{home}/{name}", "Body": ANY, "IfNoneMatch": "*"}
        if name == names[0]:  # as after an upload that was cut off
            cloud["s3"].add_client_error("put_object", "PreconditionFailed", expected_params=asked)
        else:
            cloud["s3"].add_response("put_object", {}, asked)
    assert upload_model(bucket, HOME, paths().model) == f"s3://{BUCKET}/{home}"


def test_notes_are_written_once_and_read_in_their_order(cloud: Cloud) -> None:
    notes = StoredRecords(bucket, HOME)
    cloud["s3"].add_response(
        "put_object", {}, {"Bucket": BUCKET, "Key": ANY, "Body": b'{"a": 1}\n', "IfNoneMatch": "*"}
    )
    notes.add("trials/staging/a1", {"a": 1})
    cloud["s3"].add_client_error("put_object", "PreconditionFailed")
    with pytest.raises(ProjectError, match="There is a note at s3://bucket-of-tests/records/trials/staging/a1/"):
        notes.add("trials/staging/a1", {"a": 1})
    cloud["s3"].add_client_error("put_object", "AccessDenied")
    with pytest.raises(ProjectError, match="may not do that"):
        notes.add("champions/a1", {"a": 1})
    keys = [f"records/trials/staging/a1/{name}.json" for name in ("2", "1", "3")]
    cloud["s3"].add_response("list_objects_v2", {"Contents": [{"Key": key, "Size": 8} for key in keys]})
    for key, content in zip(sorted(keys), (b'{"a": 1}\n', b'{"a": 2', b'{"a": 3}\n'), strict=True):
        cloud["s3"].add_response("get_object", stored(content), {"Bucket": BUCKET, "Key": key})
    assert notes.read("trials/staging/a1") == [{"a": 1}, {"a": 3}], "a torn one proves nothing"


def test_notes_on_versions_of_this_machine_alone_need_no_account(configured: Path, cloud: Cloud) -> None:
    """Nothing is asked of AWS: the stubs would fail."""
    platform.records().add("champions/a1", {"version": "1"})
    assert platform.records().read("champions") == [{"version": "1"}]
    assert not cloud._stubs


def test_a_step_fetches_the_plan_and_what_it_reads(cloud: Cloud, project: Project) -> None:
    parameters = paths().params.read_bytes()
    prepare = Step("prepare", ("churn prepare",), ("data/raw/rows.parquet",), ("data/prepared",))
    cloud["s3"].add_response("get_object", stored(Plan(Graph((prepare,)), {}).dump()))
    names = ("params.yaml", "artifacts/model/manifest.json")  # the second is not the step's to read
    listed = {"Contents": [{"Key": f"models/runs/abc-1/{name}", "Size": len(parameters)} for name in names]}
    cloud["s3"].add_response("list_objects_v2", listed)
    cloud["s3"].add_response("head_object", {"ContentLength": len(parameters), "ETag": '"1"'})
    cloud["s3"].add_response("get_object", stored(parameters))
    # The source is a path that a container does not have.
    assert steps.main(RUN, "prepare") == 1


def test_only_files_that_changed_are_named(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("1", encoding="utf-8")
    made = watch(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/new").write_text("1", encoding="utf-8")
    (tmp_path / ".hidden").write_text("1", encoding="utf-8")
    assert made() == ["folder/new"]
    os.utime(tmp_path / "old", (0, 0))
    assert sorted(made()) == ["folder/new", "old"]
