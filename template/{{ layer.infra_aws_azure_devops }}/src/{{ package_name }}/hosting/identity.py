"""How a token of Azure DevOps names this project: what infra/bootstrap/code_host.tf asks for."""

from __future__ import annotations

from . import host


def identifiers() -> dict[str, str]:
    """Return the identifier of the organization, which is part of the issuer's address.

    Raises:
        ProjectError: there is no login.
        HostError: Azure DevOps refuses or does not answer.
    """
    found = host.client().get(f"{host.place().collection}_apis/connectionData")
    return {"organization_id": found["instanceId"]}
