"""The structured log: one JSON object a line.

Code logs by `logging.getLogger("tidegate.<room>")`. Only `configure_logging`, called where a program begins, decides
what is shown and where; a program that uses Tidegate as a library keeps its own logging. What belongs to one job or
request is bound around it, and every line inside names it:

    with bound(job_id="81", request_id="f3a9"):
        log.info("started")
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

from tidegate.errors import SettingError

# structlog loads rich and Pygments where it finds them, to print tracebacks in colour. Nothing here prints any, and a server
# pays for them with 5 of its 92 MiB and 0.15 s of its start. Where rich is loaded already, it stays.
_unseen = "rich" not in sys.modules
if _unseen:
    sys.modules["rich"] = None  # type: ignore[assignment]  # makes its import fail
try:
    import structlog
    from structlog.contextvars import bound_contextvars as bound
    from structlog.contextvars import merge_contextvars
    from structlog.typing import EventDict, Processor, WrappedLogger
finally:
    if _unseen:
        del sys.modules["rich"]

__all__ = ["BOUND", "bound", "configure_logging"]


BOUND = ("job_id", "task_id", "user_id", "request_id")
"""Fields that tell what a line belongs to."""

LOG_FILE_BYTES = 10 * 1024 * 1024
LOG_FILES_KEPT = 5

_NOISE = frozenset({"asctime", "color_message"})
"""What other formatters and the HTTP server leave on a record."""

_MASK = "***"
_SECRET_KEY = re.compile(r"authori[sz]ation|api[-_]?key|passw(or)?d|secret|cookie|(^|_)token$", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"(?P<before>(?:authori[sz]ation|api[-_]?key|password|secret|cookie)[\"']?\s*[:=]\s*[\"']?(?:bearer\s+|basic\s+)?"
    r"|\bbearer\s+)(?P<secret>[^\s\"',;&]+)|(?P<user>://[^\s/:@]*:)[^\s/@]+(?=@)",
    re.IGNORECASE,
)


def configure_logging(level: str = "info", file: Path | None = None, json: bool = True) -> None:
    """Log to standard error, and to `file` if given: rotated at 10 MiB, five old ones kept.

    `level` is the least level of Tidegate's own lines and of the HTTP server's; other libraries speak from warning on.
    With `json` each line on standard error is one JSON object, else a short line for people; the file always gets JSON.
    Calling again replaces what was set. Raises SettingError when the file cannot be written.
    """
    handlers: list[logging.Handler] = [_handler(_StreamHandler(sys.stderr), _as_json if json else _as_text)]
    if file is not None:
        handlers.append(_handler(_open_log_file(file), _as_json))
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _StreamHandler | _FileHandler)]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    least = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(least, logging.WARNING))
    logging.getLogger("tidegate").setLevel(least)
    _route_uvicorn(least)
    logging.captureWarnings(True)
    _configure_structlog()


def _route_uvicorn(least: int) -> None:
    """Its lines go the way of all others. Lines for each request only at debug: they would cost more than they tell."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(least)
    if least > logging.DEBUG:
        logging.getLogger("uvicorn.access").setLevel(logging.WARNING)


def _configure_structlog() -> None:
    """Loggers of structlog go through the standard library's, with its levels."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class _Quiet(logging.Handler):
    """A handler that loses a line, not the program, when a disk is full or a pipe is gone."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the standard library's name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _StreamHandler(_Quiet, logging.StreamHandler[TextIO]):
    pass


class _FileHandler(_Quiet, RotatingFileHandler):
    pass


def _open_log_file(file: Path) -> logging.Handler:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return _FileHandler(file, maxBytes=LOG_FILE_BYTES, backupCount=LOG_FILES_KEPT, encoding="utf-8")
    except OSError as error:
        raise SettingError(
            f"The log file {file} cannot be written: {error.strerror}. Name another one by `log_file`, or none."
        ) from None


def _handler(handler: logging.Handler, render: Processor) -> logging.Handler:
    own: Sequence[Processor] = (
        merge_contextvars,
        structlog.stdlib.ExtraAdder(),
        _add_facts,
        structlog.processors.format_exc_info,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        _mask,
        render,
    )
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=own, use_get_message=True))
    return handler


def _add_facts(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """What the record itself knows, in the order that lines are read in. No field of another origin replaces it."""
    record: logging.LogRecord = line["_record"]
    facts = {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": line.pop("event"),
        "module": record.module,
        "function": record.funcName,
        "line": record.lineno,
    }
    return {
        **facts,
        **{name: value for name, value in line.items() if name not in facts and name not in _NOISE},
    }


def _mask(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Whatever looks like a secret becomes `***`."""
    return {name: _masked(name, value) for name, value in line.items()}


def _masked(name: str, value: Any) -> Any:
    if _SECRET_KEY.search(name):
        return _MASK
    if isinstance(value, str):
        return _SECRET_TEXT.sub(lambda found: f"{found['before'] or found['user']}{_MASK}", value)
    if isinstance(value, Mapping):
        return {str(key): _masked(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked("", item) for item in value]
    return value


def _as_json(_: WrappedLogger, __: str, line: EventDict) -> str:
    return json.dumps(line, default=str, ensure_ascii=False, separators=(", ", ": "))


_FACTS = frozenset({"timestamp", "level", "logger", "message", "module", "function", "line", "exception"})


def _as_text(_: WrappedLogger, __: str, line: EventDict) -> str:
    """`14:03:07 info  worker: started 81.1.1  job_id=81`, in UTC like all times here."""
    fields = "".join(f"  {name}={value}" for name, value in line.items() if name not in _FACTS)
    place = line["logger"].removeprefix("tidegate.")
    text = f"{line['timestamp'][11:19]} {line['level']:<7} {place}: {line['message']}{fields}"
    return f"{text}\n{line['exception']}" if "exception" in line else text
