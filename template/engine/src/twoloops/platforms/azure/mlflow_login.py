"""The login to the workspace's MLflow server, as MLflow's client asks for one: its plugin for MLFLOW_TRACKING_AUTH.

MLflow loads every installed plugin, in projects that run elsewhere too: Azure's libraries are loaded when it is used.
"""

from __future__ import annotations

from typing import Any

from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider

from twoloops.platforms.azure import SCHEME


class AzureLogin(RequestAuthProvider):
    """Adds a token to each request; azure-identity renews it."""

    def get_name(self) -> str:
        """Return by which name the variable chooses it."""
        return SCHEME

    def get_auth(self) -> Any:
        """Return what requests calls for each request."""
        from twoloops.platforms.azure.account import account
        from twoloops.platforms.azure.rest import MANAGER, credential

        login = credential(account().tenant)

        def add(request: Any) -> Any:
            request.headers["Authorization"] = f"Bearer {login.get_token(f'{MANAGER}/.default').token}"
            return request

        return add
