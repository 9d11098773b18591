"""The feed between a store and the ledger's cache, and the duty that keeps the cache true."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tidegate.cache.feed import LedgerFeed, fed
from tidegate.cache.ledger import RedisLedgerCache
from tidegate.cache.local import LocalLedgerCache
from tidegate.core.resources import Resources
from tidegate.core.states import TaskState
from tidegate.ports import LedgerCache, Store
from tidegate.server.services.ledger import REBUILD_S, KeepLedger, rooms_now
from tidegate.testing.conformance.world import LARGE, SMALL, World
from tidegate.testing.memory_store import MemoryStore
from tidegate.testing.servers import Redis

DEADLINE_S = 20.0


def until(look: Callable[[], bool], what: str) -> None:
    pause = threading.Event()
    for _ in range(int(DEADLINE_S / 0.02)):
        if look():
            return
        pause.wait(0.02)
    raise AssertionError(f"waited in vain: {what}")


def allocated(cache: LedgerCache) -> Resources | None:
    rooms = cache.rooms()
    return None if rooms is None else rooms.workers["local"].allocated


@pytest.fixture
def cache() -> LocalLedgerCache:
    return LocalLedgerCache()


@pytest.fixture
def store(cache: LocalLedgerCache) -> Iterator[Store]:
    store = fed(MemoryStore(), cache)
    yield store
    store.check()


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


@pytest.fixture
def keeper(world: World, cache: LocalLedgerCache) -> KeepLedger:
    keeper = KeepLedger(world.store, cache, world.clock)
    world.register()
    keeper.run_once(world.now)
    return keeper


@pytest.mark.usefixtures("keeper")
def test_the_cache_follows_every_commit(world: World, cache: LocalLedgerCache):
    first, second = world.run(), world.run()
    assert allocated(cache) == SMALL + SMALL == world.allocated()
    world.report(first)
    assert allocated(cache) == SMALL == world.allocated()
    world.report(second, TaskState.FAILED)
    assert allocated(cache) == Resources() == world.allocated()
    rooms = cache.rooms()
    assert rooms is not None
    assert rooms.workers["local"].allocatable == LARGE


def test_what_was_released_without_a_name_is_right_after_one_look(
    world: World, cache: LocalLedgerCache, keeper: KeepLedger
):
    key = world.run()
    world.report(key, release=False)
    assert allocated(cache) == SMALL
    world.store.release([key], world.now)
    assert cache.rooms() is None
    assert rooms_now(cache, world.store)[1] == "store"
    keeper.run_once(world.now)
    assert allocated(cache) == Resources()
    assert rooms_now(cache, world.store)[1] == "cache"


def test_a_start_that_was_cancelled_on_the_way_is_right_after_one_look(
    world: World, cache: LocalLedgerCache, keeper: KeepLedger
):
    job_id = world.submit()
    keys = world.start()
    world.store.request_cancel(job_id, world.now)
    assert world.claim(keys) == []
    keeper.run_once(world.now)
    assert allocated(cache) == Resources() == world.allocated()


def test_the_cache_is_read_anew_from_time_to_time(world: World, cache: LocalLedgerCache, keeper: KeepLedger):
    world.run()
    cache.released([held.key for held in world.store.held()])  # a lie
    world.clock.advance(REBUILD_S - 1)
    keeper.run_once(world.now)
    assert allocated(cache) == Resources()
    world.clock.advance(1)
    keeper.run_once(world.now)
    assert allocated(cache) == SMALL


def test_nobody_waits_for_a_redis_that_is_away_and_the_counters_are_right_when_it_is_back():
    with Redis() as redis:
        cache = RedisLedgerCache(redis.url, "feed")
        feed = LedgerFeed(cache)
        feed.start()
        world = World(fed(MemoryStore(), feed))
        world.register()
        keeper = KeepLedger(world.store, cache, world.clock)
        first = world.run()
        until(lambda: _right(keeper, world, cache, SMALL), "the start is counted")
        redis.kill()
        second = world.run()
        world.report(first)
        assert rooms_now(cache, world.store)[0].workers["local"].allocated == SMALL  # by the store
        keeper.run_once(world.now)
        redis.start()
        until(lambda: _right(keeper, world, cache, SMALL), "the counters are right again")
        redis.flush()
        keeper.run_once(world.now)
        assert allocated(cache) == SMALL
        world.report(second)
        until(lambda: _right(keeper, world, cache, Resources()), "the release is counted")
        feed.close()
        cache.close()


def _right(keeper: KeepLedger, world: World, cache: LedgerCache, wanted: Resources) -> bool:
    keeper.run_once(world.now)
    rooms, source = rooms_now(cache, world.store)
    return source == "cache" and rooms.workers["local"].allocated == wanted
