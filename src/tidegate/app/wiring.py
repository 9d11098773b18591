"""Embedded or cluster, alone or known to Consul: what only some servers need is loaded only for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tidegate.errors import SettingError
from tidegate.settings import Settings
from tidegate.telemetry.tracing import NO_TRACING, Tracing

if TYPE_CHECKING:
    from tidegate.app.cluster import Wires
    from tidegate.discovery.registration import Registration
    from tidegate.ports import RateLimiter


def wire(settings: Settings) -> Wires:
    """What connects this process with the others of its cluster. Raises SettingError when the extra is not installed."""
    try:
        from tidegate.app.cluster import Wires  # noqa: PLC0415 - needs the extra `cluster`
    except ModuleNotFoundError as error:
        raise SettingError(
            f"`broker_url` is set, but {error.name} is not installed. Install tidegate[cluster], or run without a broker."
        ) from None
    return Wires(settings)


def tracing(settings: Settings, role: str) -> Tracing:
    """Where the spans of this process go; nowhere unless `otel_endpoint` is set. Raises SettingError."""
    if settings.otel_endpoint is None:
        return NO_TRACING
    try:
        from tidegate.telemetry.otel import OtelTracing, exporter_to  # noqa: PLC0415 - needs the extra `otel`
    except ModuleNotFoundError as error:
        raise SettingError(
            f"`otel_endpoint` is set, but {error.name} is not installed. Install tidegate[otel], or leave it out."
        ) from None
    return OtelTracing(exporter_to(settings.otel_endpoint), role)


def rate_limiter(settings: Settings) -> RateLimiter | None:
    """What counts the requests of owners, if they are bounded: in Redis where servers share one. Raises SettingError."""
    if settings.rate_limit is None:
        return None
    try:
        from tidegate.cache.rates import LocalRates, RedisRates, rules_of  # noqa: PLC0415 - needs the extra `rates`
    except ModuleNotFoundError as error:
        raise SettingError(
            f"`rate_limit` is set, but {error.name} is not installed. Install tidegate[rates], or leave it out."
        ) from None
    rules = rules_of(settings.rate_limit)
    if settings.broker_url is None or settings.redis_url is None:
        return LocalRates(rules)
    return RedisRates(rules, settings.redis_url, settings.cluster_name)


def registration(
    settings: Settings, port: int, checks: Callable[[], Mapping[str, str | None]]
) -> Registration | None:
    """What keeps the entry of the server on this port in Consul, if that is wanted; not started yet."""
    if not settings.consul_host:
        return None
    from tidegate.app.consul import make_registration  # noqa: PLC0415 - loads HTTPX2 into servers, for those who want it

    return make_registration(settings, port, checks)
