"""The service's log: one JSON document a line on standard error."""

from __future__ import annotations

import json
import logging
import sys
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


class Lines(logging.Handler):
    """Brings what libraries log into the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as one line."""
        fields: dict[str, Any] = {"level": record.levelname.lower(), "logger": record.name}
        if record.exc_info and record.exc_info[1]:
            fields["error"] = logging.Formatter().formatException(record.exc_info)
        log(record.getMessage().strip(), **fields)
