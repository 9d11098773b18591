from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from tidegate.core.identity import Caller, KeyRecord, Role
from tidegate.errors import AccessDenied, InvalidInput, SettingError, Unavailable
from tidegate.server import doorkeeper
from tidegate.server.doorkeeper import Doorkeeper, check_door, new_key
from tidegate.settings import ANYONE, Settings
from tidegate.testing.fakes import START, FakeClock
from tidegate.testing.memory_store import MemoryStore

WRONG = "tg_0000000000_" + "A" * 43


class CountingStore(MemoryStore):
    """Counts how often the keys are read; `broken` makes that fail."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.broken = False

    def all_keys(self) -> list[KeyRecord]:
        self.reads += 1
        if self.broken:
            raise Unavailable("The database is away.")
        return super().all_keys()


class Door:
    """A doorkeeper with its store and clock, asked from plain code."""

    def __init__(self, executor: ThreadPoolExecutor, **settings: Any) -> None:
        self.store = CountingStore()
        self.clock = FakeClock()
        self.keeper = Doorkeeper(self.store, self.clock, Settings(**settings), executor)

    def key(self, owner: str = "ann", role: Role = Role.USER, **options: Any) -> str:
        key, record = new_key(owner, role, by="root", now=self.clock.now(), **options)
        self.store.add_key(record)
        return key

    async def opens(self, key: str | None, address: str = "192.0.2.1") -> bool:
        try:
            return await self.keeper.admit(key, address) is not None
        except AccessDenied:
            return False


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture
def door(executor: ThreadPoolExecutor) -> Door:
    return Door(executor)


def test_a_caller_is_who_the_key_was_made_for(door: Door):
    async def story() -> None:
        key = door.key("ann", Role.OPERATOR)
        caller = await door.keeper.admit(key, "192.0.2.1", "request-1")
        assert caller == Caller("ann", Role.OPERATOR, START, key.split("_")[1], "request-1", "192.0.2.1")

    asyncio.run(story())


def test_a_key_made_elsewhere_opens_at_once(door: Door):
    async def story() -> None:
        first = door.key()
        assert await door.opens(first)
        assert await door.opens(door.key("bob"))

    asyncio.run(story())


def test_a_key_revoked_elsewhere_opens_nothing_within_seconds(door: Door):
    async def story() -> None:
        key = door.key()
        assert await door.opens(key)
        door.store.revoke_key(key.split("_")[1], door.clock.now())
        door.clock.advance(2 * doorkeeper.FRESH_S + 0.1)
        assert not await door.opens(key)

    asyncio.run(story())


def test_a_long_answer_goes_on_only_while_its_key_opens_the_door(door: Door):
    async def story() -> None:
        caller = await door.keeper.admit(door.key(life_days=1.0))
        other = await door.keeper.admit(door.key("bob"))
        assert caller is not None
        assert other is not None
        assert await door.keeper.still_admits(caller)
        door.store.revoke_key(str(other.key_id), door.clock.now())
        door.clock.advance(doorkeeper.FRESH_S + 0.1)
        assert not await door.keeper.still_admits(other)
        assert await door.keeper.still_admits(caller)
        door.clock.advance(24 * 3600.0)
        assert not await door.keeper.still_admits(caller)

    asyncio.run(story())


def test_a_long_answer_ends_when_the_keys_have_not_been_read_for_long(door: Door):
    async def story() -> None:
        caller = await door.keeper.admit(door.key())
        assert caller is not None
        door.store.broken = True
        door.clock.advance(doorkeeper.STALE_S - 0.1)
        assert await door.keeper.still_admits(caller)
        door.clock.advance(0.2)
        assert not await door.keeper.still_admits(caller)

    asyncio.run(story())


def test_what_anybody_asked_goes_on_until_the_server_has_a_key(door: Door):
    async def story() -> None:
        anybody = await door.keeper.admit(None)
        assert anybody is not None
        assert await door.keeper.still_admits(anybody)
        door.key()
        door.clock.advance(doorkeeper.FRESH_S + 0.1)
        assert not await door.keeper.still_admits(anybody)

    asyncio.run(story())


def test_a_key_ends_at_its_time(door: Door):
    async def story() -> None:
        key = door.key(life_days=1.0)
        assert await door.opens(key)
        door.clock.advance(86_399.9)
        assert await door.opens(key)
        door.clock.advance(0.2)
        assert not await door.opens(key)

    asyncio.run(story())


def test_while_keys_are_fresh_the_store_is_not_asked(door: Door):
    async def story() -> None:
        key = door.key()
        for _ in range(100):
            assert await door.opens(key)
        assert door.store.reads <= 2

    asyncio.run(story())


def test_strangers_cannot_keep_the_store_busy(door: Door):
    async def story() -> None:
        assert await door.opens(door.key())
        before = door.store.reads
        for i in range(500):
            assert not await door.opens(WRONG, f"192.0.2.{i % 250}")
        assert door.store.reads - before <= doorkeeper.REREADS

    asyncio.run(story())


def test_an_address_that_fails_too_often_has_to_wait(door: Door):
    async def story() -> None:
        good = door.key()
        for _ in range(doorkeeper.FAILURES):
            with pytest.raises(AccessDenied) as refused:
                await door.keeper.admit(WRONG, "2001:db8::1")
            assert refused.value.code == "unauthenticated"
        with pytest.raises(AccessDenied) as slowed:
            await door.keeper.admit(WRONG, "2001:db8::ffff:1")  # the same network of 64 bits
        assert slowed.value.code == "too_many_failures"
        wait_s = slowed.value.numbers["retry_after_s"]
        assert isinstance(wait_s, float)
        assert await door.opens(good, "2001:db8::1")  # who has a key is not locked out by a neighbour
        door.clock.advance(wait_s + 0.1)
        with pytest.raises(AccessDenied) as again:
            await door.keeper.admit(WRONG, "2001:db8::1")
        assert again.value.code == "unauthenticated"

    asyncio.run(story())


def test_new_keys_do_not_count_as_failures(door: Door):
    async def story() -> None:
        assert await door.opens(door.key())
        for _ in range(3 * doorkeeper.FAILURES):
            door.clock.advance(0.1)
            assert await door.opens(door.key())

    asyncio.run(story())


def test_known_keys_open_while_the_store_is_away_for_a_while(door: Door, caplog: pytest.LogCaptureFixture):
    async def story() -> None:
        key = door.key()
        assert await door.opens(key)
        door.store.broken = True
        door.clock.advance(doorkeeper.STALE_S - 1)
        assert await door.opens(key)
        door.clock.advance(2)
        with pytest.raises(Unavailable):
            await door.keeper.admit(key)
        door.store.broken = False
        assert await door.opens(key)

    asyncio.run(story())


def test_last_uses_are_written_together_and_seldom(door: Door, executor: ThreadPoolExecutor):
    async def story() -> None:
        keys = [door.key(), door.key("bob")]
        for _ in range(5):
            for key in keys:
                assert await door.opens(key)
            door.clock.advance(1)

    asyncio.run(story())
    executor.submit(lambda: None).result()
    executor.shutdown()
    assert {key.last_used_at for key in door.store.all_keys()} == {START}
    door.keeper.close()
    assert {key.last_used_at for key in door.store.all_keys()} == {START + timedelta(seconds=4)}


def test_without_any_key_loopback_is_open_and_with_one_it_is_not(door: Door):
    async def story() -> None:
        assert await door.opens(None)
        key = door.key()
        await door.keeper.changed()
        assert not await door.opens(None)
        door.store.revoke_key(key.split("_")[1], door.clock.now())
        await door.keeper.changed()
        assert not await door.opens(None)  # to revoke the last key does not open the door to everybody

    asyncio.run(story())


@pytest.mark.parametrize(
    ("settings", "starts"),
    [
        ({}, True),
        ({"host": "127.3.2.1"}, True),
        ({"host": "::1"}, True),
        ({"host": "localhost"}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "::"}, False),
        ({"host": "10.1.2.3"}, False),
        ({"allowed_hosts": ["jobs.example"]}, False),
        ({"host": "0.0.0.0", "anonymous_access": ANYONE}, True),
    ],
)
def test_a_server_that_strangers_reach_wants_a_key(settings: dict[str, Any], starts: bool):
    store = MemoryStore()
    if starts:
        check_door(Settings(**settings), store, START)
        return
    key, record = new_key("ann", Role.ADMIN, by="root", now=START, life_days=1.0)
    for now in (START, START + timedelta(days=2)):  # without a key, and with one that has expired
        with pytest.raises(
            SettingError, match=r"tidegate key create.*127\.0\.0\.1.*anyone-may-do-everything"
        ) as no:
            check_door(Settings(**settings), store, now)
        assert key not in str(no.value)
        store.add_key(record) if now == START else None
    check_door(Settings(**settings), store, START)


@pytest.mark.parametrize("life_days", [0.0, -1.0, 5000.0, float("nan"), float("inf")])
def test_a_life_that_no_key_has(life_days: float):
    with pytest.raises(InvalidInput, match="expires_in_days"):
        new_key("ann", Role.USER, by="root", now=START, life_days=life_days)
