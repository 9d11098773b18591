"""The entry of this server in Consul, put together from settings. Loaded only where Consul is wanted."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Mapping
from importlib.metadata import version

from tidegate.discovery.consul import ConsulAgent, ConsulFailed, Entry
from tidegate.discovery.registration import FORGOTTEN_AFTER_S, TTL_S, Registration
from tidegate.settings import Settings


def make_registration(
    settings: Settings, port: int, checks: Callable[[], Mapping[str, str | None]]
) -> Registration:
    """What keeps the entry of this server, which listens on `port` and can work when no check fails; not started yet."""
    agent = _agent(settings)
    return Registration(
        agent,
        lambda: _entry(settings, agent, port),
        lambda: [name for name, wrong in checks().items() if wrong is not None],
    )


def consul_fault(settings: Settings) -> str | None:
    """Why the agent of the settings cannot be used now; None when it can."""
    agent = _agent(settings)
    try:
        _token(settings)
        return None if agent.leader() else f"{agent.address} has no leader"
    except ConsulFailed as error:
        return str(error)
    finally:
        agent.close()


def _agent(settings: Settings) -> ConsulAgent:
    assert settings.consul_host
    return ConsulAgent(
        settings.consul_host, settings.consul_port, lambda: _token(settings), tls=settings.consul_tls
    )


def _token(settings: Settings) -> str | None:
    """Read each time, so that a new one is used without a restart. The file wins, as for Consul's own programs."""
    if settings.consul_token_file is not None:
        try:
            return settings.consul_token_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConsulFailed(f"the file of its token cannot be read ({type(error).__name__})") from None
    return settings.consul_token.get_secret_value() if settings.consul_token is not None else None


def _entry(settings: Settings, agent: ConsulAgent, port: int) -> Entry:
    """Servers of one machine are told apart by their ports, and by their process where they share one."""
    own = [settings.consul_service, socket.gethostname(), str(port)]
    return Entry(
        id="-".join([*own, str(os.getpid())] if settings.share_port else own),
        name=settings.consul_service,
        address=settings.consul_address
        or (agent.own_address() if _for_all(settings.host) else settings.host),
        port=port,
        version=version("tidegate"),
        ttl_s=TTL_S,
        forgotten_after_s=FORGOTTEN_AFTER_S,
    )


def _for_all(host: str) -> bool:
    """Whether this means all addresses of the machine, and so is none that others could use."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False
