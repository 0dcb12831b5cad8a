"""SageMaker's registry of models: a registered version waits there for approval, with its verdict and its card.

MLflow's registry says which version is challenger or champion; this one is what the account's owners look at. A
version of the one knows its package in the other by a tag.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twoloops import artifact, config, registry, storage
from twoloops.inner_loop.rule import describe_interval
from twoloops.paths import RELATIVE, Paths
from twoloops.platforms.aws import bucket
from twoloops.platforms.aws.account import client, explain_errors
from twoloops.platforms.shared.objects import upload_model
from twoloops.registry import Version

# What a step of the pipeline is told by its environment.
GROUP, SERVE_IMAGE = "MODEL_PACKAGE_GROUP", "SERVE_IMAGE"
TAG = "model_package"  # of a version in MLflow: the package's ARN
APPROVED, PENDING = "Approved", "PendingManualApproval"
CONTENT = "application/json"
# The service's limits: of its card (its own JSON schema), and of the properties.
LONGEST_TEXT, LONGEST_NOTE, LONGEST_PROPERTY = 2096, 1024, 256


def record(folder: Path, run: str) -> str:
    """Record what was registered as a model package, once, and return its ARN.

    Args:
        folder: where the steps' files lie.
        run: where they lie in the bucket.
    """
    made, names = Paths(folder, folder), RELATIVE
    registration = storage.read_json(made.registration, "register")
    version = registry.get(registration["version"])
    if TAG in version.tags:
        return version.tags[TAG]
    data = upload_model(bucket, f"s3://{bucket.split(run)[0]}", made.shipped)
    verdict = storage.read_json(made.verdict, "evaluate")
    with explain_errors("Recording the model package"):
        answer = client("sagemaker").create_model_package(
            ModelPackageGroupName=os.environ[GROUP],
            ModelPackageDescription=f"{config.current().package} version {version.number}",
            ModelApprovalStatus=PENDING,
            InferenceSpecification=_inference(data, version.number, registration["identity"]),
            ModelMetrics={
                "ModelQuality": {
                    "Statistics": {"ContentType": CONTENT, "S3Uri": f"{run}/{names.metrics.as_posix()}"},
                    "Constraints": {"ContentType": CONTENT, "S3Uri": f"{run}/{names.verdict.as_posix()}"},
                }
            },
            ModelCard={"ModelCardContent": json.dumps(card(verdict)), "ModelCardStatus": "PendingReview"},
            CustomerMetadataProperties={
                name: value[:LONGEST_PROPERTY]
                for name, value in {
                    "mlflow_model": config.current().package,
                    "mlflow_version": version.number,
                    "mlflow_run": version.run_id,
                    "verdict": verdict["verdict"],
                    "model_identity": registration["identity"],
                    "model_card": f"{run}/{names.model_card.as_posix()}",
                    "code_version": version.tags["code_version"],
                }.items()
            },
            # The same version asked for twice, as after an answer that was lost, is one package.
            ClientToken=f"{config.current().package.replace('_', '-')[:15]}-{registration['identity'][:20]}",
        )
    registry.set_tag(version, TAG, answer["ModelPackageArn"])
    return str(answer["ModelPackageArn"])


def _inference(data: str, number: str, identity: str) -> dict[str, Any]:
    source = {"S3Uri": f"{data}/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {
        "Image": os.environ[SERVE_IMAGE],
        "ModelDataSource": {"S3DataSource": source},
        "Environment": {"MODEL_VERSION": number, artifact.IDENTITY_VARIABLE: identity},
    }
    return {
        "Containers": [container],
        "SupportedContentTypes": [CONTENT],
        "SupportedResponseMIMETypes": [CONTENT],
    }


def card(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the service's own model card says: the verdict and the metrics; ours has the rest.

    Args:
        verdict: reports/verdict.json.
    """
    metrics = [
        {
            "name": name,
            "type": "number",
            "value": each["value"],
            "notes": describe_interval(each)[:LONGEST_NOTE],
        }
        for name, each in verdict["metrics"].items()
    ]
    against = f"Compared with champion {verdict['champion'] or registry.NONE} on the same holdout."
    return {
        "evaluation_details": [
            {
                "name": f"verdict: {verdict['verdict']}",
                "evaluation_observation": against[:LONGEST_TEXT],
                "metric_groups": [{"name": "holdout", "metric_data": metrics}],
            }
        ]
    }


def approve(version: Version) -> None:
    """Approve the package of a version, because the version comes into use; it may be approved already.

    A version that was registered from this machine has no package, and nothing to approve.
    """
    address = version.tags.get(TAG)
    if address is None:
        return
    sagemaker = client("sagemaker")
    with explain_errors(f"Approving version {version.number}"):
        if sagemaker.describe_model_package(ModelPackageName=address)["ModelApprovalStatus"] != APPROVED:
            sagemaker.update_model_package(ModelPackageArn=address, ModelApprovalStatus=APPROVED)
