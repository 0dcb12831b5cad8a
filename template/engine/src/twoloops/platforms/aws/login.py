"""A login to AWS by the token of a flow's job: whatever the code host, its token is exchanged for a role."""

from __future__ import annotations

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from twoloops.platforms.aws.account import account, explain_errors


def log_in(token: str, role: str, session: str, seconds: int) -> dict[str, str]:
    """Take a role, and return the credentials in the form of AWS's own file.

    Args:
        token: says which repository and job asks.
        role: the ARN of the role.
        session: names the job in AWS's records.
        seconds: for how long; a role allows at most what its session duration is.

    Raises:
        ProjectError: AWS does not give the role.
    """
    client = boto3.client("sts", config=Config(region_name=account().region, signature_version=UNSIGNED))
    with explain_errors(f"Taking the role {role}"):
        found = client.assume_role_with_web_identity(
            RoleArn=role, RoleSessionName=session, WebIdentityToken=token, DurationSeconds=seconds
        )["Credentials"]
    return {
        "aws_access_key_id": found["AccessKeyId"],
        "aws_secret_access_key": found["SecretAccessKey"],
        "aws_session_token": found["SessionToken"],
    }
