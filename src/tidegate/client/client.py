"""The client for programs that wait by blocking."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, Unpack

import httpx2

from tidegate.client import calls
from tidegate.client.alerts import Alerts
from tidegate.client.calls import Call, Reply, Time
from tidegate.client.files import CHUNK_BYTES, LineSplitter, file_to_upload, format_of, whole_file
from tidegate.client.http import check, client_options, connection_errors, request_options
from tidegate.client.job import Job
from tidegate.client.keys import Keys
from tidegate.client.pressure import Pressure
from tidegate.client.recovery import Recovery
from tidegate.client.retry import OnWait, Patience, wait_silently
from tidegate.client.session import Target, choose_server
from tidegate.client.shapes import Document, Page, Rows
from tidegate.client.submission import IngestFields, SqlFields, body_of, ingest_body, new_key
from tidegate.client.throttle import Throttle
from tidegate.client.views import Queue, Source, Worker
from tidegate.errors import Busy, ServerUnreachable, TidegateError, Unavailable
from tidegate.functions import Function

T = TypeVar("T")


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


class Client:
    """Speaks to one server; safe to share between threads. Use it as a context manager, or call `close()`."""

    def __init__(self, target: Target) -> None:
        self.url = target.url
        self.sources = Sources(self)
        self.queues = Queues(self)
        self.keys = Keys(self)
        self.workers = Workers(self)
        self.on_wait: OnWait = wait_silently
        """Called before each pause of a request that the server has refused for now."""
        self._throttle = Throttle(time.monotonic, random.random)
        self.alerts = Alerts(self)
        self.recovery = Recovery(self)
        self.pressure = Pressure(self)
        self._server = target.server
        self._http = httpx2.Client(**client_options(target.url, target.api_key))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and end the server if it was started for this client."""
        self._http.close()
        if self._server is not None:
            self._server.stop()

    @property
    def started_server(self) -> bool:
        """Whether the server was started for this client and ends with it."""
        return self._server is not None

    @property
    def is_local(self) -> bool:
        """Whether the server's files are files of this machine."""
        return self._http.base_url.host in ("127.0.0.1", "::1", "localhost")

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
        return self.send(calls.preview_file(os.fspath(file), sheet, rows, options))

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
        return Job(self, self.send(calls.submit(body, key or new_key(), busy_timeout_s)))

    def submit_many(
        self, jobs: Sequence[Mapping[str, Any]], *, busy_timeout_s: float = 0.0
    ) -> list[Job | TidegateError]:
        """Submit many jobs at once, each a mapping with its `kind`. Answers come in their order: a job or its error."""
        answers = self.send(calls.submit_many(jobs, busy_timeout_s))
        return [answer if isinstance(answer, TidegateError) else Job(self, answer) for answer in answers]

    def job(self, job_id: str | int) -> Job:
        """A job by its id. Raises NotFound."""
        return Job(self, self.send(calls.job(str(job_id))))

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
            lambda cursor: calls.jobs(
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
        return self.send(calls.query(sql, limit, timeout_s, memory))

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
            lambda cursor: calls.audit(
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
        found = self.send(calls.usage(by, since, until, owner))
        while (cursor := found["next_cursor"]) is not None:
            # The time of the first page: what a default means has moved on since.
            more = self.send(calls.usage(by, found["from"], found["to"], owner, cursor=cursor))
            found["items"] += more["items"]
            found["next_cursor"] = more["next_cursor"]
        return found

    def resources(
        self, *, since: Time = None, until: Time = None, step_s: int | None = None, place: str | None = None
    ) -> Iterator[Document]:
        """What workers and servers felt, the worst of each step; by default of each hour of the last day."""
        return self.pages(lambda cursor: calls.resources(since, until, step_s, place, cursor=cursor))

    # How calls are carried out: for jobs, results, sources and queues.

    def send(self, call: Call[T]) -> T:
        """Carry out one call, again where that is safe, and read its answer."""
        patience = Patience(call, self._throttle)
        while True:
            try:
                patience.check()
                return call.parse(self._heard(patience))
            except (ServerUnreachable, Busy, Unavailable) as error:
                pause_s = patience.pause_after(error)
                if pause_s is None:
                    raise
                self.on_wait(pause_s, error)
            time.sleep(pause_s)

    def _heard(self, patience: Patience[Any]) -> Reply:
        """One try, counted."""
        try:
            reply = self._exchange(patience.call)
        except TidegateError as error:
            patience.answered(error)
            raise
        patience.answered(None)
        return reply

    def _exchange(self, call: Call[Any], content: Iterator[bytes] | None = None) -> Reply:
        with connection_errors(self.url):
            response = self._http.request(call.method, call.path, content=content, **request_options(call))
        check(response, call)
        return Reply(response.status_code, response.headers, response.content)

    def pages(self, page: Callable[[str | None], Call[Page]]) -> Iterator[Document]:
        """The items of all pages."""
        cursor: str | None = None
        while True:
            answer = self.send(page(cursor))
            yield from answer.items
            cursor = answer.next_cursor
            if cursor is None:
                return

    @contextmanager
    def stream(self, call: Call[Any]) -> Iterator[httpx2.Response]:
        """The answer of a call, to be read piece by piece."""
        request = self._http.stream(call.method, call.path, **request_options(call))
        with connection_errors(self.url), request as response:
            if response.status_code >= 300:
                response.read()
                check(response, call)
            yield response

    def lines(self, call: Call[None]) -> Iterator[str]:
        """The lines of a download."""
        splitter = LineSplitter()
        with self.stream(call) as response:
            for chunk in response.iter_bytes():
                yield from splitter.feed(chunk)
        yield from splitter.flush()

    def download(self, call: Call[None], path: str | os.PathLike[str]) -> Path:
        """Write a download to a file, which appears when it is whole."""
        with self.stream(call) as response, whole_file(path) as file:
            for chunk in response.iter_bytes(CHUNK_BYTES):
                file.write(chunk)
        return Path(path)

    def upload(
        self, path: str | os.PathLike[str], source_name: str | None, overwrite: bool, shared: bool = False
    ) -> Document:
        """Send a file's bytes."""
        file, size_bytes = file_to_upload(path)
        call = calls.upload_file(file.name, size_bytes, source_name, overwrite, shared)
        with file.open("rb") as opened:
            return call.parse(self._exchange(call, iter(lambda: opened.read(CHUNK_BYTES), b"")))

    def send_file(self, path: str | os.PathLike[str]) -> str:
        """Send a file that a job is to read, such as an archive to lint; its path on the server. It gets a name of its own."""
        file, size_bytes = file_to_upload(path)
        call = calls.send_file(f"{new_key()}{file.suffix}", size_bytes)
        with file.open("rb") as opened:
            answer = call.parse(self._exchange(call, iter(lambda: opened.read(CHUNK_BYTES), b"")))
        return str(answer["path"])


class Sources:
    """The named data sets of a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def add(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        shared: bool = False,
        **options: Any,
    ) -> Source:
        """Register a file, glob or folder of the server's machine under a name.

        The format goes by the file's name unless given; `shared` lets every owner read it; `options` are for its reader,
        such as `header=False`.
        """
        return Source(
            self._client.send(calls.add_source(name, os.fspath(path), format, options or None, shared))
        )

    def upload(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        overwrite: bool = False,
        shared: bool = False,
    ) -> Source:
        """Send a file of any size to the server; it becomes a source of that name, or named after the file."""
        document = self._client.upload(path, name, overwrite, shared)
        return self.get(source_name_of(document, name))

    def list(self) -> Iterator[Source]:
        """All sources, read page by page."""
        return map(Source, self._client.pages(lambda cursor: calls.sources(cursor=cursor)))

    def get(self, name: str) -> Source:
        """A source with its columns, size and origin. Raises NotFound."""
        return Source(self._client.send(calls.source(name)))

    def preview(self, name: str, limit: int = 20, offset: int = 0) -> Rows:
        """A page of its rows."""
        return self._client.send(calls.preview_source(name, limit, offset))

    def download(self, name: str, path: str | os.PathLike[str], format: str | None = None) -> Path:
        """Write it to a file here: `parquet`, `csv` or `jsonl`, by its ending unless given."""
        return self._client.download(calls.download_source(name, format_of(path, format)), path)

    def delete(self, name: str) -> None:
        """Forget it. Files that Tidegate made go with it; files of the user stay."""
        self._client.send(calls.delete_source(name))


class Queues:
    """The queues of a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> Iterator[Queue]:
        """All queues."""
        return map(Queue, self._client.pages(lambda cursor: calls.queues(cursor=cursor)))

    def get(self, name: str) -> Queue:
        """A queue with its settings and counts. Raises NotFound."""
        return Queue(self._client.send(calls.queue(name)))

    def set(self, name: str, **settings: Any) -> Queue:
        """Change `max_concurrent` (None: no cap), `weight` or `paused`; what is left out stays."""
        return Queue(self._client.send(calls.set_queue(name, settings)))

    def pause(self, name: str) -> Queue:
        """Start nothing new from it; what runs goes on."""
        return Queue(self._client.send(calls.pause_queue(name, True)))

    def resume(self, name: str) -> Queue:
        """Start from it again."""
        return Queue(self._client.send(calls.pause_queue(name, False)))


def source_name_of(document: Document, name: str | None) -> str:
    source = document.get("source")
    return str(source["name"] if isinstance(source, dict) else source or name or document["name"])


class Workers:
    """The workers of a server or a cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> Iterator[Worker]:
        """All workers."""
        return map(Worker, self._client.pages(lambda cursor: calls.workers(cursor=cursor)))

    def get(self, worker_id: str) -> Worker:
        """Raises NotFound."""
        return Worker(self._client.send(calls.worker(worker_id)))

    def drain(self, worker_id: str) -> Worker:
        """Start nothing more there; what runs goes on. Raises NotFound."""
        return Worker(self._client.send(calls.tell_worker(worker_id, "drain")))

    def resume(self, worker_id: str) -> Worker:
        """Start there again. Raises NotFound."""
        return Worker(self._client.send(calls.tell_worker(worker_id, "resume")))

    def stop(self, worker_id: str) -> Worker:
        """Tell it to end: running jobs get their grace, the rest is put back. Returns before it has. Raises NotFound."""
        return Worker(self._client.send(calls.tell_worker(worker_id, "stop")))
