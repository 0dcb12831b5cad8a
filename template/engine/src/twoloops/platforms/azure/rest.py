"""Azure's REST interface: who is logged in, one request, one change that takes a while, and refusals in words.

Resource Manager answers a change at once, and names the operation that goes on behind it. Its outcome, and the reason
of a failure, are told by that operation alone: `change` waits for it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError, ServiceRequestError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy
from azure.core.rest import HttpRequest, HttpResponse
from azure.identity import CredentialUnavailableError, DefaultAzureCredential

from twoloops.contracts.platform import UntrustedError
from twoloops.errors import ProjectError

MANAGER: Final = "https://management.azure.com"
LEARNING: Final = "Microsoft.MachineLearningServices"
# By provider, the version of the interface that this platform speaks.
VERSIONS: Final[Mapping[str, str]] = {
    LEARNING: "2025-12-01",
    "Microsoft.Insights": "2021-05-01-preview",  # the only one that diagnostic settings have
    "Microsoft.ManagedIdentity": "2023-01-31",
    "Microsoft.Storage": "2023-05-01",
    "Microsoft.ContainerRegistry": "2023-07-01",
    "Microsoft.KeyVault": "2022-07-01",
}
STORED_LOGIN: Final = "TWOLOOPS_AZURE_LOGIN"  # the file in which the verb `login` has left a flow's login
TRIES = 6  # Azure asks to slow down under load, and says for how long
LONGEST_WAIT = 15.0  # seconds between two looks at an operation
OPERATION_SECONDS = 3600.0
FIRST_LOOK = 0.5

MISSING = {"ResourceNotFound", "NotFound", "UserError.NotFound", "ParentResourceNotFound", "ResourceGroupNotFound"}
QUOTA = {"QuotaExceeded", "OutOfQuota", "InsufficientQuota", "SubscriptionQuotaExceeded"}
UNDER_WAY = {"Conflict", "OperationInProgress", "AnotherOperationInProgress", "OperationCanceled"}
WRONG_TENANT = {"InvalidAuthenticationTokenTenant", "SubscriptionNotFound", "InvalidSubscriptionId"}


class BusyError(ProjectError):
    """Somebody else changes the same thing at this moment."""


class OperationError(Exception):
    """An operation has failed, by what the operation itself says."""

    def __init__(self, code: str, message: str) -> None:
        """Keep Azure's code and its words."""
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


@lru_cache
def credential(tenant: str) -> TokenCredential:
    """Return the login that there is: of a flow's job, of a container, or of the person at this machine."""
    if stored := os.environ.get(STORED_LOGIN):
        from twoloops.platforms.azure.login import StoredLogin

        return StoredLogin(Path(stored))
    if not logging.getLogger("twoloops").isEnabledFor(logging.INFO):
        # What each way of logging in found wrong stands in the error; as warnings it would be told twice.
        logging.getLogger("azure.identity").setLevel(logging.ERROR)
    # What a laptop offers beside the command lines would only make a refusal longer to read.
    return DefaultAzureCredential(
        additionally_allowed_tenants=[tenant],
        exclude_interactive_browser_credential=True,
        exclude_shared_token_cache_credential=True,
        exclude_visual_studio_code_credential=True,
    )


@lru_cache
def _client(tenant: str) -> PipelineClient:
    policies = [
        RetryPolicy(retry_total=TRIES - 1, retry_backoff_max=LONGEST_WAIT),
        BearerTokenCredentialPolicy(credential(tenant), f"{MANAGER}/.default"),
    ]
    return PipelineClient(MANAGER, policies=policies)


def _tenant() -> str:
    from twoloops.platforms.azure.account import account

    return account().tenant


def _send(method: str, address: str, body: Any = None, query: Mapping[str, str] | None = None) -> HttpResponse:
    request = HttpRequest(method, address, params=dict(query or {}), json=body)
    response: HttpResponse = _client(_tenant()).send_request(request)
    response.raise_for_status()
    return response


def _version(path: str) -> dict[str, str]:
    provider = path.rpartition("/providers/")[2].partition("/")[0]
    return {"api-version": VERSIONS[provider]}


def ask(method: str, path: str, body: Any = None, version: str | None = None, **query: str) -> Any:
    """Send one request, and return what it answers, if anything.

    Args:
        method: GET, PUT, PATCH or POST.
        path: of the resource, from /subscriptions on; or a page's whole address, as Azure names the next one.
        body: is sent as JSON.
        version: of the interface, where it is not the provider's.
        query: beside the interface's version.
    """
    whole = path.startswith("https://")
    chosen = {"api-version": version} if version else {} if whole else _version(path)
    response = _send(method, path if whole else MANAGER + path, body, chosen | query)
    return response.json() if response.text() else None


def find(path: str) -> dict[str, Any] | None:
    """Return a resource, or None where there is none."""
    try:
        found: dict[str, Any] = ask("GET", path)
    except HttpResponseError as error:
        if is_missing(error):
            return None
        raise
    return found


def pages(path: str, **query: str) -> Iterator[dict[str, Any]]:
    """Yield what a list has, page after page."""
    answer = ask("GET", path, **query)
    while True:
        yield from answer["value"]
        if not answer.get("nextLink"):
            return
        answer = ask("GET", answer["nextLink"])


def change(method: str, path: str, body: Any = None) -> None:
    """Change a resource, and return when that is done.

    Args:
        method: PUT, PATCH or DELETE.
        path: of the resource.
        body: what it is to be.

    Raises:
        OperationError: it was not done.
    """
    response = _send(method, MANAGER + path, body, _version(path))
    address = response.headers.get("Azure-AsyncOperation")
    if address:
        _wait(address)


def _wait(address: str) -> None:
    deadline, pause = time.monotonic() + OPERATION_SECONDS, FIRST_LOOK
    while True:
        response = _send("GET", address)
        found = response.json()
        if found["status"] == "Succeeded":
            return
        if found["status"] in ("Failed", "Canceled"):
            said = found.get("error") or {}
            raise OperationError(said.get("code", found["status"]), said.get("message", "Azure does not say why"))
        if time.monotonic() > deadline:
            raise OperationError("Timeout", f"it has been {found['status']} for {OPERATION_SECONDS / 60:.0f} minutes")
        asked = response.headers.get("Retry-After")
        time.sleep(float(asked) if asked and asked.isdigit() else pause)
        pause = min(1.5 * pause, LONGEST_WAIT)


def _code(error: HttpResponseError) -> str:
    try:
        content: Any = error.response
        return str(content.json()["error"].get("code", ""))
    except (ValueError, KeyError, TypeError, AttributeError):  # what stands between Azure and here answers otherwise
        return ""


def is_missing(error: HttpResponseError) -> bool:
    """Say whether Azure refused because there is no such thing."""
    return error.status_code == 404 and _code(error) not in WRONG_TENANT


def says(error: HttpResponseError, *codes: str) -> bool:
    """Say whether Azure refused with one of these codes."""
    return _code(error) in codes


@contextmanager
def explain_errors(what: str) -> Iterator[None]:
    """Turn what Azure refuses while it is asked for something into an error for people.

    Args:
        what: is done, as in "Making the endpoint".

    Raises:
        ProjectError: Azure refused, or did not answer.
    """
    try:
        yield
    except CredentialUnavailableError as error:
        raise _nobody(what) from error
    except ClientAuthenticationError as error:
        raise _explain_login(what, error) from error
    except HttpResponseError as error:
        raise _explain(what, error) from error
    except OperationError as error:
        raise _explain_operation(what, error) from error
    except ServiceRequestError as error:
        raise ProjectError(
            f"{what}: Azure does not answer: {error.message}",
            hint="Is this machine connected? Then run the same verb again.",
        ) from error
    except AzureError as error:
        raise ProjectError(f"{what}: {error.message}", hint="Run the same verb again.") from error


def _nobody(what: str) -> ProjectError:
    return ProjectError(
        f"{what}: nobody is logged in to Azure.",
        hint="Log in, for example with 'az login'; in a flow, the verb 'login' does it.",
    )


def _explain_login(what: str, error: ClientAuthenticationError) -> ProjectError:
    said = " ".join(str(error.message).split())
    if "AADSTS" not in said:
        if error.response is not None:
            return ProjectError(f"{what}: Azure does not take this login: {said[:300]}", hint="Log in again.")
        return _nobody(what)
    if "AADSTS700024" in said or "AADSTS70043" in said:
        return ProjectError(f"{what}: the login has expired.", hint="Log in again, and run the same verb again.")
    number = said[said.index("AADSTS") :].partition(":")[0]
    if number in ("AADSTS700211", "AADSTS700212", "AADSTS700213"):
        return UntrustedError(
            f"{what}: Azure trusts no token of this job ({number}): {said[:300]}",
            hint="infra/bootstrap names the repository and the environment whose jobs are trusted: apply it again.",
        )
    return ProjectError(f"{what}: Azure does not take this login: {said[:300]}", hint="Log in again.")


def _explain(what: str, error: HttpResponseError) -> ProjectError:
    code, said = _code(error), " ".join(str(error.message).split())[:400]
    if code in WRONG_TENANT:
        return ProjectError(
            f"{what}: this login does not reach the project's subscription: {said}",
            hint="Log in to the tenant that [tool.twoloops.azure] names; or change the answers of the project.",
        )
    if error.status_code == 403:
        return ProjectError(
            f"{what}: the login may not do that: {said}",
            hint="infra/README.md tells which role may do what. A role that was given minutes ago may take some more.",
        )
    if error.status_code == 429:
        return ProjectError(
            f"{what}: Azure asks to slow down, still after {TRIES} tries.",
            hint="Run the same verb again in a few minutes: what is done already is not done twice.",
        )
    return _by_code(what, code, said)


def _explain_operation(what: str, error: OperationError) -> ProjectError:
    return _by_code(what, error.code, error.message)


def _by_code(what: str, code: str, said: str) -> ProjectError:
    if code in QUOTA:
        return ProjectError(
            f"{what}: a quota of the subscription is used up: {said}",
            hint="Request an increase in the portal (Quotas), or take another machine: infra/machines.yaml.",
        )
    if code in UNDER_WAY:
        return BusyError(
            f"{what}: another change of it is under way: {said}",
            hint="Wait for the end of that, some minutes, and run the same verb again. 'status' tells what runs.",
        )
    return ProjectError(f"{what}: Azure refuses it: {code} {said}".rstrip(), hint="infra/README.md tells more.")
