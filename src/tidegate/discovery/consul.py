"""The four calls of Consul's HTTP API that make a service known: register, tell how it is, deregister, and who leads.

They go to one agent, which is meant to be near: https://developer.hashicorp.com/consul/api-docs/agent. The HTTP client that is
here already does; a client of Consul's whole API (py-consul) would bring a second one, requests, for four calls.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import httpx2

Status = Literal["passing", "warning", "critical"]

WAIT_S = 3.0
"""For each of connecting, sending and hearing. An agent is on this machine or in the next rack."""
_SHOWN_CHARACTERS = 200
_FORGOTTEN = ("unknown check", "unknown service", "does not have associated ttl")
"""How agents say that they do not know what we speak of: with 404, older ones (before 1.11) with 500."""


class ConsulFailed(Exception):
    """A call had no success. The message says why, and never holds the token."""


class Forgotten(ConsulFailed):
    """The agent does not know the service: it was begun anew, or an operator has removed the entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What Consul is told of a service. An `address` of None is that of the agent's own machine."""

    id: str
    name: str
    address: str | None
    port: int
    version: str
    ttl_s: int
    """Without a word for so long the service is critical."""
    forgotten_after_s: int
    """Critical for so long it is removed, at the earliest: Consul looks twice a minute, and takes a minute at least."""


class ConsulAgent:
    """An agent. `token` is asked before each call, so that it may change; None is for agents without access control."""

    def __init__(
        self,
        host: str,
        port: int,
        token: Callable[[], str | None],
        *,
        tls: bool = False,
        wait_s: float = WAIT_S,
    ) -> None:
        self.host, self.port = host, port
        shown = f"[{host}]" if ":" in host else host
        self.address = f"{'https' if tls else 'http'}://{shown}:{port}"
        self._token = token
        # No proxy of the environment: an agent is inside. Reading certificates takes time that plain HTTP can save.
        self._http = httpx2.Client(base_url=self.address, timeout=wait_s, trust_env=False, verify=tls)

    def register(self, entry: Entry, status: Status, output: str) -> None:
        """Make the entry, or make it anew, with a check that has to be told within its time. Raises ConsulFailed."""
        self._call(
            "PUT",
            "/v1/agent/service/register",
            _registered(entry, status, output),
            {"replace-existing-checks": "true"},
        )

    def tell(self, service_id: str, status: Status, output: str) -> None:
        """How the service is. Raises Forgotten when it has to be registered again, and ConsulFailed."""
        path = f"/v1/agent/check/update/{quote(check_id(service_id), safe=':')}"
        self._call("PUT", path, {"Status": status, "Output": output})

    def deregister(self, service_id: str) -> None:
        """Remove the entry. Raises Forgotten when there is none, and ConsulFailed."""
        self._call("PUT", f"/v1/agent/service/deregister/{quote(service_id, safe='')}")

    def leader(self) -> str:
        """The address of the server that leads Consul, empty when none does. Raises ConsulFailed. Wants no token."""
        return self._call("GET", "/v1/status/leader").strip().strip('"')

    def own_address(self) -> str | None:
        """The address of this machine that the agent would see; None when the agent is on it. Raises ConsulFailed."""
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_DGRAM
            )[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(place)  # sends nothing: it only chooses the way
                address: str = probe.getsockname()[0]
        except OSError as error:
            raise ConsulFailed(f"{self.address} cannot be found: {error.strerror or error}") from None
        return None if ipaddress.ip_address(address.partition("%")[0]).is_loopback else address

    def close(self) -> None:
        self._http.close()

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> str:
        token = self._token()
        headers = {"X-Consul-Token": token} if token else {}
        try:
            with self._http.stream(method, path, json=body, params=params, headers=headers) as response:
                # Its first words are enough, however long it goes on.
                text = next(response.iter_text(), "")[:_SHOWN_CHARACTERS].strip()
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ConsulFailed(f"{self.address} does not answer ({type(error).__name__}: {error})") from None
        if response.is_success:
            return text
        if response.status_code == 404 or any(word in text.lower() for word in _FORGOTTEN):
            raise Forgotten(f"{self.address} does not know the service: {text}")
        advice = "; look at CONSUL_HTTP_TOKEN and its policy" if response.status_code in (401, 403) else ""
        raise ConsulFailed(f"{self.address} refused with {response.status_code} {text!r}{advice}")


def check_id(service_id: str) -> str:
    """What Consul calls the one check of a service."""
    return f"service:{service_id}"


def _registered(entry: Entry, status: Status, output: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "ID": entry.id,
        "Name": entry.name,
        "Port": entry.port,
        "Meta": {"version": entry.version},
        "Check": {
            "CheckID": check_id(entry.id),
            "Name": "able to work",
            "Notes": f"The server itself tells it; {entry.ttl_s} s of silence are critical.",
            "TTL": f"{entry.ttl_s}s",
            "Status": status,
            "DeregisterCriticalServiceAfter": f"{entry.forgotten_after_s}s",
        },
    }
    return body if entry.address is None else {**body, "Address": entry.address}
