"""The reader of pipelines' definitions refuses what SageMaker would refuse."""

from __future__ import annotations

import json

import pytest

from tests.support.aws import definitions

STEP = {
    "Name": "train",
    "Type": "Processing",
    "Arguments": {
        "AppSpecification": {
            "ImageUri": {"Get": "Parameters.Image"},
            "ContainerEntrypoint": ["python"],
            "ContainerArguments": [{"Std:Join": {"On": "/", "Values": ["s3:/", {"Get": "Parameters.Image"}]}}],
        },
        "Environment": {"NAME": "value"},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 30}
        },
        "RoleArn": "arn:aws:iam::123456789012:role/training",
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    },
}
TEXT = json.dumps({"Version": "2020-12-01", "Parameters": [{"Name": "Image", "Type": "String"}], "Steps": [STEP]})


def test_references_are_resolved() -> None:
    (step,) = definitions.read(TEXT)["Steps"]
    asked = definitions.job(step, {"Image": "image@sha256:0"})["AppSpecification"]
    assert (asked["ImageUri"], asked["ContainerArguments"]) == ("image@sha256:0", ["s3://image@sha256:0"])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{", "", "no JSON"),
        ("2020-12-01", "2021-12-01", "the version"),
        ('"Processing"', '"Magic"', "the type Magic"),
        ("Parameters.Image", "Parameters.Other", "nothing is called"),
        ("InstanceCount", "InstanceCounts", "Unknown parameter"),
        ('"InstanceCount": 1', '"InstanceCount": "1"', "Invalid type"),
        ('"Type": "Processing"', '"Type": "Processing", "DependsOn": ["prepare"]', "depends on"),
        ('"value"', '""', "empty or too long"),
        ('"value"', json.dumps("v" * 257), "empty or too long"),
        ('"Name": "train"', '"Name": "train step"', "a wrong name"),
        ('"Name": "train"', '"Name": "train", "CacheConfig": {}', "has the keys"),
    ],
)
def test_what_sagemaker_would_refuse_is_refused(old: str, new: str, words: str) -> None:
    assert old in TEXT
    with pytest.raises(definitions.WrongError, match=words):
        definitions.read(TEXT.replace(old, new, 1))
