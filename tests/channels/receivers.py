"""Real receivers on loopback: a mail server, and a web server that is called."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

SECRET = "a secret of the tests"
WITHIN_S = 20.0


@dataclass
class Called:
    """One call of the webhook."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Webhook:
    """Keeps every call; `statuses` are the answers to the next ones, then 204."""

    port: int = 0
    calls: queue.Queue[Called] = field(default_factory=queue.Queue)
    statuses: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://:{SECRET.replace(' ', '%20')}@127.0.0.1:{self.port}/hooks/tide?x=1"

    def next(self) -> Called:
        return self.calls.get(timeout=WITHIN_S)


@contextlib.contextmanager
def webhook() -> Iterator[Webhook]:
    made = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(made.statuses.pop(0) if made.statuses else 204)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
            made.calls.put(Called(self.path, {k.lower(): v for k, v in self.headers.items()}, body))

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Mailbox:
    """Keeps every mail; refuses with `refusal` while there is one."""

    port: int = 0
    mails: queue.Queue[EmailMessage] = field(default_factory=queue.Queue)
    receivers: list[list[str]] = field(default_factory=list)
    refusal: str | None = None
    refused: set[str] = field(default_factory=set)
    """Receivers that are not known here."""

    def url(self, user: str = "", **options: str) -> str:
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"smtp://{user}127.0.0.1:{self.port}?from=tide@example.org&to=ops@example.org,night@example.org{more}"

    def next(self) -> EmailMessage:
        return self.mails.get(timeout=WITHIN_S)

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 known"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        if self.refusal is not None:
            return self.refusal
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.receivers.append(list(envelope.rcpt_tos))
        self.mails.put(mail)
        return "250 taken"


class _Controller(Controller):
    """Takes whatever port is free."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextlib.contextmanager
def mail_server(**options: Any) -> Iterator[Mailbox]:
    box = Mailbox()
    controller = _Controller(box, hostname="127.0.0.1", port=0, **options)
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop()


def only(user: str, password: str) -> Any:
    """An authenticator that lets in one."""

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        good = (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=good, handled=False)

    return check
