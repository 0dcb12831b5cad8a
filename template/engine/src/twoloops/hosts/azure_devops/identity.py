"""How a token of Azure DevOps names this project: what infra/bootstrap/code_host.tf asks for."""

from __future__ import annotations

import os

from twoloops.errors import ProjectError
from twoloops.hosts.azure_devops import host


def identifiers() -> dict[str, str]:
    """Return the identifier of the organization, which is part of the issuer's address.

    Raises:
        ProjectError: there is no login.
        HostError: Azure DevOps refuses or does not answer.
    """
    found = host.client().get(f"{host.place().collection}_apis/connectionData")
    return {"organization_id": found["instanceId"]}


def token(audience: str) -> str:
    """Return the token of the service connection CLOUD_CONNECTION; its audience is always api://AzureADTokenExchange.

    Raises:
        ProjectError: this is no job, or it names no connection.
        HostError: Azure DevOps refuses or does not answer.
    """
    address, connection = os.environ.get("SYSTEM_OIDCREQUESTURI"), os.environ.get("CLOUD_CONNECTION")
    if not address or not connection:
        raise ProjectError(
            f"Azure DevOps gives this process no token for {audience}.",
            hint="It has to be a job that names a service connection: azure-pipelines/templates/cloud.yml.",
        )
    return str(host.client().ask("POST", address, {}, query={"serviceConnectionId": connection})["oidcToken"])
