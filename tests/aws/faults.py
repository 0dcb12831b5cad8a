"""Faults that a test asks for: the next calls of an action are refused, as AWS refuses them.

The file that FAULTS names holds a list of {"action", "code", "times"}. botocore asks again after some of the
codes: more times than it does so is what reaches the project.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.core.responses import BaseResponse

_answer = BaseResponse.call_action


def _refuse(action: str) -> None:
    path = Path(os.environ.get("FAULTS", ""))
    if not path.is_file():
        return
    faults = json.loads(path.read_text(encoding="utf-8"))
    for fault in faults:
        if fault["action"] == action and fault["times"] > 0:
            fault["times"] -= 1
            path.write_text(json.dumps(faults), encoding="utf-8")
            raise JsonRESTError(fault["code"], f"asked for by the test: {action}")


def _call(self: BaseResponse) -> Any:
    try:
        _refuse(self._get_action())
    except JsonRESTError as error:
        return 400, dict(error.get_headers()), error.description
    return _answer(self)


def install() -> None:
    """Let every service of the emulator look for faults first."""
    BaseResponse.call_action = _call  # type: ignore[method-assign]
