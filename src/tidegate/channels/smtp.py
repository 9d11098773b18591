"""E-mail through a mail server, by the standard library."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections import OrderedDict
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from urllib.parse import SplitResult, parse_qs, unquote

from tidegate.channels.bad_url import BadUrl
from tidegate.channels.deadline import ALL_S, EACH_WAIT_S, cut_after
from tidegate.ports import ChannelFailed, Message

_PORTS = {"smtp": 587, "smtps": 465}
_MOST_LEFT = 1000
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class SmtpChannel:
    """`smtp://user:password@host:587?from=a@b&to=c@d,e@f`; `smtps` speaks TLS from the start.

    `smtp` turns to TLS before it says anything else, and does not send without it, except to this machine itself or with
    `tls=no`. A message keeps its Message-ID when it is sent again. Raises BadUrl for a URL that cannot be used.
    """

    def __init__(self, name: str, url: SplitResult, *, limit_s: float = ALL_S) -> None:
        if not url.hostname:
            raise BadUrl("it names no host")
        options = {key: values[-1] for key, values in parse_qs(url.query).items()}
        self.name = name
        self._host, self._port = url.hostname, url.port or _PORTS[url.scheme]
        self._user, self._password = unquote(url.username or ""), unquote(url.password or "")
        self._sender = _address(options.get("from", ""), "from")
        self._receivers = [_address(one, "to") for one in options.get("to", "").split(",")]
        self._implicit_tls = url.scheme == "smtps"
        self._needs_tls = options.get("tls") != "no" and self._host not in _LOOPBACK
        self._limit_s = limit_s
        self._left: OrderedDict[str, list[str]] = OrderedDict()
        """By the id of a message that some receivers have got, those who have not."""
        self.address = f"{url.scheme}://{self._host}:{self._port} to {', '.join(self._receivers)}"

    def send(self, message: Message) -> None:
        """A message that some receivers were refused is sent to these alone when it comes again."""
        mail, receivers = self._mail(message), self._left.pop(message.id, self._receivers)
        server: smtplib.SMTP | None = None
        try:
            with cut_after(self._limit_s, lambda: server.sock if server is not None else None):
                server = self._client()
                server.connect(self._host, self._port)
                self._enter(server)
                refused = server.send_message(mail, self._sender, receivers)
        except (OSError, smtplib.SMTPException) as error:
            self._still_without(message.id, receivers)
            raise ChannelFailed(f"The mail server {self._host}:{self._port}: {_why(error)}") from None
        finally:
            if server is not None:
                with contextlib.suppress(OSError, smtplib.SMTPException):
                    server.close()

        if refused:
            self._still_without(message.id, list(refused))
            answers = ", ".join(f"{receiver} with {code}" for receiver, (code, _) in refused.items())
            why = f"it refused {len(refused)} of {len(receivers)} receivers: {answers}"
            raise ChannelFailed(f"The mail server {self._host}:{self._port}: {why}")

    def _still_without(self, message_id: str, receivers: list[str]) -> None:
        if len(receivers) < len(self._receivers):
            self._left[message_id] = receivers
        while len(self._left) > _MOST_LEFT:
            self._left.popitem(last=False)

    def _client(self) -> smtplib.SMTP:
        """Not connected yet, so that the greeting can be cut off too."""
        if self._implicit_tls:
            context = ssl.create_default_context()
            client: smtplib.SMTP = smtplib.SMTP_SSL(timeout=EACH_WAIT_S, context=context)
        else:
            client = smtplib.SMTP(timeout=EACH_WAIT_S)
        client._host = self._host  # type: ignore[attr-defined]  # whose certificate TLS wants; only __init__ sets it
        return client

    def _enter(self, server: smtplib.SMTP) -> None:
        server.ehlo_or_helo_if_needed()
        if not self._implicit_tls and self._needs_tls:
            server.starttls(context=ssl.create_default_context())
        if self._user:
            server.login(self._user, self._password)

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = " ".join(message.title.split())
        mail["From"] = self._sender
        mail["To"] = ", ".join(self._receivers)
        mail["Date"] = format_datetime(message.at)
        mail["Message-ID"] = f"<{message.id}@tidegate>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        return mail


def _address(text: str, option: str) -> str:
    address = parseaddr(text)[1]
    if "@" not in address or not address.isascii():
        raise BadUrl(f"its option {option!r} needs an e-mail address, as in ?from=a@b.example&to=c@d.example")
    return address


def _why(error: Exception) -> str:
    """Without what was sent: a refused login shows neither name nor password."""
    if isinstance(error, smtplib.SMTPResponseException):
        text = (
            error.smtp_error.decode("utf-8", "replace")
            if isinstance(error.smtp_error, bytes)
            else error.smtp_error
        )
        return f"it refused with {error.smtp_code} {text:.200}"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = sorted({code for code, _ in error.recipients.values()})
        return f"it refused all receivers with {', '.join(map(str, codes))}"
    return f"{type(error).__name__}: {error}"
