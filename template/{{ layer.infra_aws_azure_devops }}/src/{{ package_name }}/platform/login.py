"""A login to AWS by the token of a job on Azure Pipelines: azure-pipelines/templates/cloud.yml runs this.

Azure's tokens last minutes, so the role is taken at once, for as long as the job may take. The steps that follow
find it in AWS's own file, in a folder that the agent empties after the job.
"""

from __future__ import annotations

import os
from pathlib import Path

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from .. import ProjectError
from ..hosting import host
from .account import REGION, asking

FILE = "cloud-credentials"


def main() -> None:
    """Log in; what is refused is told in words, for the job's log."""
    try:
        log_in()
    except ProjectError as error:
        raise SystemExit(f"Error: {error}\nWhat to do: {error.hint}") from error


def log_in() -> None:
    """Take the role CLOUD_ROLE with the token of the service connection CLOUD_CONNECTION.

    Raises:
        ProjectError: Azure DevOps gives no token, or AWS does not give the role.
    """
    connection, role = os.environ["CLOUD_CONNECTION"], os.environ["CLOUD_ROLE"]
    address, query = os.environ["SYSTEM_OIDCREQUESTURI"], {"serviceConnectionId": connection}
    token = host.client().ask("POST", address, {}, query=query)["oidcToken"]
    client = boto3.client("sts", config=Config(region_name=REGION, signature_version=UNSIGNED))
    with asking(f"Taking the role {role}"):
        found = client.assume_role_with_web_identity(
            RoleArn=role,
            RoleSessionName=f"azure-{os.environ['BUILD_BUILDID']}",
            WebIdentityToken=token,
            DurationSeconds=int(os.environ["CLOUD_SECONDS"]),
        )["Credentials"]
    file = Path(os.environ["AGENT_TEMPDIRECTORY"]) / FILE
    file.touch(mode=0o600)
    file.write_text(
        "[default]\n"
        f"aws_access_key_id = {found['AccessKeyId']}\n"
        f"aws_secret_access_key = {found['SecretAccessKey']}\n"
        f"aws_session_token = {found['SessionToken']}\n",
        encoding="utf-8",
    )
    print(f"##vso[task.setvariable variable=AWS_SHARED_CREDENTIALS_FILE]{file}")
    print(f"##vso[task.setvariable variable=AWS_REGION]{REGION}")


if __name__ == "__main__":
    main()
