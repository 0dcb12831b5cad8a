"""Faults that a test asks for: the next calls of an action are refused, as AWS refuses them.

POST /moto-api/faults with a list of {"action", "code", "message", "times"}; `*` stands for every action. botocore
asks again after some of the codes: more times than it does so is what reaches the project.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import BaseResponse
from moto.core.utils import camelcase_to_underscores

_asked: list[dict[str, Any]] = []
_answer = BaseResponse.call_action


class _Refused(ServiceException):
    """A refusal of any service: moto takes an exception of its own module for one of a service of that name."""


def controlled(request: Any, full_url: str, headers: Any) -> tuple[int, dict[str, str], str]:
    """Take what a test asks for, in place of what was asked for before."""
    _asked[:] = json.loads(request.data or b"[]")
    return 200, {}, json.dumps(_asked)


def _call(self: BaseResponse) -> Any:
    """Refuse what is to be refused, as often as it says; else do it."""
    action = self._get_action()
    for fault in _asked:
        if fault["action"] in (action, "*") and fault["times"] > 0:
            fault["times"] -= 1
            setattr(self, camelcase_to_underscores(action), partial(_refuse, fault))
            break
    return _answer(self)


def _refuse(fault: dict[str, Any]) -> None:
    raise _Refused(fault["code"], fault.get("message", fault["code"]))


def install() -> None:
    """Let every service of the emulator look for faults first."""
    BaseResponse.call_action = _call  # type: ignore[method-assign]
