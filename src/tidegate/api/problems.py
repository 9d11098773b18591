"""The one shape of every error: problem details of RFC 9457, as `application/problem+json`.

Beside `type`, `title`, `status` and `detail` a problem has `code` (stable, for programs), `numbers` (the figures of the
detail, under names with their units), and at its top those of `field`, `asked`, `limit`, `retry_after_s` that it has.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tidegate.core.attempt import Exit
from tidegate.errors import (
    AccessDenied,
    Busy,
    Conflict,
    InvalidInput,
    JobFailed,
    NeverFits,
    NotFound,
    TidegateError,
    Unavailable,
)

log = logging.getLogger("tidegate.api")

MEDIA_TYPE = "application/problem+json"
_AT_THE_TOP = ("field", "asked", "limit", "retry_after_s")

TITLES: Mapping[str, tuple[int, str]] = {
    "malformed": (400, "The request cannot be read"),
    "unknown_action": (400, "There is no such action"),
    "unauthenticated": (401, "It takes a valid API key"),
    "forbidden": (403, "The role does not allow it"),
    "cross_origin": (403, "A page of another site may not ask this"),
    "not_found": (404, "There is no such thing"),
    "unknown_source": (404, "There is no such source"),
    "unknown_route": (404, "There is no such route"),
    "no_result": (404, "There is no result"),
    "method_not_allowed": (405, "The route does not take this method"),
    "body_stalled": (408, "The body has not come in time"),
    "conflict": (409, "It clashes with what is there"),
    "file_exists": (409, "There is such a file already"),
    "source_exists": (409, "There is such a source already"),
    "source_changed": (409, "The source was changed meanwhile"),
    "idempotency_key_used": (409, "The idempotency key was used for another request"),
    "job_failed": (409, "The job did not succeed"),
    "not_finished": (409, "The job has not ended yet"),
    "too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body is not of the type that is needed"),
    "range_not_satisfiable": (416, "The file has no such range"),
    "host_not_allowed": (421, "The server does not answer under this name"),
    "invalid_input": (422, "The request asks for something that is not possible"),
    "bad_cursor": (422, "The cursor is not one of this list"),
    "unsupported_format": (422, "The format is not supported"),
    "never_fits": (422, "It can never fit"),
    "slow_files": (422, "The files could not be listed in time"),
    "query_failed": (422, "The query cannot be answered"),
    "time_limit": (422, "It takes longer than its time limit"),
    "memory_limit": (422, "It takes more memory than its limit"),
    "disk_limit": (422, "It takes more scratch disk than its limit"),
    "busy": (429, "The line is full"),
    "pressure": (429, "The server is under pressure"),
    "overloaded": (429, "Too many requests are under way"),
    "rate_limited": (429, "The owner has sent too many requests"),
    "too_many_bytes": (429, "Too many large bodies at a time"),
    "too_many_failures": (429, "Too many wrong keys came from there"),
    "internal": (500, "Something went wrong inside"),
    "safe_mode": (503, "The service is in safe mode"),
    "unavailable": (503, "The service cannot work at the moment"),
    "disk_full": (507, "The disk is full"),
}
"""Code → status and title, of all codes that the API itself gives. Those of errors inside a job are in docs/sql.md."""

_STATUS_OF: tuple[tuple[type[TidegateError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (JobFailed, 409),
    (InvalidInput, 422),
    (NeverFits, 422),
    (Busy, 429),
    (Unavailable, 503),
)


class Refusal(TidegateError):
    """An error that only HTTP knows. Its code, one of `TITLES`, says the status; `status` overrides it."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        numbers: Mapping[str, float | int | str] | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message, code=code, numbers=numbers)
        self.status = status or TITLES[code][0]
        self.headers = dict(headers or {})
        self.more = dict(more or {})


def status_of(error: TidegateError) -> int:
    """The HTTP status of an error; 500 for those that a client cannot have caused."""
    if isinstance(error, Refusal):
        return error.status
    if isinstance(error, AccessDenied):
        return TITLES[error.code][0]
    return next((status for kind, status in _STATUS_OF if isinstance(error, kind)), 500)


def problem_of(error: TidegateError) -> dict[str, Any]:
    """The problem as a JSON object. What stands in an error of status 500 stays inside."""
    status = status_of(error)
    if status == 500:
        return _problem(500, "internal", "The server met an error that it did not expect. Its log says more.")
    more = error.more if isinstance(error, Refusal) else {}
    return _problem(status, error.code, error.message, numbers=error.numbers, more=more)


def problem_response(error: TidegateError) -> Response:
    headers = dict(error.headers) if isinstance(error, Refusal) else {}
    if error.code == "unauthenticated":
        headers["WWW-Authenticate"] = 'Bearer realm="tidegate"'
    if "retry_after_s" in error.numbers:
        headers["Retry-After"] = str(max(1, math.ceil(float(error.numbers["retry_after_s"]))))
    if status_of(error) == 500:
        log.error("A request failed: %s", error, exc_info=error)
    return respond(problem_of(error), headers)


def respond(problem: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    # ASCII only: a detail may quote text that no encoding can carry.
    body = json.dumps(problem, separators=(",", ":")).encode("ascii")
    return Response(body, problem["status"], headers, MEDIA_TYPE)


def internal_problem() -> dict[str, Any]:
    """What a client is told of an error that nobody foresaw."""
    return _problem(500, "internal", "The server met an error that it did not expect. Its log says more.")


def invalid(errors: Sequence[Any]) -> Refusal:
    """From the findings of pydantic: one problem that names the field, with all findings under `errors`."""
    findings = [
        {"field": ".".join(map(str, e["loc"])), "message": e["msg"].removeprefix("Value error, ")}
        for e in errors
    ]
    detail = "; ".join(f"{f['field']}: {f['message']}" if f["field"] else f["message"] for f in findings[:5])
    return Refusal(
        "invalid_input",
        f"{detail}.",
        numbers={"field": findings[0]["field"]},
        more={"errors": findings[:50]},
    )


def exit_numbers(exit: Exit | None) -> dict[str, float | int | str]:
    """Limit, observed and reason of a job's end, for the numbers of a problem."""
    if exit is None:
        return {}
    given = {
        "reason": exit.reason.value,
        "limit": exit.limit,
        "observed": exit.observed,
        "enforced_by": exit.enforced_by,
    }
    return {name: value for name, value in given.items() if value is not None}


def add_handlers(app: FastAPI) -> None:
    """Give every error that a route, the router or the validation raises the one shape."""
    app.add_exception_handler(TidegateError, _on_tidegate_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_unforeseen)


async def _on_tidegate_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TidegateError)
    return problem_response(error)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # A location such as ("query", "limit") starts with where the value stood.
    return problem_response(invalid([{**found, "loc": found["loc"][1:]} for found in error.errors()]))


async def _on_unforeseen(request: Request, error: Exception) -> Response:
    """Raised on by Starlette after it is answered; the guard logs it."""
    return respond(internal_problem())


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    method, path = request.method, request.url.path
    if error.status_code == 404:
        return problem_response(
            Refusal("unknown_route", f"There is no route {path!r:.200}. /openapi.json lists those there are.")
        )
    if error.status_code == 405:
        allowed = headers["Allow"] = _methods_of(request.app, path) or headers.get("Allow", "")
        detail = f"{path!r:.200} does not take {method}" + (f", but {allowed}." if allowed else ".")
        return problem_response(Refusal("method_not_allowed", detail, headers=headers))
    code = "malformed" if error.status_code < 500 else "unavailable"
    return problem_response(Refusal(code, str(error.detail), status=error.status_code, headers=headers))


def _methods_of(app: FastAPI, path: str) -> str:
    """All methods that a path takes. Starlette names those of the first route alone, and a path may have several."""
    parts = path.split("/")
    found: set[str] = set()
    for template, operations in app.openapi()["paths"].items():
        names = template.split("/")
        if len(names) == len(parts) and all(
            name == part or name.startswith("{") for name, part in zip(names, parts, strict=True)
        ):
            found |= {method.upper() for method in operations}
    return ", ".join(sorted(found))


def _problem(
    status: int,
    code: str,
    detail: str,
    *,
    numbers: Mapping[str, float | int | str] | None = None,
    more: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    figures = {name: _finite(value) for name, value in (numbers or {}).items()}
    family = {404: "not_found", 409: "conflict", 422: "invalid_input", 429: "busy", 503: "unavailable"}.get(
        status, ""
    )
    title = TITLES[code][1] if code in TITLES else TITLES.get(family, (0, "The request failed"))[1]
    return {
        "type": f"urn:tidegate:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        **{name: figures[name] for name in _AT_THE_TOP if name in figures},
        "numbers": figures,
        **(more or {}),
    }


def _finite(value: float | int | str) -> float | int | str:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
