"""What the emulator knows: resources, operations, logins, what was asked, and what a test wants of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
TENANT = "11111111-1111-1111-1111-111111111111"
SUBSCRIPTION = "22222222-2222-2222-2222-222222222222"
REGION = "westeurope"
LEARNING = "Microsoft.MachineLearningServices"
SECRET = b"only of this process"


@dataclass
class Control:
    """What the control route sets."""

    seconds: float = 0.1  # that an operation takes, beside what a service needs to come up
    command: list[str] = field(default_factory=list)  # serves the folder that is appended, with --port PORT
    folder: str = "."  # of the command, and of steps
    python: str = "python"  # runs steps
    fail_next: list[str] = field(default_factory=list)  # code and message with which the next deployment fails
    refuse: list[Json] = field(default_factory=list)  # {action, status, code, message, times}
    taken: list[str] = field(default_factory=list)  # names that somebody else in the world has
    rights: list[Json] = field(default_factory=list)  # {who, scope, actions}; without any, all is allowed


@dataclass
class State:
    """Everything, by the resource's path in lower case."""

    control: Control = field(default_factory=Control)
    resources: dict[str, Json] = field(default_factory=dict)
    operations: dict[str, Json] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    calls: list[Json] = field(default_factory=list)
    trusted: list[Json] = field(default_factory=list)  # {client_id, issuer, subject}
    images: dict[str, dict[str, str]] = field(default_factory=dict)  # by repository, tags with digests


state = State()


def key(path: str) -> str:
    return re.sub(r"/+", "/", path).rstrip("/").lower()


def now() -> str:
    return datetime.now(UTC).isoformat()


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


HEAD = _part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())


def mint(principal: str, audience: str) -> str:
    """Return a token as Entra's look; the storage emulator reads issuer, audience and times, and no signature."""
    moment = int(time.time())
    claims = {
        "iss": f"https://sts.windows.net/{TENANT}/",
        "aud": audience,
        "iat": moment,
        "nbf": moment - 10,
        "exp": moment + 3600,
        "oid": principal,
        "appid": principal,
        "tid": TENANT,
        "ver": "1.0",
    }
    body = f"{HEAD}.{_part(json.dumps(claims).encode())}"
    return f"{body}.{_part(hmac.new(SECRET, body.encode(), hashlib.sha256).digest())}"


def read(token: str) -> Json:
    """Return what a token says, without looking at its signature: tests sign none."""
    content = token.split(".")[1]
    claims: Json = json.loads(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))
    return claims


def who_is(header: str | None) -> Json | None:
    """Return what a token of this emulator says of who asks; None where it is none, or has expired."""
    token = (header or "").removeprefix("Bearer ")
    body, _, signature = token.rpartition(".")
    if not body or signature != _part(hmac.new(SECRET, body.encode(), hashlib.sha256).digest()):
        return None
    claims = read(token)
    return claims if claims["exp"] > time.time() else None
