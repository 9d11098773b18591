"""What both faces share of HTTP: how a client is set up, and errors of the connection as ServerUnreachable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from tidegate.client.call import Call
from tidegate.client.problems import error_from_reply
from tidegate.errors import InvalidInput, ServerUnreachable

CONNECT_S = 5.0
WRITE_S = 60.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def client_options(url: str, api_key: str | None) -> dict[str, Any]:
    """Arguments for an httpx2 client. Raises InvalidInput for what is no HTTP address."""
    parsed = _parse(url)
    headers = {"User-Agent": "tidegate-client", "Accept": "application/json"}
    if api_key:
        if not (api_key.isascii() and api_key.isprintable()):
            raise InvalidInput("The API key has characters that no key has. Look at TIDEGATE_API_KEY.")
        headers["Authorization"] = f"Bearer {api_key}"
    return {
        "base_url": parsed,
        "headers": headers,
        # A proxy cannot reach this machine's own loopback, whatever the environment says.
        "trust_env": parsed.host not in _LOOPBACK,
        # Reading the certificates costs 30 ms that plain HTTP can save.
        "verify": parsed.scheme == "https",
    }


def _parse(url: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise InvalidInput(f"{shown(url)!r} is no address of a server: {error}.") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInput(
            f"{shown(url)!r} is no address of a server. Give one such as http://127.0.0.1:8420."
        )
    return parsed


def shown(url: str) -> str:
    """The address without a user's name and password, for messages."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://{tail}" if at and "://" in head else url


def request_options(call: Call[Any]) -> dict[str, Any]:
    """Arguments for `build_request` of an httpx2 client."""
    timeout = httpx2.Timeout(call.read_timeout_s, connect=CONNECT_S, write=WRITE_S)
    options = {"params": dict(call.params), "headers": dict(call.headers), "timeout": timeout}
    return options if call.body is None else {**options, "json": call.body}


def check(response: httpx2.Response, call: Call[Any]) -> None:
    """Raise the error of an answer that was read whole, unless it is one of this call."""
    if response.status_code >= 300 and response.status_code not in call.also:
        raise error_from_reply(response.status_code, response.headers, response.content)


@contextmanager
def connection_errors(url: str) -> Iterator[None]:
    """Errors of the connection become ServerUnreachable with the address and what to do."""
    try:
        yield
    except httpx2.TimeoutException as error:
        raise ServerUnreachable(
            f"The Tidegate server at {shown(url)} did not answer in time ({type(error).__name__}). "
            "It may be overloaded or stopped; try again, or look at its log."
        ) from error
    except httpx2.TransportError as error:
        raise ServerUnreachable(
            f"No Tidegate server answers at {shown(url)} ({str(error) or type(error).__name__}). "
            "Start one with `tidegate serve`, or set TIDEGATE_URL to the address of one that runs."
        ) from error
