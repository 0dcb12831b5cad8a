"""How a token of GitHub names this repository: what infra/bootstrap/code_host.tf asks for."""

from __future__ import annotations

import os

from twoloops.errors import ProjectError
from twoloops.hosts.github import host
from twoloops.hosts.web import Client


def identifiers() -> dict[str, str]:
    """Return the numbers of the repository and its owner, empty where the repository's tokens do not hold them.

    Raises:
        ProjectError: there is no login, or the tokens have a form of their own.
        HostError: GitHub refuses or does not answer.
    """
    github, path = host.client(), f"repos/{host.repository()}"
    form = github.get(f"{path}/actions/oidc/customization/sub")
    if not form["use_default"]:
        raise ProjectError(
            "The tokens of this repository have a subject of another form than GitHub's own, and no role trusts them.",
            hint=f"gh api --method PUT {path}/actions/oidc/customization/sub --field use_default=true",
        )
    if not form.get("use_immutable_subject"):
        return {"owner_id": "", "repository_id": ""}
    found = github.get(path)
    return {"owner_id": str(found["owner"]["id"]), "repository_id": str(found["id"])}


def token(audience: str) -> str:
    """Return a token of this very job.

    Raises:
        ProjectError: this is no job, or it lacks `permissions: id-token: write`.
        HostError: GitHub refuses or does not answer.
    """
    address, key = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"), os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    if not address or not key:
        raise ProjectError(
            "GitHub gives this process no token to log in with.",
            hint="It has to be a job of a flow, with `permissions: id-token: write`.",
        )
    client = Client(
        host.NAME, address, {"Authorization": f"Bearer {key}"}, hint="The job needs `permissions: id-token: write`."
    )
    return str(client.get(address, audience=audience)["value"])
