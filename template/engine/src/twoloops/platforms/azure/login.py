"""A login to Azure by the token of a flow's job: whatever the code host, its token is exchanged for an identity.

A code host's token holds for minutes, what Azure gives for it an hour or so. Each verb of a job is a process of its
own, so what Azure has given is kept in a file until it ends. Then the code host is asked for another token, as far as
it gives one: a training may take longer than an hour.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Final

from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientAssertionCredential

from twoloops import config, plugins
from twoloops.contracts.platform import Login, role_variable
from twoloops.errors import ProjectError
from twoloops.platforms.azure.account import account
from twoloops.platforms.azure.rest import MANAGER, STORED_LOGIN, explain_errors

TOKEN, LOGIN = "azure-token", "azure-login.json"
SCOPES: Final = (f"{MANAGER}/.default", "https://storage.azure.com/.default", "https://ml.azure.com/.default")
SPARE_SECONDS = 300  # a token is taken for ended before it is
ENDED = "AADSTS700024"


def log_in(login: Login) -> dict[str, str]:
    """Take an identity, and leave what Azure gives in files that only this user can read.

    Args:
        login: the role and the token that says who asks. Azure says for how long its own tokens hold.

    Returns:
        The variables by which the verbs, Terraform and DVC find the login.

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
    made, file, stored = account(), login.folder / TOKEN, login.folder / LOGIN
    with explain_errors(f"Taking the role {login.role}"):
        taken = ClientAssertionCredential(made.tenant, client, lambda: login.token)
        tokens = {scope: taken.get_token(scope) for scope in SCOPES}
    known = {scope: {"token": each.token, "expires_on": each.expires_on} for scope, each in tokens.items()}
    _write(stored, json.dumps({"tenant": made.tenant, "client": client, "role": login.role, "tokens": known}))
    _write(file, login.token)
    return {
        STORED_LOGIN: str(stored),
        # What azure-identity, pyarrow and DVC read, and Terraform's names of the same.
        "AZURE_TENANT_ID": made.tenant,
        "AZURE_CLIENT_ID": client,
        "AZURE_FEDERATED_TOKEN_FILE": str(file),
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


class StoredLogin:
    """The login of a flow's job, in the form in which azure-core asks for one."""

    def __init__(self, file: Path) -> None:
        """Read what `log_in` has left."""
        self._content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Return a token that holds for some minutes more.

        Args:
            scopes: one, for whom it is.

        Raises:
            ClientAuthenticationError: what Azure gave has ended, and the code host gives no other token.
        """
        (scope,) = scopes
        kept = self._content["tokens"].get(scope)
        if kept is None or kept["expires_on"] - SPARE_SECONDS < time.time():
            renewed = ClientAssertionCredential(self._content["tenant"], self._content["client"], self._ask_host)
            taken = renewed.get_token(scope)
            kept = self._content["tokens"][scope] = {"token": taken.token, "expires_on": taken.expires_on}
        return AccessToken(kept["token"], kept["expires_on"])

    def _ask_host(self) -> str:
        from twoloops.platforms.azure import audience

        host = plugins.find("hosts", config.current().host)  # by its contract; which one it is, nothing here knows
        try:
            return str(host.token(audience(self._content["role"])))
        except ProjectError as error:
            raise ClientAuthenticationError(f"{ENDED}: the login has ended, and {error}") from error
