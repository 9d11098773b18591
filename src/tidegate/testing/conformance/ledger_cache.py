"""The suite that every cache of the ledger passes, and a machine that compares it with a recount."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.ports import Held, LedgerCache, WorkerRoom

OFFERED = {"a": Resources(4000, 8 * GIB, 100 * GIB), "worker-b.example": Resources(2000, 2**50, 2**52)}
SMALL = Resources(1000, 256 * MIB, GIB)


def a_start(number: int, worker_id: str = "a", resources: Resources = SMALL) -> Start:
    return Start(AttemptKey(number, 1, 1), "default", worker_id, 1, resources)


def held_by(start: Start) -> Held:
    return Held(start.key, start.worker_id, start.resources)


class LedgerCacheConformance:
    """Give it a fixture `cache` that makes an empty one."""

    @pytest.fixture
    def ready(self, cache: LedgerCache) -> LedgerCache:
        assert cache.rebuild([], OFFERED, cache.mark())
        return cache

    def test_it_says_nothing_before_it_was_built(self, cache: LedgerCache) -> None:
        assert cache.rooms() is None
        cache.started([a_start(1)])
        cache.released([AttemptKey(2, 1, 1)])
        assert cache.rooms() is None

    def test_it_counts_what_starts_and_what_is_released(self, ready: LedgerCache) -> None:
        big = Resources(500, 2**49 + 1, 2**51 + 3)
        ready.started([a_start(1), a_start(2, "worker-b.example", big), a_start(3)])
        assert rooms_of(ready) == {
            "a": WorkerRoom(OFFERED["a"], SMALL + SMALL),
            "worker-b.example": WorkerRoom(OFFERED["worker-b.example"], big),
        }
        ready.released([a_start(1).key, a_start(2).key])
        assert [room.allocated for room in rooms_of(ready).values()] == [SMALL, Resources()]
        ready.released([])
        ready.started([])

    def test_every_change_may_be_repeated_and_come_in_any_order(self, ready: LedgerCache) -> None:
        for _ in range(2):
            ready.started([a_start(1), a_start(1)])
        assert rooms_of(ready)["a"].allocated == SMALL
        for _ in range(2):
            ready.released([a_start(1).key, a_start(1).key])
        ready.started([a_start(1)])  # heard of late
        ready.released([a_start(2).key])
        ready.started([a_start(2)])  # heard of after its end
        assert rooms_of(ready)["a"].allocated == Resources()

    def test_a_rebuild_replaces_all_and_counts_up(self, ready: LedgerCache) -> None:
        ready.started([a_start(1), a_start(2)])
        before = ready.rooms()
        assert before is not None
        assert ready.rebuild([held_by(a_start(2)), held_by(a_start(3))], {"a": SMALL}, ready.mark())
        after = ready.rooms()
        assert after is not None
        assert (after.version, after.workers) == (
            before.version + 1,
            {"a": WorkerRoom(SMALL, SMALL + SMALL)},
        )

    def test_what_changed_while_the_store_was_read_is_not_lost(self, ready: LedgerCache) -> None:
        ready.started([a_start(1), a_start(2)])
        mark = ready.mark()
        ready.released([a_start(1).key])
        ready.started([a_start(3)])
        ready.started([a_start(4)])
        ready.released([a_start(4).key])
        # Read after some of that, and before the rest.
        assert ready.rebuild([held_by(a_start(n)) for n in (1, 2, 4)], OFFERED, mark)
        assert rooms_of(ready)["a"].allocated == SMALL + SMALL
        ready.released([a_start(2).key, a_start(3).key])
        assert rooms_of(ready)["a"].allocated == Resources()

    def test_in_doubt_it_says_nothing_until_it_is_rebuilt(self, ready: LedgerCache) -> None:
        ready.started([a_start(1)])
        ready.doubt()
        assert ready.rooms() is None
        ready.released([a_start(1).key])
        assert ready.rebuild([], OFFERED, ready.mark())
        assert rooms_of(ready)["a"].allocated == Resources()

    def test_a_rebuild_from_too_long_ago_is_refused(self, ready: LedgerCache) -> None:
        mark = ready.mark()
        for first in range(0, 20_001, 1000):
            ready.released([AttemptKey(first + n, 1, 1) for n in range(1000)])
        assert not ready.rebuild([held_by(a_start(5))], OFFERED, mark)
        assert rooms_of(ready)["a"].allocated == Resources()


def rooms_of(cache: LedgerCache) -> dict[str, WorkerRoom]:
    rooms = cache.rooms()
    assert rooms is not None
    return dict(rooms.workers)


def cache_machine(make: Callable[[], LedgerCache]) -> type[RuleBasedStateMachine]:
    """Starts and releases become true, news of them arrives late, twice and in any order, and somebody rebuilds meanwhile.

    Whenever nothing is on its way, the cache says what a recount says. Only where a release was missed, and the rebuild
    after that came before the news of its start, the next rebuild is needed.
    """

    class CacheMachine(RuleBasedStateMachine):
        news: Bundle[tuple[str, Start]] = Bundle("news")

        @initialize()
        def begin(self) -> None:
            self.cache = make()
            self.truth: dict[AttemptKey, Start] = {}
            self.last = 0
            self.on_the_way = 0
            self.rebuild_needed = False
            assert self.cache.rebuild([], OFFERED, self.cache.mark())

        @rule(target=news, worker=st.sampled_from(sorted(OFFERED)), cpu=st.integers(0, 4000))
        def start(self, worker: str, cpu: int) -> tuple[str, Start]:
            self.last += 1
            start = a_start(self.last, worker, Resources(cpu, cpu * MIB, cpu * GIB))
            self.truth[start.key] = start
            self.on_the_way += 1
            return "started", start

        @precondition(lambda self: self.truth)
        @rule(target=news, data=st.data())
        def release(self, data: st.DataObject) -> tuple[str, Start]:
            key = data.draw(st.sampled_from(sorted(self.truth)))
            self.on_the_way += 1
            return "released", self.truth.pop(key)

        @rule(item=consumes(news))
        def hear(self, item: tuple[str, Start]) -> None:
            self._tell(item)
            self.on_the_way -= 1

        @rule(item=news)
        def hear_once_more_than_needed(self, item: tuple[str, Start]) -> None:
            self._tell(item)

        @rule(item=consumes(news))
        def miss(self, item: tuple[str, Start]) -> None:
            self.on_the_way -= 1
            self.rebuild_needed |= item[0] == "released"
            self.cache.doubt()
            self._rebuild()

        @rule()
        def rebuild(self) -> None:
            self._rebuild()

        @rule(first=consumes(news), second=consumes(news))
        def hear_while_the_store_is_read(self, first: tuple[str, Start], second: tuple[str, Start]) -> None:
            mark = self.cache.mark()
            self._tell(first)
            held = [held_by(start) for start in self.truth.values()]
            self._tell(second)
            assert self.cache.rebuild(held, OFFERED, mark)
            self.on_the_way -= 2

        @invariant()
        def it_says_what_a_recount_says(self) -> None:
            if self.on_the_way or self.rebuild_needed:
                return
            rooms = rooms_of(self.cache)
            for worker_id in OFFERED:
                taken = Resources()
                for start in self.truth.values():
                    if start.worker_id == worker_id:
                        taken += start.resources
                assert rooms[worker_id].allocated == taken

        def _tell(self, item: tuple[str, Start]) -> None:
            what, start = item
            if what == "started":
                self.cache.started([start])
            else:
                self.cache.released([start.key])

        def _rebuild(self) -> None:
            mark = self.cache.mark()
            held = [held_by(start) for start in self.truth.values()]
            assert self.cache.rebuild(held, OFFERED, mark)
            if not self.on_the_way:
                self.rebuild_needed = False

    return CacheMachine
