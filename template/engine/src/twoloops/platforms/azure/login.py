"""A login to Azure by the token of a flow's job: whatever the code host, its token is exchanged for an identity."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from azure.identity import WorkloadIdentityCredential

from twoloops.contracts.platform import Login, role_variable
from twoloops.errors import ProjectError
from twoloops.platforms.azure.account import account
from twoloops.platforms.azure.rest import MANAGER, explain_errors

FILE: Final = "azure-token"


def log_in(login: Login) -> dict[str, str]:
    """Take an identity, and leave the token in a file that only this user can read.

    Args:
        login: the role and the token that says who asks. Azure's own token holds for an hour, whatever was asked for.

    Returns:
        The variables by which azure-identity, Terraform and DVC find the login.

    Raises:
        ProjectError: nothing says which identity it is, or Azure does not give it.
    """
    name = role_variable(login.role)
    client = login.variables.get(name)
    if not client:
        raise ProjectError(
            f"The code host has no variable {name}: what Azure calls the role {login.role} is not known.",
            hint="The verb 'bootstrap' sets it.",
        )
    made, file = account(), login.folder / FILE
    _write(file, login.token)
    with explain_errors(f"Taking the role {login.role}"):
        taken = WorkloadIdentityCredential(tenant_id=made.tenant, client_id=client, token_file_path=str(file))
        taken.get_token(f"{MANAGER}/.default")  # a refusal is told here, and not by a later step
    return {
        "AZURE_TENANT_ID": made.tenant,
        "AZURE_CLIENT_ID": client,
        "AZURE_FEDERATED_TOKEN_FILE": str(file),
        # Terraform's own names of the same.
        "ARM_TENANT_ID": made.tenant,
        "ARM_CLIENT_ID": client,
        "ARM_OIDC_TOKEN_FILE_PATH": str(file),
        "ARM_USE_OIDC": "true",
        "ARM_SUBSCRIPTION_ID": made.subscription,
    }


def _write(file: Path, text: str) -> None:
    """Write a file that nobody else can read, at no moment; one of an earlier login is replaced."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
