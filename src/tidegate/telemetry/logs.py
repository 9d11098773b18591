"""The structured log: one JSON object a line.

Code logs by `logging.getLogger("tidegate.<room>")`. Only `configure_logging`, called where a program begins, decides
what is shown and where; a program that uses Tidegate as a library keeps its own logging. What belongs to one job or
request is bound around it, and every line inside names it:

    with bound(job_id="81", request_id="f3a9"):
        log.info("started")
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal, TextIO

from tidegate.errors import SettingError
from tidegate.telemetry.lines import json_line, writable
from tidegate.telemetry.secrets import masked

# structlog loads rich, Pygments and colorama where it finds them, to print in colour. Nothing here does, and a server pays for
# them with 5.4 of its 92 MiB and 0.15 s of its start. What is loaded already stays.
_unseen = [name for name in ("rich", "colorama") if name not in sys.modules]
for _name in _unseen:
    sys.modules[_name] = None  # type: ignore[assignment]  # makes its import fail
try:
    import structlog
    from structlog.contextvars import bind_contextvars as bind
    from structlog.contextvars import bound_contextvars as bound
    from structlog.contextvars import merge_contextvars
    from structlog.typing import EventDict, Processor, WrappedLogger
finally:
    for _name in _unseen:
        del sys.modules[_name]

__all__ = ["BOUND", "Stream", "bind", "bound", "configure_logging"]

Stream = Literal["stderr", "stdout"]


BOUND = ("job_id", "task_id", "user_id", "request_id")
"""Fields that tell what a line belongs to."""

LOG_FILE_BYTES = 10 * 1024 * 1024
LOG_FILES_KEPT = 5

_NOISE = frozenset({"asctime", "color_message"})
"""What other formatters and the HTTP server leave on a record."""


def configure_logging(
    level: str = "info", file: Path | None = None, json: bool | None = True, to: Stream = "stderr"
) -> None:
    """Log to standard error or standard output, and to `file` if given: rotated at 10 MiB, five old ones kept.

    `level` is the least level of Tidegate's own lines and of the HTTP server's; other libraries speak from warning on.
    With `json` each line of the stream is one JSON object, else a short line for people; None: that, if it is a terminal. The
    file always gets JSON. Calling again replaces what was set. Raises SettingError when the file cannot be written.
    """
    stream = sys.stdout if to == "stdout" else sys.stderr
    as_json = not stream.isatty() if json is None else json
    handlers: list[logging.Handler] = [_handler(_StreamHandler(stream), _as_json if as_json else _as_text)]
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
    return {name: masked(name, value) for name, value in line.items()}


def _as_json(_: WrappedLogger, __: str, line: EventDict) -> str:
    return json_line(line)


_FACTS = frozenset({"timestamp", "level", "logger", "message", "module", "function", "line", "exception"})


def _as_text(_: WrappedLogger, __: str, line: EventDict) -> str:
    """`14:03:07 info  worker: started 81.1.1  job_id=81`, in UTC like all times here."""
    fields = "".join(f"  {name}={value}" for name, value in line.items() if name not in _FACTS)
    place = line["logger"].removeprefix("tidegate.")
    text = f"{line['timestamp'][11:19]} {line['level']:<7} {place}: {line['message']}{fields}"
    return writable(f"{text}\n{line['exception']}" if "exception" in line else text)
