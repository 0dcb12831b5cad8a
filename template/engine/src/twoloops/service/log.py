"""The service's log: one JSON document a line on standard error."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


def log(event: str, **fields: Any) -> None:
    """Write one line.

    Args:
        event: what happened.
        fields: anything else worth knowing; what JSON cannot hold is written as text.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    sys.stderr.write(json.dumps({"time": now, "event": event} | fields, default=str, ensure_ascii=False) + "\n")
    sys.stderr.flush()


@dataclass
class RateLimitedLog:
    """Writes what could happen with every request: the first time, and then once in a while how often."""

    seconds: float = 10.0
    _since: dict[tuple[str, str], float] = field(default_factory=dict)
    _suppressed: Counter[tuple[str, str]] = field(default_factory=Counter)

    def log(self, event: str, about: str, **fields: Any) -> None:
        """Write one line, unless one with this event about the same was written just now."""
        key, now = (event, about), time.monotonic()
        if now - self._since.get(key, -self.seconds) < self.seconds:
            self._suppressed[key] += 1
            return
        self._since[key] = now
        log(event, about=about, **fields, suppressed=self._suppressed.pop(key, 0))


class Lines(logging.Handler):
    """Brings what libraries log into the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as one line."""
        fields: dict[str, Any] = {"level": record.levelname.lower(), "logger": record.name}
        if record.exc_info and record.exc_info[1]:
            fields["error"] = logging.Formatter().formatException(record.exc_info)
        log(record.getMessage().strip(), **fields)
