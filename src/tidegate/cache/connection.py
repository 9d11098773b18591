"""How Redis is reached. It holds nothing that cannot be lost, so no call waits for it long or tries again by itself."""

from __future__ import annotations

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tidegate.errors import SettingError

ANSWERS_WITHIN_S = 2.0

Trouble = (RedisError, OSError)
"""What a call raises when Redis is away, slow or in trouble."""


def connect(url: str, *, listens: bool = False, within_s: float = ANSWERS_WITHIN_S) -> Redis:
    """A client, not connected yet. One that `listens` may wait for news for ever; the others give up after `within_s`.

    Raises SettingError when the address cannot be one.
    """
    try:
        return Redis.from_url(
            url,
            socket_connect_timeout=within_s,
            socket_timeout=None if listens else within_s,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            client_name="tidegate",
        )
    except ValueError as error:
        raise SettingError(f"redis_url cannot be used: {error}. Write it as redis://host:6379/0.") from None


def fault(url: str) -> str | None:
    """Why Redis cannot be used; None when it answers."""
    try:
        with connect(url) as client:
            client.ping()
    except (*Trouble, SettingError) as error:
        return str(error)
    return None
