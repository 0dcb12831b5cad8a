"""Terraform, and an emulator of AWS, as the tests use them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from commands.rendering import TEMPLATE
from tests.support.terraform import ASKED, Terraform

# Everything that a project on AWS can have.
EVERYTHING: dict[str, Any] = {
    "infrastructure": "aws",
    "serving_mode": "online_and_batch",
    "private_network": True,
}
ACCOUNT = "123456789012"
# What the test of the emulator applies and destroys for real.
APPLIED = {
    "aws_budgets_budget",
    "aws_cloudwatch_dashboard",
    "aws_cloudwatch_log_group",
    "aws_cloudwatch_metric_alarm",
    "aws_default_security_group",
    "aws_ecr_lifecycle_policy",
    "aws_ecr_repository",
    "aws_flow_log",
    "aws_iam_openid_connect_provider",
    "aws_iam_role",
    "aws_iam_role_policy",
    "aws_kms_alias",
    "aws_kms_key",
    "aws_kms_key_policy",
    "aws_route_table",
    "aws_route_table_association",
    "aws_s3_bucket",
    "aws_s3_bucket_lifecycle_configuration",
    "aws_s3_bucket_ownership_controls",
    "aws_s3_bucket_policy",
    "aws_s3_bucket_public_access_block",
    "aws_s3_bucket_server_side_encryption_configuration",
    "aws_s3_bucket_versioning",
    "aws_sagemaker_mlflow_tracking_server",
    "aws_sagemaker_model_package_group",
    "aws_scheduler_schedule",
    "aws_scheduler_schedule_group",
    "aws_security_group",
    "aws_sns_topic",
    "aws_sns_topic_policy",
    "aws_sns_topic_subscription",
    "aws_ssm_parameter",
    "aws_subnet",
    "aws_vpc",
    "aws_vpc_endpoint",
    "aws_vpc_security_group_egress_rule",
    "aws_vpc_security_group_ingress_rule",
}
# With Terraform's own number of retries, an action that the emulator lacks takes minutes to fail.
FEW_RETRIES = 'provider "aws" {\n  max_retries = 3\n}\n'


@contextmanager
def emulator(log: Path, settings: Mapping[str, str] | None = None) -> Iterator[dict[str, str]]:
    """Start the emulator; give the environment in which Terraform and boto3 use it; end it.

    Args:
        log: what it prints goes there.
        settings: variables of its environment, of which the modules here tell.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    ours = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "3",
        "NO_PROXY": "127.0.0.1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.aws.emulator", "-H", "127.0.0.1", "-p", str(port)],
            cwd=TEMPLATE,
            env=os.environ | ours | dict(settings or {}),
            stdout=output,
            stderr=output,
        )
    try:
        _wait(f"{address}/moto-api/", process)
        yield ours
    finally:
        process.terminate()
        process.wait(60)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(300):
        try:
            opener.open(address, timeout=1)
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, "the emulator has ended"
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the emulator does not answer")


def tell(aws: Mapping[str, str], route: str, content: Any) -> Any:
    """Tell the emulator what a test wants of it, by one of its own routes, and return what it answers."""
    address = f"{aws['AWS_ENDPOINT_URL']}/moto-api/{route}"
    request = urllib.request.Request(address, json.dumps(content).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return json.load(answer)


def client(service: str, aws: Mapping[str, str]) -> Any:
    """Return boto3's client of a service of the emulator."""
    return boto3.client(
        service,
        endpoint_url=aws["AWS_ENDPOINT_URL"],
        region_name="eu-west-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def options(provider: str, **more: Any) -> list[str]:
    """Return the options of `terraform apply` in bootstrap/."""
    given = {**ASKED[provider], **more}
    return ["-input=false", *[f"-var={name}={value}" for name, value in given.items()]]


def documents(state: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each policy of a state with what it belongs to."""
    shown_only = ("aws_kms_key", "aws_s3_bucket", "aws_sns_topic")  # what a resource of its own sets
    for resource in state:
        if resource["mode"] != "managed" or resource["type"] in shown_only:
            continue
        for name in ("policy", "assume_role_policy"):
            text = resource["values"].get(name)
            if text and "Statement" in text:
                yield resource["address"], json.loads(text)


def many(value: Any) -> list[Any]:
    """Return a list of what may be one or a list."""
    return value if isinstance(value, list) else [value]


def prepared(terraform: Terraform) -> Terraform:
    """Return a project in which Terraform gives up soon; the rendered files are untouched."""
    for root in ("bootstrap", "environment"):
        (terraform.folder / root / "emulator_override.tf").write_text(FEW_RETRIES, encoding="utf-8")
    return terraform


def bootstrap(terraform: Terraform, **more: Any) -> str:
    return terraform.call(
        ["sh", "bootstrap.sh", "-auto-approve", "-no-color", *options("github", preflight="false", **more)],
        terraform.folder,
    ).stdout


def left(aws: dict[str, str]) -> dict[str, list[Any]]:
    """Return what is there, without what an account has from the beginning."""
    roles = client("iam", aws).list_roles()["Roles"]
    return {
        "alarms": client("cloudwatch", aws).describe_alarms()["MetricAlarms"],
        "buckets": client("s3", aws).list_buckets()["Buckets"],
        "budgets": client("budgets", aws).describe_budgets(AccountId=ACCOUNT)["Budgets"],
        "dashboards": client("cloudwatch", aws).list_dashboards()["DashboardEntries"],
        "groups": client("sagemaker", aws).list_model_package_groups()["ModelPackageGroupSummaryList"],
        "images": client("ecr", aws).describe_repositories()["repositories"],
        "issuers": client("iam", aws).list_open_id_connect_providers()["OpenIDConnectProviderList"],
        "keys": [
            key["KeyId"]
            for key in client("kms", aws).list_keys()["Keys"]
            if client("kms", aws).describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] != "PendingDeletion"
        ],
        "logs": client("logs", aws).describe_log_groups()["logGroups"],
        "networks": [found for found in client("ec2", aws).describe_vpcs()["Vpcs"] if not found["IsDefault"]],
        "parameters": client("ssm", aws).describe_parameters()["Parameters"],
        "roles": [role["RoleName"] for role in roles if not role["Path"].startswith("/aws-service-role/")],
        "schedules": client("scheduler", aws).list_schedules()["Schedules"],
        "topics": client("sns", aws).list_topics()["Topics"],
    }
