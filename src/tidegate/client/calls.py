"""What to send and how to read the answer, as values: nothing here talks to a network.

A builder returns a `Call`; a face sends it and hands the answer to `Call.parse`. Both faces share all of this.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote

from tidegate.client.problems import error_from_problem, error_from_reply
from tidegate.client.shapes import Document, Page, Rows
from tidegate.errors import TidegateError

T = TypeVar("T")
Time: TypeAlias = datetime | str | None
"""An aware instant, or its text, or a day such as `2026-01-31`; None: not said."""
API = "/api/v1"

DEFAULT_READ_S = 30.0
SLOW_READ_S = 600.0
"""For requests whose answer waits for work on whole files: registering, previews, downloads."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: status below 300 or one that the call takes, headers with lower-case names, the body."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The body as JSON. Raises TidegateError when it is none: then it is no Tidegate server that answered."""
        try:
            return json.loads(self.content)
        except ValueError:
            raise TidegateError(
                "The answer is no JSON; is this the address of a Tidegate server?", code="not_tidegate"
            ) from None


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and the reader of its answer.

    `repeatable`: sending it twice does what sending it once does, so it may be sent again after a broken connection.
    `busy_timeout_s`: how long to come back while the server refuses with 429; 0 raises Busy at once.
    """

    method: str
    path: str
    parse: Callable[[Reply], T]
    params: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    read_timeout_s: float = DEFAULT_READ_S
    busy_timeout_s: float = 0.0
    also: frozenset[int] = frozenset()
    """Statuses of errors that are answers of this call too, read by `parse`."""


def _document(reply: Reply) -> Document:
    answer = reply.json()
    if not isinstance(answer, dict):
        raise TidegateError("The answer has an unknown shape; is this the address of a Tidegate server?")
    return answer


def _nothing(reply: Reply) -> None:
    return None


def _page(reply: Reply) -> Page:
    answer = _document(reply)
    return Page(tuple(answer.get("items", ())), answer.get("next_cursor"))


def _rows(reply: Reply) -> Rows:
    return Rows.from_document(_document(reply))


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _params(**fields: object) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items() if value is not None}


def _get(path: str, *, read_timeout_s: float = DEFAULT_READ_S, **params: object) -> Call[Document]:
    return Call("GET", path, _document, _params(**params), repeatable=True, read_timeout_s=read_timeout_s)


def _list(path: str, **params: object) -> Call[Page]:
    return Call("GET", path, _page, _params(**params), repeatable=True)


def _times(since: Time, until: Time) -> dict[str, str | None]:
    """`from` and `to`, which are no names in Python."""
    told = (at.isoformat() if isinstance(at, datetime) else at for at in (since, until))
    return dict(zip(("from", "to"), told, strict=True))


def _segment(text: str) -> str:
    return quote(text, safe="")


# Health


def health() -> Call[Document]:
    """Whether the server lives."""
    return _get("/health", read_timeout_s=3.0)


def ready() -> Call[Document]:
    """Whether the server can work: `checks` by name, null or what is wrong."""
    return _checks(f"{API}/health/ready")


def workers_health() -> Call[Document]:
    """Whether jobs get done: `checks` by name, each with `status` and `message`."""
    return _checks(f"{API}/health/workers")


def _checks(path: str) -> Call[Document]:
    """Checks that fail are an answer, with status 503; a 503 without checks is none."""

    def parse(reply: Reply) -> Document:
        answer = _document(reply)
        if "checks" not in answer:
            raise error_from_reply(reply.status, reply.headers, reply.content)
        return answer

    return Call("GET", path, parse, repeatable=True, also=frozenset({503}))


# Monitoring


def system() -> Call[Document]:
    """CPU, memory and disk of the server's machine, and its process."""
    return _get(f"{API}/monitoring/system")


def pressure() -> Call[Document]:
    """The level of pressure of the server and of all workers, with their readings."""
    return _get(f"{API}/pressure")


def pressure_rules() -> Call[Document]:
    """Which readings lead to which level, and what each level allows."""
    return _get(f"{API}/pressure/rules")


def change_pressure_rules(changes: Mapping[str, Any]) -> Call[Document]:
    """Have this be what differs from the rules of the settings; nothing goes back to them."""
    return Call("PUT", f"{API}/pressure/rules", _document, body=dict(changes), repeatable=True)


def whoami() -> Call[Document]:
    """Owner and role of the key that is sent."""
    return _get(f"{API}/whoami")


# Jobs


def submit(fields: Mapping[str, Any], idempotency_key: str, busy_timeout_s: float = 0.0) -> Call[Document]:
    """Submit one job. The key makes it safe to send again: the server makes one job of one key."""
    body = _given(**fields)
    return Call(
        "POST",
        f"{API}/jobs",
        lambda reply: {
            **_given(**{name: body.get(name) for name in ("kind", "name", "queue")}),
            **_document(reply),
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
        answer = _document(reply)
        return [_accepted_or_refused(item) for item in answer.get("items") or answer.get("jobs") or ()]

    body = {"jobs": [_given(**fields) for fields in jobs]}
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


def job(job_id: str, wait_s: float | None = None) -> Call[Document]:
    """A job as it is; with `wait_s` the answer comes when the job has ended, or after that time."""
    return _get(
        f"{API}/jobs/{_segment(job_id)}", wait_s=wait_s, read_timeout_s=DEFAULT_READ_S + (wait_s or 0.0)
    )


def jobs(
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
    return _list(f"{API}/jobs", **fields, limit=limit, cursor=cursor)


def cancel(job_id: str) -> Call[Document]:
    """Ask for the end of a job. Asking twice changes nothing."""
    return Call("POST", f"{API}/jobs/{_segment(job_id)}/cancel", _document, repeatable=True)


def tasks(job_id: str, state: str | None = None, cursor: str | None = None) -> Call[Page]:
    """A page of a job's tasks, of one state or of all."""
    return _list(f"{API}/jobs/{_segment(job_id)}/tasks", cursor=cursor, state=state)


def task(task_id: str) -> Call[Document]:
    """One task, such as `81.2`."""
    return Call("GET", f"{API}/tasks/{_segment(task_id)}", _document, repeatable=True)


def events(job_id: str, after: int) -> Call[Any]:
    """The events of a job behind number `after`, as a stream that ends with the job."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(after)} if after else {})}
    path = f"{API}/jobs/{_segment(job_id)}/events"
    return Call(
        "GET", path, Reply.json, _params(after=after), headers=headers, repeatable=True, read_timeout_s=90.0
    )


def logs(
    job_id: str, task: int | None = None, attempt: int | None = None, tail: int | None = None
) -> Call[str]:
    """What an attempt printed; the newest attempt of the first task unless told. `tail`: only so many last lines."""
    return Call(
        "GET",
        f"{API}/jobs/{_segment(job_id)}/logs",
        lambda reply: reply.content.decode("utf-8", "replace"),
        _params(task=task, attempt=attempt, tail=tail),
        headers={"Accept": "text/plain"},
        repeatable=True,
    )


def follow_logs(
    job_id: str, task: int | None, attempt: int | None, last_id: str, tail: int | None = None
) -> Call[Any]:
    """What an attempt prints and has printed, as a stream until its end, behind the place `last_id`; without one, `tail` of
    what is there: so many last lines."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
    path, params = f"{API}/jobs/{_segment(job_id)}/logs", _params(task=task, attempt=attempt, tail=tail)
    return Call("GET", path, Reply.json, params, headers=headers, repeatable=True, read_timeout_s=90.0)


def files(job_id: str, cursor: str | None = None) -> Call[Page]:
    """A page of the files that a job has left behind."""
    return _list(f"{API}/jobs/{_segment(job_id)}/files", cursor=cursor)


def file_download(job_id: str, name: str) -> Call[None]:
    """One of them, to be streamed."""
    path = f"{API}/jobs/{_segment(job_id)}/files/{quote(name)}"
    return Call("GET", path, _nothing, repeatable=True, read_timeout_s=SLOW_READ_S)


def result_rows(job_id: str, limit: int, offset: int = 0) -> Call[Rows]:
    """A few rows of a job's result."""
    path = f"{API}/jobs/{_segment(job_id)}/result"
    params = _params(limit=limit, offset=offset)
    return Call("GET", path, _rows, params, repeatable=True, read_timeout_s=SLOW_READ_S)


def result_download(job_id: str, format: str) -> Call[None]:
    """A job's whole result as a file, to be streamed."""
    return _download(f"{API}/jobs/{_segment(job_id)}/result", format)


def _download(path: str, format: str) -> Call[None]:
    return Call("GET", path, _nothing, {"format": format}, repeatable=True, read_timeout_s=SLOW_READ_S)


def query(sql: str, limit: int | None, timeout_s: float | None, memory: int | str | None) -> Call[Rows]:
    """A small query answered in the request itself. It only reads, so it may be sent again."""
    body = _given(sql=sql, limit=limit, timeout_s=timeout_s, memory=memory)
    return Call(
        "POST",
        f"{API}/query",
        _rows,
        body=body,
        repeatable=True,
        read_timeout_s=DEFAULT_READ_S + (timeout_s or 60.0),
    )


def preview_file(file: str, sheet: str | int | None, rows: int, options: Mapping[str, Any]) -> Call[Document]:
    """A look at a file that is to be loaded. It only reads, so it may be sent again."""
    body = {**_given(file=file, sheet=sheet, rows=rows), **options}
    path = f"{API}/ingest/preview"
    return Call("POST", path, _document, body=body, repeatable=True, read_timeout_s=SLOW_READ_S)


# Sources


def _source(name: str) -> str:
    return f"{API}/sources/{_segment(name)}"


def add_source(
    name: str,
    path: str,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    shared: bool = False,
) -> Call[Document]:
    """Register files on the server's machine under a name."""
    body = _given(name=name, path=path, format=format, options=options, shared=shared or None)
    return Call("POST", f"{API}/sources", _document, body=body, read_timeout_s=SLOW_READ_S)


def sources(*, limit: int | None = None, cursor: str | None = None) -> Call[Page]:
    """A page of sources."""
    return _list(f"{API}/sources", limit=limit, cursor=cursor)


def source(name: str) -> Call[Document]:
    """A source with its columns, size and origin."""
    return _get(_source(name))


def delete_source(name: str) -> Call[None]:
    """Forget a source. Files that Tidegate made go with it; files of the user stay."""
    return Call("DELETE", _source(name), _nothing)


def preview_source(name: str, limit: int, offset: int = 0) -> Call[Rows]:
    """A page of a source's rows."""
    path, params = f"{_source(name)}/preview", _params(limit=limit, offset=offset)
    return Call("GET", path, _rows, params, repeatable=True, read_timeout_s=SLOW_READ_S)


def download_source(name: str, format: str) -> Call[None]:
    """A whole source as a file, to be streamed."""
    return _download(f"{_source(name)}/download", format)


def upload_file(
    file_name: str, size_bytes: int, source_name: str | None, overwrite: bool, shared: bool = False
) -> Call[Document]:
    """Send a file's bytes; they become a source named `source_name`, or after the file."""
    return Call(
        "PUT",
        f"{API}/files/{_segment(file_name)}",
        _document,
        _params(
            source_name=source_name,
            overwrite="true" if overwrite else None,
            shared="true" if shared else None,
        ),
        headers={"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream"},
        read_timeout_s=SLOW_READ_S,
    )


def send_file(name: str, size_bytes: int) -> Call[Document]:
    """Send a file's bytes, to be named by a job; they become no source."""
    call = upload_file(name, size_bytes, None, overwrite=False)
    return replace(call, params={**call.params, "source": "false"})


def lint_report(job_id: str, format: str) -> Call[None]:
    """The report of a lint job, to be streamed."""
    return _download(f"{API}/jobs/{_segment(job_id)}/report", format)


# Queues


def _queue(name: str) -> str:
    return f"{API}/queues/{_segment(name)}"


def queues(*, limit: int | None = None, cursor: str | None = None) -> Call[Page]:
    """A page of queues."""
    return _list(f"{API}/queues", limit=limit, cursor=cursor)


def queue(name: str) -> Call[Document]:
    """A queue with its settings and counts."""
    return _get(_queue(name))


def set_queue(name: str, settings: Mapping[str, Any]) -> Call[Document]:
    """Change a queue's settings; those not named stay."""
    return Call("PATCH", _queue(name), _document, body=dict(settings), repeatable=True)


def pause_queue(name: str, paused: bool) -> Call[Document]:
    """Pause a queue (nothing new starts, what runs goes on) or resume it."""
    return Call("POST", f"{_queue(name)}/{'pause' if paused else 'resume'}", _document, repeatable=True)


# Workers


def _worker(worker_id: str) -> str:
    return f"{API}/workers/{_segment(worker_id)}"


def safe_mode() -> Call[Document]:
    """In which mode the service is."""
    return _get(f"{API}/safe-mode")


def enter_safe_mode(reason: str) -> Call[Document]:
    """Start nothing and take nothing in until an operator ends it."""
    return Call("POST", f"{API}/safe-mode/enter", _document, body={"reason": reason}, repeatable=True)


def leave_safe_mode() -> Call[Document]:
    """Start everything again."""
    return Call("POST", f"{API}/safe-mode/leave", _document)


def quarantine(*, limit: int | None = None, cursor: str | None = None) -> Call[Page]:
    """A page of the tasks in quarantine."""
    return _list(f"{API}/quarantine", limit=limit, cursor=cursor)


def quarantined(task_id: str) -> Call[Document]:
    """A task in quarantine, with its attempts."""
    return _get(f"{API}/quarantine/{_segment(task_id)}")


def release_quarantined(task_id: str) -> Call[Document]:
    """Run it again, as a job of its own."""
    return Call("POST", f"{API}/quarantine/{_segment(task_id)}/release", _document)


def workers(*, limit: int | None = None, cursor: str | None = None) -> Call[Page]:
    """A page of workers."""
    return _list(f"{API}/workers", limit=limit, cursor=cursor)


def worker(worker_id: str) -> Call[Document]:
    """A worker: what it offers, what runs there, how it is."""
    return _get(_worker(worker_id))


def tell_worker(worker_id: str, verb: str) -> Call[Document]:
    """`drain`, `resume` or `stop` a worker."""
    return Call("POST", f"{_worker(worker_id)}/{verb}", _document, repeatable=True)


# Keys and the audit trail


def keys(*, limit: int | None = None, cursor: str | None = None) -> Call[Page]:
    """A page of keys."""
    return _list(f"{API}/keys", limit=limit, cursor=cursor)


def create_key(owner: str, role: str, name: str, expires_in_days: float | None) -> Call[Document]:
    """Make a key. Not sent again by itself: each time makes another."""
    body = _given(owner=owner, role=role, name=name or None, expires_in_days=expires_in_days)
    return Call("POST", f"{API}/keys", _document, body=body)


def revoke_key(key_id: str) -> Call[Document]:
    """Let a key open nothing any more. Asking twice changes nothing."""
    return Call("DELETE", f"{API}/keys/{_segment(key_id)}", _document, repeatable=True)


def audit(
    *,
    actor: str | None = None,
    action: str | None = None,
    object: str | None = None,
    since: Time = None,
    until: Time = None,
    cursor: str | None = None,
) -> Call[Page]:
    """A page of the audit trail, the newest first."""
    times = _times(since, until)
    return _list(f"{API}/audit", actor=actor, action=action, object=object, cursor=cursor, **times)


# Usage


def usage(
    by: str,
    since: Time,
    until: Time,
    owner: str | None,
    *,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[Document]:
    """A page of who used how much, with the total."""
    params = _params(by=by, owner=owner, limit=limit, cursor=cursor, **_times(since, until))
    return Call("GET", f"{API}/usage", _document, params, repeatable=True)


def resources(
    since: Time, until: Time, step_s: int | None, place: str | None, *, cursor: str | None = None
) -> Call[Page]:
    """A page of what the machines felt."""
    return _list(f"{API}/usage/resources", step=step_s, place=place, cursor=cursor, **_times(since, until))


# Alerts

_ALERTS = f"{API}/alerts"


def alerts(
    *, state: str | None = None, level: str | None = None, rule: str | None = None, cursor: str | None = None
) -> Call[Page]:
    """A page of alerts, the newest first."""
    return _list(_ALERTS, state=state, level=level, rule=rule, cursor=cursor)


def alert(alert_id: str) -> Call[Document]:
    """An alert with its history."""
    return _get(f"{_ALERTS}/{_segment(alert_id)}")


def acknowledge_alert(alert_id: str, note: str) -> Call[Document]:
    """Say that it is seen. Doing so twice changes nothing."""
    path = f"{_ALERTS}/{_segment(alert_id)}/acknowledge"
    return Call("POST", path, _document, body={"note": note}, repeatable=True)


def silences(cursor: str | None = None) -> Call[Page]:
    """A page of the silences that have not ended."""
    return _list(f"{_ALERTS}/silences", cursor=cursor)


def add_silence(minutes: float, rule: str | None, subject: str | None, reason: str) -> Call[Document]:
    """Keep quiet about something. Not sent again by itself: each time makes another."""
    body = _given(minutes=minutes, rule=rule, subject=subject, reason=reason)
    return Call("POST", f"{_ALERTS}/silences", _document, body=body)


def end_silence(silence_id: str) -> Call[Document]:
    """End one. Doing so twice changes nothing."""
    return Call("DELETE", f"{_ALERTS}/silences/{_segment(silence_id)}", _document, repeatable=True)


def alert_rules(cursor: str | None = None) -> Call[Page]:
    """A page of the rules as they hold."""
    return _list(f"{_ALERTS}/rules", cursor=cursor)


def change_alert_rule(name: str, changes: Mapping[str, float | bool | None]) -> Call[Document]:
    """Change a rule; what is not named stays."""
    return Call("PATCH", f"{_ALERTS}/rules/{_segment(name)}", _document, body=dict(changes), repeatable=True)


def reset_alert_rule(name: str) -> Call[Document]:
    """Put a rule back."""
    return Call("DELETE", f"{_ALERTS}/rules/{_segment(name)}", _document, repeatable=True)


def alert_channels(cursor: str | None = None) -> Call[Page]:
    """A page of the channels."""
    return _list(f"{_ALERTS}/channels", cursor=cursor)


def test_alert_channel(name: str) -> Call[Document]:
    """Send a test message. The answer waits for the channel."""
    path = f"{_ALERTS}/channels/{_segment(name)}/test"
    return Call("POST", path, _document, read_timeout_s=3 * DEFAULT_READ_S)
