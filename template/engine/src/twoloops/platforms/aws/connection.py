"""The way to an endpoint: signed requests, of which SageMaker brings only predictions to the service."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import boto3
from botocore import exceptions
from botocore.config import Config

from twoloops.contracts.client import JSON, Answer, SilentError
from twoloops.platforms.aws.account import BUSY, account, explain_errors

# SageMaker calls the service at /invocations, which understands what /predict does.
REACHED = ("/predict", "/invocations")
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
LARGEST_BODY = 6_291_456  # bytes
TOO_LARGE, BUSY_NOW = 413, 503
NOT_NOW = BUSY | {"ServiceUnavailable", "ServiceUnavailableException", "ModelNotReadyException"}
REQUEST_ID = "X_Request_ID"
# One try: who measures a service must see each failure, and who calls it knows best when to come back.
CONFIG = Config(
    retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=10, max_pool_connections=64, tcp_keepalive=True
)


def _runtime() -> Any:
    """Return boto3's client: it signs, renews the login, keeps connections open, and may be shared by threads."""
    return _runtime_in(account().region)


@lru_cache
def _runtime_in(region: str) -> Any:
    return boto3.client("sagemaker-runtime", region_name=region, config=CONFIG)


@dataclass(frozen=True)
class Endpoint:
    """Where an environment's service answers."""

    name: str

    @property
    def url(self) -> str:
        """The address, for people."""
        return f"{_runtime().meta.endpoint_url}/endpoints/{self.name}/invocations"

    def reaches(self, path: str) -> bool:
        """Say whether a route of the service can be asked from here."""
        return path in REACHED

    def connect(self) -> Client:
        """Return a connection."""
        return Client(self.name, _runtime())


@dataclass(frozen=True)
class Client:
    """Sends requests to an endpoint."""

    name: str
    runtime: Any

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the connections to the next one."""

    def send(self, method: str, path: str, content: bytes | None = None, kind: str = JSON, **headers: str) -> Answer:
        """Send one request and wait for the service's answer, whatever its status.

        Args:
            method: POST.
            path: /predict or /invocations.
            content: the body.
            kind: the body's content type.
            headers: X_Request_ID reaches the service, and nothing else.

        Raises:
            SilentError: nobody answers, or not in time.
            ProjectError: the login may not send it, or has expired.
        """
        if method != "POST" or path not in REACHED:
            raise ValueError(f"SageMaker does not bring {method} {path} to a service")
        body = content or b""
        if len(body) > LARGEST_BODY:
            return _refusal(TOO_LARGE, f"The body is larger than the {LARGEST_BODY:,} bytes that SageMaker takes.")
        # SageMaker hands on this header alone: the service takes the request's identifier from it.
        along = {"CustomAttributes": headers[REQUEST_ID]} if REQUEST_ID in headers else {}
        with explain_errors(f"Asking the endpoint {self.name}"):
            try:
                said = self.runtime.invoke_endpoint(EndpointName=self.name, Body=body, ContentType=kind, **along)
                return Answer(said["ResponseMetadata"]["HTTPStatusCode"], _headers(said), said["Body"].read())
            except exceptions.ClientError as error:
                answer = _answer(error.response)
                if answer is None:
                    raise
                return answer
            except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
                raise SilentError(
                    f"The endpoint {self.name} does not answer: {error}",
                    hint="The verb 'status' tells what runs where.",
                ) from error


def _answer(refused: Any) -> Answer | None:
    """Return the service's own answer, or one that asks to come back; None where the request never came that far."""
    code = refused["Error"]["Code"]
    if code == "ModelError":
        return Answer(refused["OriginalStatusCode"], {}, refused.get("OriginalMessage", "").encode())
    if code in NOT_NOW:
        return _refusal(BUSY_NOW, f"SageMaker asks to come back: {refused['Error'].get('Message', code)}")
    return None


def _refusal(status: int, error: str) -> Answer:
    """Return an answer as the service words its own."""
    return Answer(status, {"retry-after": "1"}, json.dumps({"error": error, "details": []}).encode())


def _headers(said: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in said["ResponseMetadata"]["HTTPHeaders"].items()}
