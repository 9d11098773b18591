"""Exit codes, and how an error is told."""

from __future__ import annotations

import json
import sys
from typing import Any

from tidegate.errors import (
    AccessDenied,
    Busy,
    Conflict,
    InvalidInput,
    JobFailed,
    NeverFits,
    NotFound,
    ServerUnreachable,
    SettingError,
    TidegateError,
    Unavailable,
)

JOB_FAILED = 1
USAGE = 2
NOT_FOUND = 3
REFUSED = 4
BUSY = 5
UNREACHABLE = 6
NOT_IN_TIME = 124
INTERRUPTED = 130
READER_GONE = 141

_CODES: tuple[tuple[type[TidegateError], int, int], ...] = (
    (JobFailed, JOB_FAILED, 409),
    (SettingError, USAGE, 422),
    (NotFound, NOT_FOUND, 404),
    (InvalidInput, REFUSED, 422),
    (Conflict, REFUSED, 409),
    (AccessDenied, REFUSED, 403),
    (NeverFits, REFUSED, 422),
    (Busy, BUSY, 429),
    (Unavailable, BUSY, 503),
    (ServerUnreachable, UNREACHABLE, 503),
)
"""Kind of error, exit code, and the status that the API gives to such an error, or would."""


def exit_code_of(error: TidegateError) -> int:
    """The exit code of an error; 1 for those without one of their own."""
    return next((code for kind, code, _ in _CODES if isinstance(error, kind)), JOB_FAILED)


def report(error: TidegateError, as_json: bool) -> None:
    """Tell an error on standard error: as a sentence, or as its problem object."""
    if as_json:
        print(json.dumps(problem_of(error), default=str), file=sys.stderr)
    else:
        print(f"Error: {error.message}", file=sys.stderr)


def report_timeout(error: TimeoutError, as_json: bool) -> None:
    """Tell that something has not ended in time."""
    late = TidegateError(str(error) or "It has not ended in time.", code="timeout")
    report(late, as_json)


def _status_of(error: TidegateError) -> int:
    otherwise = 504 if error.code == "timeout" else 500
    return next((status for kind, _, status in _CODES if isinstance(error, kind)), otherwise)


def problem_of(error: TidegateError) -> dict[str, Any]:
    """The server's own problem document, or one like it for an error that was made here."""
    if error.problem is not None:
        return error.problem
    problem: dict[str, Any] = {
        "type": f"urn:tidegate:problem:{error.code}",
        "title": type(error).__name__,
        "status": _status_of(error),
        "detail": error.message,
        "code": error.code,
        "numbers": error.numbers,
    }
    if isinstance(error, JobFailed):
        problem |= {"job_id": error.job_id, "job_status": error.status, "exit": error.exit}
    return problem
