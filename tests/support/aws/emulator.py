"""An emulator of AWS on loopback: moto, and the few actions that Terraform's provider wants and moto lacks.

Run as a program, `python -m tests.support.aws.emulator -H 127.0.0.1 -p PORT`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from moto.budgets.responses import BudgetsResponse
from moto.core.responses import ActionResult
from moto.ecr.responses import ECRResponse
from moto.iam.access_control import PermissionResult
from moto.moto_api._internal.urls import url_paths
from moto.s3.models import FakeBucket, FakeDeleteMarker
from moto.sagemaker.exceptions import ResourceNotFound
from moto.sagemaker.responses import SageMakerResponse
from moto.server import main

from . import calls, endpoints, faults, logins, pipelines

CONTACT = "ml-team@example.com"
_servers: dict[str, dict[str, Any]] = {}


def _tags_of_budget(_: BudgetsResponse) -> str:
    return json.dumps({"ResourceTags": []})


def _subscribers(_: BudgetsResponse) -> str:
    return json.dumps({"Subscribers": [{"SubscriptionType": "EMAIL", "Address": CONTACT}]})


def _delete_model_package_group(self: SageMakerResponse) -> ActionResult:
    self.sagemaker_backend.model_package_groups.pop(self._get_param("ModelPackageGroupName"), None)
    return ActionResult({})


def _create_server(self: SageMakerResponse) -> ActionResult:
    name = self._get_param("TrackingServerName")
    arn = f"arn:aws:sagemaker:{self.region}:{self.current_account}:mlflow-tracking-server/{name}"
    given = json.loads(self.body)
    _servers[name] = {**given, "TrackingServerArn": arn, "TrackingServerStatus": "Created", "IsActive": "Active"}
    _servers[name].setdefault("MlflowVersion", "3.0")
    _servers[name].setdefault("WeeklyMaintenanceWindowStart", "Tue:03:30")
    return ActionResult({"TrackingServerArn": arn})


def _describe_server(self: SageMakerResponse) -> ActionResult:
    name = self._get_param("TrackingServerName")
    if name not in _servers:
        raise ResourceNotFound(message=f"Tracking server {name} does not exist")
    return ActionResult({key: value for key, value in _servers[name].items() if key != "Tags"})


def _delete_server(self: SageMakerResponse) -> ActionResult:
    arn = _servers.pop(self._get_param("TrackingServerName"))["TrackingServerArn"]
    return ActionResult({"TrackingServerArn": arn})


_update_package = SageMakerResponse.update_model_package


def _update_model_package(self: SageMakerResponse) -> ActionResult:
    """Leave the properties as they are where none are given: moto forgets them."""
    backend, arn = self.sagemaker_backend, self._get_param("ModelPackageArn")
    package = backend.model_packages.get(backend.model_package_name_mapping.get(arn, arn))
    before = package.customer_metadata_properties if package else None
    answer = _update_package(self)
    if package and self._get_param("CustomerMetadataProperties") is None:
        package.customer_metadata_properties = before
    return answer


_list_tags = SageMakerResponse.list_tags


def _tags(self: SageMakerResponse) -> Any:
    name = self._get_param("ResourceArn").rpartition("/")[2]
    if "mlflow-tracking-server" in self._get_param("ResourceArn"):
        return ActionResult({"Tags": _servers.get(name, {}).get("Tags", [])})
    tags = endpoints.tags_of(self._get_param("ResourceArn"))
    if tags is not None:
        return ActionResult({"Tags": tags})
    return _list_tags(self)


def _scanned(self: ECRResponse) -> ActionResult:
    """Answer that nothing was found: moto scans no image when it is pushed, and finds the same in every one."""
    name, image = self._get_param("repositoryName"), self._get_param("imageId")
    self.ecr_backend.describe_images(name, image_ids=[image])  # there is one
    return ActionResult(
        {
            "repositoryName": name,
            "imageId": image,
            "imageScanStatus": {"status": "COMPLETE"},
            "imageScanFindings": {"findings": [], "findingSeverityCounts": {}},
        }
    )


# moto reads a bucket's policy without its conditions, and would refuse everything for the sake of what is
# not encrypted. On loopback nothing is.
def _no_policy(*_: Any) -> PermissionResult:
    return PermissionResult.NEUTRAL


def _nothing(*_: Any, **__: Any) -> None:
    """Let go of nothing: a marker holds no content."""


LACKING: dict[type, dict[str, Any]] = {
    BudgetsResponse: {
        "list_tags_for_resource": _tags_of_budget,
        "describe_subscribers_for_notification": _subscribers,
    },
    ECRResponse: {"describe_image_scan_findings": _scanned},
    FakeBucket: {"get_permission": _no_policy},
    FakeDeleteMarker: {"dispose": _nothing},  # moto forgets that a marker of a deletion can be deleted as well
    SageMakerResponse: {
        "create_mlflow_tracking_server": _create_server,
        "delete_mlflow_tracking_server": _delete_server,
        "delete_model_package_group": _delete_model_package_group,
        "describe_mlflow_tracking_server": _describe_server,
        "list_tags": _tags,
        "update_model_package": _update_model_package,
        **pipelines.ACTIONS,
    },
}
for kind, methods in (*LACKING.items(), *logins.LACKING.items(), *endpoints.lacking()):
    for name, method in methods.items():
        setattr(kind, name, method)
url_paths["{0}/moto-api/calls$"] = calls.controlled
url_paths["{0}/moto-api/endpoints$"] = endpoints.controlled
url_paths["{0}/moto-api/faults$"] = faults.controlled
url_paths["{0}/moto-api/logins$"] = logins.controlled
calls.install()
faults.install()

if __name__ == "__main__":
    main(sys.argv[1:])
