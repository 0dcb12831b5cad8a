"""A login to AWS by the token of a flow's job: whatever the code host, its token is exchanged for a role."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from twoloops.contracts.platform import Login, role_variable
from twoloops.errors import ProjectError
from twoloops.platforms.aws.account import TRIES, account, explain_errors

FILE: Final = "aws-credentials"
LONGEST_SESSION = 64  # characters


def log_in(login: Login) -> dict[str, str]:
    """Take a role, and leave the credentials in a file of AWS's own form that only this user can read.

    Args:
        login: the role and the token that says who asks; a role allows at most the seconds of its session duration.

    Returns:
        The variables by which boto3, Terraform and DVC find the file, and the region.

    Raises:
        ProjectError: nothing says which role it is, or AWS does not give it.
    """
    name = role_variable(login.role)
    role = login.variables.get(name)
    if not role:
        raise ProjectError(
            f"The code host has no variable {name}: what AWS calls the role {login.role} is not known.",
            hint="The verb 'bootstrap' sets it.",
        )
    region = account().region
    retries = {"mode": "standard", "total_max_attempts": TRIES}
    client = boto3.client("sts", config=Config(region_name=region, signature_version=UNSIGNED, retries=retries))
    with explain_errors(f"Taking the role {role}"):
        found = client.assume_role_with_web_identity(
            RoleArn=role,
            RoleSessionName=re.sub(r"[^\w+=,.@-]", "-", login.run, flags=re.ASCII)[-LONGEST_SESSION:],
            WebIdentityToken=login.token,
            DurationSeconds=login.seconds,
        )["Credentials"]
    file = login.folder / FILE
    _write(
        file,
        "[default]\n"
        f"aws_access_key_id = {found['AccessKeyId']}\n"
        f"aws_secret_access_key = {found['SecretAccessKey']}\n"
        f"aws_session_token = {found['SessionToken']}\n",
    )
    # boto3 reads the one, Terraform and the libraries in other languages the other.
    return {"AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_REGION": region, "AWS_DEFAULT_REGION": region}


def _write(file: Path, text: str) -> None:
    """Write a file that nobody else can read, at no moment; one of an earlier login is replaced."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
