"""The client for programs that wait by blocking."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Unpack

from tidegate.client import calls
from tidegate.client.alerts import Alerts
from tidegate.client.calls.parts import Time
from tidegate.client.connection import Connection
from tidegate.client.job import Job
from tidegate.client.keys import Keys
from tidegate.client.pressure import Pressure
from tidegate.client.queues import Queues
from tidegate.client.recovery import Recovery
from tidegate.client.session import Target, choose_server
from tidegate.client.shapes import Document, Rows
from tidegate.client.sources import Sources
from tidegate.client.submission import IngestFields, SqlFields, body_of, ingest_body, new_key
from tidegate.client.workers import Workers
from tidegate.errors import TidegateError
from tidegate.functions import Function


def connect(
    url: str | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    api_key: str | None = None,
    **settings: Any,
) -> Client:
    """A client of the server at `url` (or `TIDEGATE_URL`); without one, of the server that runs on `data_dir`.

    When none runs, one is started; it ends with `close()` or with this process. `settings` (see docs/settings.md) are
    for a server that is started. `api_key` defaults to `TIDEGATE_API_KEY`.
    Raises ServerUnreachable when a server does not start, InvalidInput for settings that cannot be given.
    """
    return Client(choose_server(url, data_dir, api_key, settings))


class Client(Connection):
    """Speaks to one server; safe to share between threads. Use it as a context manager, or call `close()`."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self.sources = Sources(self)
        self.queues = Queues(self)
        self.keys = Keys(self)
        self.workers = Workers(self)
        self.alerts = Alerts(self)
        self.recovery = Recovery(self)
        self.pressure = Pressure(self)

    def sql(
        self,
        sql: str,
        *,
        idempotency_key: str | None = None,
        busy_timeout_s: float = 0.0,
        **fields: Unpack[SqlFields],
    ) -> Job:
        """Submit a query as a job. See `submit`."""
        body = {"kind": "sql", "sql": sql, **fields}
        return self._submit(body, idempotency_key, busy_timeout_s)

    def ingest(
        self,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        into: str | None = None,
        table: str | None = None,
        idempotency_key: str | None = None,
        busy_timeout_s: float = 0.0,
        **fields: Unpack[IngestFields],
    ) -> Job:
        """Load Excel and CSV files of the server's machine: into the data source `table`, or with `into` a database.

        `into` is the name of a target in the server's settings, or a URL where those are allowed. `{file}` and `{sheet}` may
        stand in `table`. The job has a task for each file and sheet: `job.tasks()`. See docs/ingest.md and `submit`.
        """
        return self._submit(ingest_body(files, into, table, fields), idempotency_key, busy_timeout_s)

    def preview_file(
        self,
        file: str | os.PathLike[str],
        *,
        sheet: str | int | None = None,
        rows: int = 20,
        **options: Any,
    ) -> Document:
        """What `ingest` would load of a file: its sheets, and of one `columns` with types and the first `rows`."""
        return self.send(calls.files.preview(os.fspath(file), sheet, rows, options))

    def submit(
        self,
        what: str | Function[..., Any],
        /,
        *args: Any,
        idempotency_key: str | None = None,
        busy_timeout_s: float = 0.0,
        **fields: Any,
    ) -> Job:
        """Submit a job of any kind, with the kind's own fields beside the common ones (`name`, `queue`, `memory`, ...), or a
        call of a registered function with its arguments: `client.submit(count_words, "to be or not to be")`.

        A key makes repeating the call harmless: one key, one job. When the line is full it is tried again for
        `busy_timeout_s` seconds. Raises Busy, NeverFits, InvalidInput, Conflict.
        """
        return self._submit(body_of(what, args, fields), idempotency_key, busy_timeout_s)

    def _submit(self, body: Mapping[str, Any], key: str | None, busy_timeout_s: float) -> Job:
        return Job(self, self.send(calls.jobs.submit(body, key or new_key(), busy_timeout_s)))

    def submit_many(
        self, jobs: Sequence[Mapping[str, Any]], *, busy_timeout_s: float = 0.0
    ) -> list[Job | TidegateError]:
        """Submit many jobs at once, each a mapping with its `kind`. Answers come in their order: a job or its error."""
        answers = self.send(calls.jobs.submit_many(jobs, busy_timeout_s))
        return [answer if isinstance(answer, TidegateError) else Job(self, answer) for answer in answers]

    def job(self, job_id: str | int) -> Job:
        """A job by its id. Raises NotFound."""
        return Job(self, self.send(calls.jobs.get(str(job_id))))

    def jobs(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        queue: str | None = None,
        owner: str | None = None,
        oldest_first: bool = False,
        page_size: int | None = None,
    ) -> Iterator[Job]:
        """Jobs, the newest first unless told, read page by page as they are iterated."""
        order = "oldest" if oldest_first else None
        pages = self.pages(
            lambda cursor: calls.jobs.page(
                status=status,
                kind=kind,
                queue=queue,
                owner=owner,
                order=order,
                limit=page_size,
                cursor=cursor,
            )
        )
        return (Job(self, document) for document in pages)

    def query(
        self,
        sql: str,
        *,
        limit: int | None = None,
        timeout_s: float | None = None,
        memory: int | str | None = None,
    ) -> Rows:
        """A small query, answered at once and bounded in rows and time; the answer says when a bound was reached."""
        return self.send(calls.jobs.query(sql, limit, timeout_s, memory))

    def audit(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        object: str | None = None,
        since: Time = None,
        until: Time = None,
    ) -> Iterator[Document]:
        """Who did what, the newest first; for operators."""
        return self.pages(
            lambda cursor: calls.keys.audit(
                actor=actor, action=action, object=object, since=since, until=until, cursor=cursor
            )
        )

    def usage(
        self, by: str = "user", *, since: Time = None, until: Time = None, owner: str | None = None
    ) -> Document:
        """Who used how much, by `user`, `queue` or `kind`: all `items` and the `total`, as docs/usage.md shows them.

        Of the jobs that ended from `since` up to `until`, by default in the last 30 days. Operators see all owners, or only
        `owner`; others themselves.
        """
        found = self.send(calls.usage.page(by, since, until, owner))
        while (cursor := found["next_cursor"]) is not None:
            # The time of the first page: what a default means has moved on since.
            more = self.send(calls.usage.page(by, found["from"], found["to"], owner, cursor=cursor))
            found["items"] += more["items"]
            found["next_cursor"] = more["next_cursor"]
        return found

    def resources(
        self, *, since: Time = None, until: Time = None, step_s: int | None = None, place: str | None = None
    ) -> Iterator[Document]:
        """What workers and servers felt, the worst of each step; by default of each hour of the last day."""
        return self.pages(lambda cursor: calls.usage.resources(since, until, step_s, place, cursor=cursor))
