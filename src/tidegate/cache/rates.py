"""How often each owner may ask: moving windows of the library `limits`, in this process or, for many servers, in Redis.

A hint like all in this room: while Redis is away each server counts by itself, so an owner may ask so often of each.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import limits
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from tidegate.cache.connection import Trouble, connect
from tidegate.errors import SettingError
from tidegate.ports import OverRate

log = logging.getLogger("tidegate.cache")

ANSWERS_WITHIN_S = 0.25
"""A request waits for Redis no longer than this."""
AGAIN_S = 5.0
"""So long after Redis has failed it is not asked."""


def rules_of(text: str) -> Sequence[limits.RateLimitItem]:
    """From text such as `20/second; 600/minute`. Raises SettingError."""
    try:
        return limits.parse_many(text)
    except ValueError:
        raise SettingError(
            f"rate_limit cannot be {text!r:.100}. Write it as `600/minute`, or several as `20/second; 600/minute`."
        ) from None


class LocalRates:
    """Counts in this process. A call takes some microseconds for each rule."""

    blocks = False

    def __init__(self, rules: Sequence[limits.RateLimitItem]) -> None:
        self._rules = rules
        self._counts = MovingWindowRateLimiter(MemoryStorage())

    def take(self, owner: str) -> OverRate | None:
        return _take(self._counts, self._rules, owner)


class RedisRates:
    """Counts in Redis, for all servers of a cluster; in this process while Redis cannot be asked."""

    blocks = True

    def __init__(
        self,
        rules: Sequence[limits.RateLimitItem],
        url: str,
        cluster: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._alone = LocalRates(rules)
        self._clock = clock
        self._lock = threading.Lock()
        self._not_before_s = float("-inf")
        pool = connect(url, within_s=ANSWERS_WITHIN_S).connection_pool
        storage = RedisStorage(url, connection_pool=pool, key_prefix=f"{cluster}:rates")
        self._counts = MovingWindowRateLimiter(storage)

    def take(self, owner: str) -> OverRate | None:
        if self._clock() < self._not_before_s:
            return self._alone.take(owner)
        try:
            over = _take(self._counts, self._rules, owner)
        except (*Trouble, StorageError) as error:
            self._failed(error)
            return self._alone.take(owner)
        self._works()
        return over

    def _failed(self, error: Exception) -> None:
        with self._lock:
            if self._not_before_s == float("-inf"):
                log.warning("Requests of owners are counted by this server alone: Redis: %s.", error)
            self._not_before_s = self._clock() + AGAIN_S

    def _works(self) -> None:
        with self._lock:
            if self._not_before_s != float("-inf"):
                log.info("Requests of owners are counted in Redis again.")
            self._not_before_s = float("-inf")


def _take(
    counts: MovingWindowRateLimiter, rules: Sequence[limits.RateLimitItem], owner: str
) -> OverRate | None:
    """Look at all rules before any counts the request, so that one that is refused uses up nothing."""
    for rule in rules:
        if not counts.test(rule, owner):
            return _over(counts, rule, owner)
    for rule in rules:
        if not counts.hit(rule, owner):  # others came in between
            return _over(counts, rule, owner)
    return None


def _over(counts: MovingWindowRateLimiter, rule: limits.RateLimitItem, owner: str) -> OverRate:
    left_s = counts.get_window_stats(rule, owner).reset_time - time.time()
    return OverRate(rule.amount + 1, rule.amount, rule.get_expiry(), round(max(left_s, 0.1), 2))
