"""A store that hangs does not hold who asks it."""

from __future__ import annotations

import threading

import pytest

from tidegate.errors import Unavailable
from tidegate.runtime.bounded import BoundedStore
from tidegate.testing.conformance.world import LEASE_S, World
from tidegate.testing.memory_store import MemoryStore


class Hanging(MemoryStore):
    """Its beats hang until they are let go; then they count."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()
        self.beaten = threading.Event()

    def beat(self, *args):
        assert self.let_go.wait(10)
        answer = super().beat(*args)
        self.beaten.set()
        return answer


def test_what_it_answers_is_what_the_store_says():
    world = World(MemoryStore())
    bounded = BoundedStore(world.store, 10.0)
    generation = bounded.register(world.worker, world.now, LEASE_S)
    world.generation = generation
    world.submit()
    keys = world.start()
    assert [start.key for start in bounded.unclaimed(world.clock.advance(1))] == keys
    assert [one.key for one in bounded.claim("local", generation, keys, world.now)] == keys
    assert bounded.beat(world.worker, generation, world.now, LEASE_S, keys) == ([], [], [])
    end = world.end(keys[0], release=False)
    assert bounded.report([end]) == [end]
    assert bounded.release(keys, world.now) == 1
    assert bounded.release_kept("local", world.now) == 0
    assert bounded.unregister("local", generation, world.now)
    bounded.close()
    world.store.check()


def test_an_error_of_the_store_is_raised_here():
    class Away(MemoryStore):
        def release(self, keys, at):
            raise TimeoutError("of the store itself")

    bounded = BoundedStore(Away(), 10.0)
    with pytest.raises(TimeoutError, match="of the store itself"):
        bounded.release([], World(MemoryStore()).now)
    bounded.close()


def test_a_call_that_hangs_is_given_up_and_others_wait_for_its_end():
    store = Hanging()
    world = World(store)
    world.register()
    bounded = BoundedStore(store, 0.05)
    with pytest.raises(Unavailable, match=r"has not answered for 0\.05 s"):
        bounded.beat(world.worker, world.generation, world.now, LEASE_S, [])
    with pytest.raises(Unavailable):
        bounded.release([], world.now)
    store.let_go.set()
    assert store.beaten.wait(10)
    patient = BoundedStore(store, 10.0)
    assert patient.release([], world.now) == 0
    bounded.close()
    patient.close()
