"""Who may take which role by a token: moto gives any role to anyone, AWS reads the role's trust policy.

POST /moto-api/logins tells who has taken which role since it was last asked. Signatures are not looked at: on
loopback nobody has an issuer's key.
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from moto.iam.models import iam_backends
from moto.sts.exceptions import STSClientError
from moto.sts.responses import TokenResponse

from .harness import many

_taken: list[dict[str, str]] = []
_give = TokenResponse.assume_role_with_web_identity
_TESTS: dict[str, Callable[[str, str], bool]] = {"StringEquals": str.__eq__, "StringLike": fnmatchcase}


def controlled(request: Any, full_url: str, headers: Any) -> tuple[int, dict[str, str], str]:
    """Tell the roles that were taken, and forget them."""
    told = json.dumps(_taken)
    _taken.clear()
    return 200, {}, told


def _take(self: TokenResponse) -> Any:
    """Give a role to whom its policy trusts, for as long as it may be taken."""
    payload = self._get_param("WebIdentityToken").split(".")[1]
    claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    name = claims["iss"].removeprefix("https://")
    iam = iam_backends[self.current_account][self.partition]
    issuer = iam.open_id_providers.get(f"arn:aws:iam::{self.current_account}:oidc-provider/{name}")
    if issuer is None:
        raise STSClientError("InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {name}")
    if claims["aud"] not in issuer.client_id_list:
        raise STSClientError("InvalidIdentityToken", "Incorrect token audience")
    if claims["exp"] < time.time():
        raise STSClientError("ExpiredTokenException", "Token expired")
    arn = self._get_param("RoleArn")
    role = next((each for each in iam.get_roles() if each.arn == arn), None)
    policy = json.loads(role.assume_role_policy_document) if role else {"Statement": []}
    if role is None or not any(_trusts(each, issuer.arn, name, claims) for each in policy["Statement"]):
        raise STSClientError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
    if self._get_int_param("DurationSeconds", 3600) > int(role.max_session_duration or 3600):
        message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        raise STSClientError("ValidationError", message)
    _taken.append({"role": role.name, "subject": claims["sub"]})
    return _give(self)


def _trusts(statement: dict[str, Any], issuer: str, name: str, claims: dict[str, Any]) -> bool:
    """Say whether a statement lets who has the claims take the role; an unknown kind of condition is an error."""
    if statement["Effect"] != "Allow" or statement["Principal"] != {"Federated": issuer}:
        return False
    return statement["Action"] == "sts:AssumeRoleWithWebIdentity" and all(
        any(_TESTS[kind](claims[key.removeprefix(f"{name}:")], value) for value in many(values))
        for kind, asked in statement["Condition"].items()
        for key, values in asked.items()
    )


LACKING: dict[type, dict[str, Any]] = {TokenResponse: {"assume_role_with_web_identity": _take}}
