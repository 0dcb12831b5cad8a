"""Azure's registry of images: logins by the identity, without a user of the registry's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azure.core import PipelineClient
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import RetryPolicy
from azure.core.rest import HttpRequest

from twoloops.platforms.azure import rest
from twoloops.platforms.azure.account import account, check_made
from twoloops.platforms.azure.rest import explain_errors
from twoloops.platforms.shared import images
from twoloops.platforms.shared.images import SERVE

__all__ = ["SERVE", "ContainerRegistry", "push", "reference"]
# By which a registry knows that the password is a token: https://learn.microsoft.com/azure/container-registry
NOBODY = "00000000-0000-0000-0000-000000000000"


class ContainerRegistry:
    """The project's repository in the subscription's registry."""

    @property
    def _host(self) -> str:
        return f"{check_made().registry}.azurecr.io"

    @property
    def _name(self) -> str:
        return check_made().project

    @property
    def repository(self) -> str:
        """HOST/NAME."""
        return f"{self._host}/{self._name}"

    def find_digest(self, tag: str) -> str | None:
        """Return the digest of the image with this tag, or None."""
        with explain_errors(f"Looking for the image {tag}"):
            asked = {
                "grant_type": "refresh_token",
                "service": self._host,
                "scope": f"repository:{self._name}:pull,metadata_read",
                "refresh_token": self._exchange(),
            }
            token = self._ask("POST", "/oauth2/token", asked)["access_token"]
            try:
                found = self._ask("GET", f"/acr/v1/{self._name}/_tags/{tag}", token=token)
            except HttpResponseError as error:
                if error.status_code == 404:
                    return None
                raise
        return str(found["tag"]["digest"])

    def log_in(self) -> tuple[str, str]:
        """Return a user and a password, which last for hours."""
        with explain_errors("Logging in to the registry"):
            return NOBODY, self._exchange()

    def _exchange(self) -> str:
        tenant = account().tenant
        token = rest.credential(tenant).get_token(f"{rest.MANAGER}/.default").token
        asked = {"grant_type": "access_token", "service": self._host, "tenant": tenant, "access_token": token}
        return str(self._ask("POST", "/oauth2/exchange", asked)["refresh_token"])

    def _ask(self, method: str, path: str, form: dict[str, str] | None = None, token: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = HttpRequest(method, f"https://{self._host}{path}", data=form, headers=headers)
        client: Any = PipelineClient(f"https://{self._host}", policies=[RetryPolicy(retry_total=rest.TRIES - 1)])
        response = client.send_request(request)
        response.raise_for_status()
        return response.json()


def reference(kind: str) -> str:
    """Return the image of this very code, by its digest.

    Args:
        kind: images.SERVE or images.TRAIN.

    Raises:
        ProjectError: nobody has pushed it.
    """
    return images.reference(ContainerRegistry(), kind)


def push(engine: str | None, tell: Callable[[str], None]) -> dict[str, str]:
    """Build and push the images that the registry lacks; `shared.images.push` tells more."""
    return images.push(ContainerRegistry(), engine, tell)
