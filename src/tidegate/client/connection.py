"""How calls are carried out, for programs that wait by blocking: sent, sent again, read whole or piece by piece."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from tidegate.client import calls
from tidegate.client.call import Call, Reply
from tidegate.client.files import CHUNK_BYTES, LineSplitter, file_to_upload, whole_file
from tidegate.client.http import check, client_options, connection_errors, request_options
from tidegate.client.retry import OnWait, Patience, wait_silently
from tidegate.client.session import Target
from tidegate.client.shapes import Document, Page
from tidegate.client.submission import new_key
from tidegate.client.throttle import Throttle
from tidegate.errors import Busy, ServerUnreachable, TidegateError, Unavailable

T = TypeVar("T")


class Connection:
    """To one server; safe to share between threads. Use it as a context manager, or call `close()`."""

    def __init__(self, target: Target) -> None:
        self.url = target.url
        self.on_wait: OnWait = wait_silently
        """Called before each pause of a request that the server has refused for now."""
        self._throttle = Throttle(time.monotonic, random.random)
        self._server = target.server
        self._http = httpx2.Client(**client_options(target.url, target.api_key))

    def __enter__(self) -> Self:
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
        call = calls.files.upload(file.name, size_bytes, source_name, overwrite, shared)
        with file.open("rb") as opened:
            return call.parse(self._exchange(call, iter(lambda: opened.read(CHUNK_BYTES), b"")))

    def send_file(self, path: str | os.PathLike[str]) -> str:
        """Send a file that a job is to read, such as an archive to lint; its path on the server. It gets a name of its own."""
        file, size_bytes = file_to_upload(path)
        call = calls.files.send(f"{new_key()}{file.suffix}", size_bytes)
        with file.open("rb") as opened:
            answer = call.parse(self._exchange(call, iter(lambda: opened.read(CHUNK_BYTES), b"")))
        return str(answer["path"])
