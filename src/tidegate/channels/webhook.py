"""A signed webhook: a POST of JSON whose sender and age the receiver can check."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import ssl
import time
from collections.abc import Callable
from urllib.parse import SplitResult, unquote

from tidegate.channels.bad_url import BadUrl
from tidegate.channels.deadline import ALL_S, EACH_WAIT_S, cut_after
from tidegate.ports import ChannelFailed, Message

ID_HEADER = "X-Tidegate-Id"
TIMESTAMP_HEADER = "X-Tidegate-Timestamp"
SIGNATURE_HEADER = "X-Tidegate-Signature"
LEAST_SECRET = 16


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=` and the HMAC-SHA256, in hexadecimal, of the timestamp, a full stop and the body."""
    signed = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={signed.hexdigest()}"


class WebhookChannel:
    """Calls `https://:SECRET@host/path`. The secret signs each call and is never sent; redirects are not followed.

    Any answer below 300 means that the message has arrived. Raises BadUrl for a URL that cannot be used.
    """

    def __init__(
        self, name: str, url: SplitResult, *, limit_s: float = ALL_S, now: Callable[[], float] = time.time
    ) -> None:
        if not url.hostname:
            raise BadUrl("it names no host")
        self._secret = unquote(url.password or "")
        if len(self._secret) < LEAST_SECRET:
            raise BadUrl(
                f"the secret that signs has {len(self._secret)} characters; at least {LEAST_SECRET} are wanted, as in "
                "https://:SECRET@host/path"
            )
        self.name = name
        self._host, self._port, self._tls = url.hostname, url.port, url.scheme == "https"
        self._path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._limit_s = limit_s
        self._now = now
        port = f":{url.port}" if url.port else ""
        # Paths of webhooks are often secrets of their own.
        self.address = f"{url.scheme}://{url.hostname}{port}/…"

    def send(self, message: Message) -> None:
        body = json.dumps({"id": message.id, **message.facts}, ensure_ascii=False).encode()
        timestamp = str(int(self._now()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "tidegate",
            ID_HEADER: message.id,
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: signature(self._secret, timestamp, body),
        }
        connection = self._connection()
        try:
            with cut_after(self._limit_s, lambda: connection.sock):
                connection.request("POST", self._path, body, headers)
                status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise ChannelFailed(
                f"{self.address} cannot be reached: {type(error).__name__}: {error}"
            ) from None
        finally:
            connection.close()
        if status >= 300:
            raise ChannelFailed(f"{self.address} answered with status {status}.")

    def _connection(self) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=EACH_WAIT_S)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(self._host, self._port, timeout=EACH_WAIT_S, context=context)
