"""Jobs, their tasks and events, and queries that are answered at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.client.call import DEFAULT_READ_S, Call, Reply
from tidegate.client.calls.parts import (
    API,
    SLOW_READ_S,
    as_document,
    as_rows,
    given,
    params_of,
    read,
    read_page,
    segment,
)
from tidegate.client.problems import error_from_problem
from tidegate.client.shapes import Document, Page, Rows
from tidegate.errors import TidegateError


def submit(fields: Mapping[str, Any], idempotency_key: str, busy_timeout_s: float = 0.0) -> Call[Document]:
    """Submit one job. The key makes it safe to send again: the server makes one job of one key."""
    body = given(**fields)
    return Call(
        "POST",
        f"{API}/jobs",
        lambda reply: {
            **given(**{name: body.get(name) for name in ("kind", "name", "queue")}),
            **as_document(reply),
        },
        body=body,
        headers={"Idempotency-Key": idempotency_key},
        repeatable=True,
        busy_timeout_s=busy_timeout_s,
    )


def submit_many(
    jobs: Sequence[Mapping[str, Any]], busy_timeout_s: float = 0.0
) -> Call[list[Document | TidegateError]]:
    """Submit many jobs at once, each accepted or refused by itself, answered in their order."""

    def parse(reply: Reply) -> list[Document | TidegateError]:
        answer = as_document(reply)
        return [_accepted_or_refused(item) for item in answer.get("items") or answer.get("jobs") or ()]

    body = {"jobs": [given(**fields) for fields in jobs]}
    return Call(
        "POST",
        f"{API}/jobs/bulk",
        parse,
        body=body,
        read_timeout_s=SLOW_READ_S,
        busy_timeout_s=busy_timeout_s,
    )


def _accepted_or_refused(item: Document) -> Document | TidegateError:
    if "job_id" in item:
        return item
    return error_from_problem(item.get("problem") or item.get("error") or item)


def get(job_id: str, wait_s: float | None = None) -> Call[Document]:
    """A job as it is; with `wait_s` the answer comes when the job has ended, or after that time."""
    return read(
        f"{API}/jobs/{segment(job_id)}", wait_s=wait_s, read_timeout_s=DEFAULT_READ_S + (wait_s or 0.0)
    )


def page(
    *,
    status: str | None = None,
    kind: str | None = None,
    queue: str | None = None,
    owner: str | None = None,
    order: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[Page]:
    """A page of jobs, the newest first unless the order is `oldest`."""
    fields = {"status": status, "kind": kind, "queue": queue, "owner": owner, "order": order}
    return read_page(f"{API}/jobs", **fields, limit=limit, cursor=cursor)


def cancel(job_id: str) -> Call[Document]:
    """Ask for the end of a job. Asking twice changes nothing."""
    return Call("POST", f"{API}/jobs/{segment(job_id)}/cancel", as_document, repeatable=True)


def tasks(job_id: str, state: str | None = None, cursor: str | None = None) -> Call[Page]:
    """A page of a job's tasks, of one state or of all."""
    return read_page(f"{API}/jobs/{segment(job_id)}/tasks", cursor=cursor, state=state)


def task(task_id: str) -> Call[Document]:
    """One task, such as `81.2`."""
    return Call("GET", f"{API}/tasks/{segment(task_id)}", as_document, repeatable=True)


def events(job_id: str, after: int) -> Call[Any]:
    """The events of a job behind number `after`, as a stream that ends with the job."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(after)} if after else {})}
    path = f"{API}/jobs/{segment(job_id)}/events"
    return Call(
        "GET", path, Reply.json, params_of(after=after), headers=headers, repeatable=True, read_timeout_s=90.0
    )


def query(sql: str, limit: int | None, timeout_s: float | None, memory: int | str | None) -> Call[Rows]:
    """A small query answered in the request itself. It only reads, so it may be sent again."""
    body = given(sql=sql, limit=limit, timeout_s=timeout_s, memory=memory)
    return Call(
        "POST",
        f"{API}/query",
        as_rows,
        body=body,
        repeatable=True,
        read_timeout_s=DEFAULT_READ_S + (timeout_s or 60.0),
    )
