"""From the server's problem details (RFC 9457) to the errors of `tidegate.errors`, with code and numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tidegate.errors import (
    AccessDenied,
    Busy,
    Conflict,
    InvalidInput,
    NeverFits,
    NotFound,
    TidegateError,
    Unavailable,
)

_BY_CODE: dict[str, type[TidegateError]] = {
    kind.code: kind for kind in (InvalidInput, NotFound, Conflict, NeverFits, Unavailable)
}
_BY_STATUS: dict[int, type[TidegateError]] = {
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    409: Conflict,
    503: Unavailable,
}
_TOP_LEVEL_NUMBERS = ("asked", "limit", "retry_after_s")


def error_from_reply(status: int, headers: Mapping[str, str], content: bytes) -> TidegateError:
    """The error of an answer with status 400 or more. An answer without a problem document gets a plain sentence."""
    try:
        problem = json.loads(content)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": f"The server answered with status {status} and no explanation."}
    after = headers.get("retry-after", "")
    if after.isdigit():
        problem.setdefault("retry_after_s", int(after))
    return error_from_problem({**problem, "status": status})


def error_from_problem(problem: Mapping[str, Any]) -> TidegateError:
    """The error that a problem document speaks of."""
    status, code = int(problem.get("status", 500)), problem.get("code")
    message = str(
        problem.get("detail") or problem.get("title") or f"The server answered with status {status}."
    )
    numbers = _numbers(problem)
    if status == 429 and code != "too_many_failures":
        error: TidegateError = Busy(
            message, retry_after_s=float(numbers.get("retry_after_s", 1)), numbers=numbers
        )
    else:
        error = _class_of(status, code)(message, code=code, numbers=numbers)
    error.problem = dict(problem)
    return error


def _class_of(status: int, code: str | None) -> type[TidegateError]:
    if code == "too_many_failures":
        return AccessDenied
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return InvalidInput if 400 <= status < 500 else TidegateError


def _numbers(problem: Mapping[str, Any]) -> dict[str, Any]:
    numbers = problem.get("numbers")
    found = dict(numbers) if isinstance(numbers, Mapping) else {}
    return {**found, **{name: problem[name] for name in _TOP_LEVEL_NUMBERS if problem.get(name) is not None}}
