"""The way to an endpoint: requests with a token, of which Azure ML brings only predictions to the service."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import requests

from twoloops.contracts.client import JSON, Answer, SilentError
from twoloops.errors import ProjectError
from twoloops.platforms.azure import rest
from twoloops.platforms.azure.account import account
from twoloops.platforms.azure.rest import explain_errors

# Azure ML calls the service at /invocations, which understands what /predict does.
REACHED = ("/predict", "/invocations")
AUDIENCE = "https://ml.azure.com/.default"
TIMEOUT_SECONDS = (10, 60)  # to connect, to answer
DEPLOYMENT = "azureml-model-deployment"  # asks one deployment, whatever share of the requests it has
# The front's own words for a container's answer that is not 200, and for what never came to a container:
# https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes
MODEL_ERROR, MODEL_STATUS = 424, "ms-azureml-model-error-statuscode"
NOT_NOW = (408, 429, 502, 503, 504)
BUSY_NOW = 503


@dataclass(frozen=True)
class Endpoint:
    """Where an environment's service answers."""

    url: str
    deployment: str | None = None  # this one alone is asked

    def reaches(self, path: str) -> bool:
        """Say whether a route of the service can be asked from here."""
        return path in REACHED

    def connect(self) -> Client:
        """Return a connection."""
        return Client(self)


class Client:
    """Sends requests to an endpoint; not to be shared by threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Keep where to send."""
        self._endpoint = endpoint
        self._session = requests.Session()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._session.close()

    def send(self, method: str, path: str, content: bytes | None = None, kind: str = JSON, **headers: str) -> Answer:
        """Send one request and wait for the service's answer, whatever its status.

        Args:
            method: POST.
            path: /predict or /invocations.
            content: the body.
            kind: the body's content type.
            headers: further headers; an underscore stands for a hyphen.

        Raises:
            SilentError: nobody answers, or not in time.
            ProjectError: the login may not send it, or has expired.
        """
        if method != "POST" or path not in REACHED:
            raise ValueError(f"Azure ML does not bring {method} {path} to a service")
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Type": kind}
        if self._endpoint.deployment:
            sent[DEPLOYMENT] = self._endpoint.deployment
        with explain_errors("Logging in to the endpoint"):
            sent["Authorization"] = f"Bearer {rest.credential(account().tenant).get_token(AUDIENCE).token}"
        try:
            said = self._session.post(self._endpoint.url, data=content or b"", headers=sent, timeout=TIMEOUT_SECONDS)
        except requests.RequestException as error:
            raise SilentError(
                f"{self._endpoint.url} does not answer: {error}", hint="The verb 'status' tells what runs where."
            ) from error
        return self._read(said)

    def _read(self, said: requests.Response) -> Answer:
        headers = {name.lower(): value for name, value in said.headers.items()}
        if said.status_code == MODEL_ERROR and MODEL_STATUS in headers:
            return Answer(int(headers[MODEL_STATUS]), headers, said.content)
        if said.status_code in (401, 403):
            raise ProjectError(
                f"The login may not ask {self._endpoint.url} ({said.status_code}).",
                hint="It needs the action onlineEndpoints/score/action: callers in infra/README.md.",
            )
        if said.status_code in NOT_NOW:
            words = f"Azure ML asks to come back: {said.status_code} {said.reason}"
            return Answer(BUSY_NOW, {"retry-after": "1"}, json.dumps({"error": words, "details": []}).encode())
        if said.status_code == 404:
            raise SilentError(
                f"{self._endpoint.url} has no deployment that takes requests.",
                hint="The verb 'status' tells what runs where.",
            )
        return Answer(said.status_code, headers, said.content)
