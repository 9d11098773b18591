"""A server that answers as it is told: an older one, a busy one, one that refuses."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

EMPTY: dict[str, Any] = {"items": [], "next_cursor": None}
NOT_FOUND = (404, {"status": 404, "code": "not_found", "detail": "There is no such route."})
OLD: dict[str, tuple[int, Any]] = {
    "/api/v1/workers": (200, EMPTY),
    "/api/v1/queues": (200, EMPTY),
    "/api/v1/jobs": (200, EMPTY),
}
"""What a server of the first days answers; to all else it says that there is no such route."""


class Answering:
    """Its `answers` by path, which may be changed at any time; `paths` has what it was asked, with their queries."""

    def __init__(self, answers: dict[str, tuple[int, Any]]) -> None:
        self.answers = dict(answers)
        self.paths: list[str] = []
        self.url = ""

    def refuse(self, status: int, detail: str, **numbers: Any) -> None:
        """Refuse everything from now on."""
        problem = (status, {"status": status, "code": "refused", "detail": detail, **numbers})
        self.answers = dict.fromkeys(self.answers, problem) | {"*": problem}


@contextlib.contextmanager
def answering(answers: dict[str, tuple[int, Any]] | None = None) -> Iterator[Answering]:
    """One that runs while the block does."""
    told = Answering(OLD if answers is None else answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            told.paths.append(self.path)
            path = self.path.partition("?")[0]
            status, document = told.answers.get(path, told.answers.get("*", NOT_FOUND))
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        told.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
