"""What a job prints and leaves behind."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tidegate.client.call import Call, Reply
from tidegate.client.calls.parts import (
    API,
    SLOW_READ_S,
    as_nothing,
    as_rows,
    params_of,
    read_file,
    read_page,
    segment,
)
from tidegate.client.shapes import Page, Rows


def logs(
    job_id: str, task: int | None = None, attempt: int | None = None, tail: int | None = None
) -> Call[str]:
    """What an attempt printed; the newest attempt of the first task unless told. `tail`: only so many last lines."""
    return Call(
        "GET",
        f"{API}/jobs/{segment(job_id)}/logs",
        lambda reply: reply.content.decode("utf-8", "replace"),
        params_of(task=task, attempt=attempt, tail=tail),
        headers={"Accept": "text/plain"},
        repeatable=True,
    )


def follow_logs(
    job_id: str, task: int | None, attempt: int | None, last_id: str, tail: int | None = None
) -> Call[Any]:
    """What an attempt prints and has printed, as a stream until its end, behind the place `last_id`; without one, `tail` of
    what is there: so many last lines."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
    path, params = f"{API}/jobs/{segment(job_id)}/logs", params_of(task=task, attempt=attempt, tail=tail)
    return Call("GET", path, Reply.json, params, headers=headers, repeatable=True, read_timeout_s=90.0)


def files(job_id: str, cursor: str | None = None) -> Call[Page]:
    """A page of the files that a job has left behind."""
    return read_page(f"{API}/jobs/{segment(job_id)}/files", cursor=cursor)


def file(job_id: str, name: str) -> Call[None]:
    """One of them, to be streamed."""
    path = f"{API}/jobs/{segment(job_id)}/files/{quote(name)}"
    return Call("GET", path, as_nothing, repeatable=True, read_timeout_s=SLOW_READ_S)


def rows(job_id: str, limit: int, offset: int = 0) -> Call[Rows]:
    """A few rows of a job's result."""
    path = f"{API}/jobs/{segment(job_id)}/result"
    params = params_of(limit=limit, offset=offset)
    return Call("GET", path, as_rows, params, repeatable=True, read_timeout_s=SLOW_READ_S)


def result(job_id: str, format: str) -> Call[None]:
    """A job's whole result as a file, to be streamed."""
    return read_file(f"{API}/jobs/{segment(job_id)}/result", format)


def report(job_id: str, format: str) -> Call[None]:
    """The report of a lint job, to be streamed."""
    return read_file(f"{API}/jobs/{segment(job_id)}/report", format)
