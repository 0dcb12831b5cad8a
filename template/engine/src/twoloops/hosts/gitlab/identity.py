"""How a token of GitLab names this project: by its path, which infra/ knows."""

from __future__ import annotations

import os

from twoloops.errors import ProjectError

VARIABLE = "CLOUD_TOKEN"


def identifiers() -> dict[str, str]:
    """Return what infra/bootstrap/code_host.tf asks for: nothing."""
    return {}


def token(audience: str) -> str:
    """Return the token that the job's file asks for: GitLab makes it for the audience that stands there, and no other.

    Raises:
        ProjectError: this is no job, or its file asks for no token.
    """
    if found := os.environ.get(VARIABLE):
        return found
    raise ProjectError(
        f"GitLab has given this process no token for {audience}.",
        hint=f"It has to be a job whose file names {VARIABLE} among its id_tokens: .gitlab/ci/cloud.yml.",
    )
