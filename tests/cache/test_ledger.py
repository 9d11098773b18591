"""The ledger's cache: in the process and on a real Redis, by one suite."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tidegate.cache.ledger import RedisLedgerCache
from tidegate.cache.local import LocalLedgerCache
from tidegate.core.resources import Resources
from tidegate.errors import Unavailable
from tidegate.testing.conformance.ledger_cache import (
    OFFERED,
    SMALL,
    LedgerCacheConformance,
    a_start,
    cache_machine,
    held_by,
    rooms_of,
)
from tidegate.testing.servers import Redis

_numbers = itertools.count()


def fresh(redis: Redis) -> RedisLedgerCache:
    return RedisLedgerCache(redis.url, f"ledger-{next(_numbers)}")


class TestLocalLedgerCache(LedgerCacheConformance):
    @pytest.fixture
    def cache(self) -> LocalLedgerCache:
        return LocalLedgerCache()


class TestRedisLedgerCache(LedgerCacheConformance):
    @pytest.fixture
    def cache(self, redis: Redis) -> Iterator[RedisLedgerCache]:
        cache = fresh(redis)
        yield cache
        cache.close()


def test_the_local_one_says_what_a_recount_says():
    run_state_machine_as_test(
        cache_machine(LocalLedgerCache), settings=settings(max_examples=200, stateful_step_count=40)
    )


def test_the_one_on_redis_says_what_a_recount_says(redis: Redis):
    made: list[RedisLedgerCache] = []

    def make() -> RedisLedgerCache:
        made.append(fresh(redis))
        return made[-1]

    run_state_machine_as_test(
        cache_machine(make),
        settings=settings(
            max_examples=50,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    for cache in made:
        cache.close()


def test_two_processes_share_one_account(redis: Redis):
    one, other = RedisLedgerCache(redis.url, "shared"), RedisLedgerCache(redis.url, "shared")
    assert one.rebuild([], OFFERED, one.mark())
    one.started([a_start(1), a_start(2)])
    other.released([a_start(1).key])
    assert rooms_of(one) == rooms_of(other)
    assert rooms_of(one)["a"].allocated == SMALL
    one.close()
    other.close()


def test_a_redis_that_forgot_everything_is_in_doubt_and_right_after_one_rebuild(redis: Redis):
    cache = fresh(redis)
    assert cache.rebuild([], OFFERED, cache.mark())
    cache.started([a_start(1), a_start(2)])
    before = cache.mark()
    redis.flush()
    assert cache.rooms() is None
    cache.released([a_start(1).key])  # comes before anybody has rebuilt it
    assert cache.rooms() is None
    assert not cache.rebuild([held_by(a_start(1))], OFFERED, before)  # read from before the loss
    assert cache.rooms() is None
    assert cache.rebuild([held_by(a_start(2))], OFFERED, cache.mark())
    assert rooms_of(cache)["a"].allocated == SMALL
    cache.released([a_start(2).key])
    assert rooms_of(cache)["a"].allocated == Resources()
    cache.close()


def test_a_redis_that_is_away_is_said_to_be():
    cache = RedisLedgerCache("redis://127.0.0.1:1/0", "away")
    for call in (cache.rooms, cache.mark, cache.doubt, lambda: cache.started([a_start(1)])):
        with pytest.raises(Unavailable, match="cache"):
            call()
    cache.close()
