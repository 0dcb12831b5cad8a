"""Who has asked AWS for what, since a test last asked: POST /moto-api/calls tells it, and forgets it.

Who asks is the key of the login. moto takes any, so a test that uses the name of a role as its key sees afterwards what
this role has to be allowed; what runs for a role on AWS's side, a step or a service, has the role's name as well.
"""

from __future__ import annotations

import json
import re
from typing import Any

from moto.core.authorization import ActionAuthenticatorMixin

_LOGIN = re.compile(r"Credential=([^/]+)/\d+/[^/]*/([^/]+)/")
_SERVICES = {"monitoring": "cloudwatch"}  # where IAM has another name than a signature
_asked: set[tuple[str, str, str]] = set()
_authorize = ActionAuthenticatorMixin._authenticate_and_authorize_action


def controlled(request: Any, full_url: str, headers: Any) -> tuple[int, dict[str, str], str]:
    """Tell the calls, each once: the key, the action as IAM names it, and of S3 the resource."""
    told = [{"key": key, "action": action, "resource": resource} for key, action, resource in sorted(_asked)]
    _asked.clear()
    return 200, {}, json.dumps(told)


def _note(self: Any, kind: type, resource: str = "*") -> None:
    """Note a call, where moto would look whether it is allowed."""
    found = _LOGIN.search(self.headers.get("Authorization", ""))
    if found:
        service = _SERVICES.get(found[2], found[2])
        action = self.data["Action"] if service == "s3" else self._get_action()
        _asked.add((found[1], f"{service}:{action}", resource if service == "s3" else ""))
    _authorize(self, kind, resource)


def install() -> None:
    """Let every service of the emulator note its calls."""
    ActionAuthenticatorMixin._authenticate_and_authorize_action = _note  # type: ignore[assignment,method-assign]
