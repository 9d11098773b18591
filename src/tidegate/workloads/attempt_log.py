"""What a function says by `logging`, into the log of its attempt: a JSON object a line, with the fields of the service's log.

It is what `logging` falls back to: from `warning` on, and only where nobody has configured anything, so a function that
does is left alone. Loaded only where `logging` is loaded already.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from tidegate.telemetry.lines import json_line
from tidegate.telemetry.secrets import masked

__all__ = ["install"]


def install(whose: Mapping[str, str]) -> None:
    """From now on, in this process; `whose` are the fields that tell to which job and request a line belongs."""
    logging.lastResort = _Fallback(whose)


class _Fallback(logging.Handler):
    def __init__(self, whose: Mapping[str, str]) -> None:
        super().__init__(logging.WARNING)
        self._whose = whose

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self._line(record)}\n")
        except Exception:  # noqa: BLE001 - a line that cannot be written must not end the function
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        fields = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "module": record.module,
            "function": record.funcName,
            "line": record.lineno,
            **self._whose,
        }
        if record.exc_info:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        return json_line({name: masked(name, value) for name, value in fields.items()})
