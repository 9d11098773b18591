"""Who leads: the lease on the leader's own clock, and two servers on one store."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tidegate.core.states import JobStatus
from tidegate.errors import NotLeader, Unavailable
from tidegate.runtime.clock import SystemClock
from tidegate.server.cycle import Cycle
from tidegate.server.leader import TOPIC, Leader
from tidegate.testing.conformance.world import World
from tidegate.testing.fakes import FakeClock, FakeLauncher, RecordingBell
from tidegate.testing.memory_store import MemoryStore

LEASE_S = 10.0
DEADLINE_S = 10.0


class Server:
    """A leader over a shared store, told when to look; its thread is not started."""

    def __init__(self, store: MemoryStore, clock: FakeClock, name: str) -> None:
        self.bell = RecordingBell()
        self.leader = Leader(store, self.bell, clock, name, lease_s=LEASE_S)

    def look(self) -> bool:
        self.leader.look()
        return self.leader.leads


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_the_second_leads_when_the_first_is_not_heard_of(store: MemoryStore, clock: FakeClock) -> None:
    first, second = Server(store, clock, "first"), Server(store, clock, "second")
    assert first.look()
    for _ in range(5):
        clock.advance(3)
        assert first.look()
        assert not second.look()
    clock.advance(LEASE_S)
    assert second.look()
    assert second.leader.epoch == 2
    assert not first.look()
    assert first.bell.rings == [TOPIC, TOPIC]
    assert second.bell.rings == [TOPIC]


@pytest.mark.parametrize("sole", [False, True])
def test_who_may_not_lead_leaves_the_lease_to_others(
    store: MemoryStore, clock: FakeClock, *, sole: bool
) -> None:
    barred = Leader(store, RecordingBell(), clock, "older", lease_s=LEASE_S, sole=sole, may_lead=False)
    barred.start()
    try:
        barred.doubt()
        barred.look()
        assert not barred.leads
        other = Server(store, clock, "newer")
        assert other.look()
        assert other.leader.epoch == 1
    finally:
        barred.stop()


def test_it_ceases_to_lead_before_its_lease_has_run_out(store: MemoryStore, clock: FakeClock) -> None:
    server = Server(store, clock, "first")
    server.look()
    clock.advance(7.9)
    assert server.leader.epoch == 1
    clock.advance(0.1)
    assert not server.leader.leads
    with pytest.raises(NotLeader, match=r"ended 0\.0 s ago"):
        assert server.leader.epoch


def test_the_lease_counts_from_the_question_not_from_the_answer(clock: FakeClock) -> None:
    class Slow(MemoryStore):
        def lead(self, holder, at, lease_s):
            epoch = super().lead(holder, at, lease_s)
            clock.advance(8)
            return epoch

    assert not Server(Slow(), clock, "first").look()


def test_who_doubts_stands_by_until_it_has_looked(store: MemoryStore, clock: FakeClock) -> None:
    server = Server(store, clock, "first")
    server.look()
    server.leader.doubt()
    assert not server.leader.leads
    assert server.look()
    assert server.leader.epoch == 1


def test_who_is_alone_does_not_wait_for_a_dead_predecessor(store: MemoryStore) -> None:
    clock, bell = SystemClock(), RecordingBell()
    assert store.lead("dead", clock.now(), 3600.0) == 1
    leader = Leader(store, bell, clock, "alive", sole=True)
    leader.start()
    assert leader.epoch == 2
    leader.stop()
    assert not leader.leads
    assert store.lead("next", clock.now(), LEASE_S) == 3


def test_a_store_that_is_away_ends_the_leading_and_its_return_brings_it_back() -> None:
    class Away(MemoryStore):
        away = threading.Event()

        def lead(self, holder, at, lease_s):
            if self.away.is_set():
                raise Unavailable("The database is away.")
            return super().lead(holder, at, lease_s)

    store, bell = Away(), RecordingBell()
    leader = Leader(store, bell, SystemClock(), "only", lease_s=0.3)
    leader.start()
    assert leader.epoch == 1
    store.away.set()
    assert bell.wait_for(TOPIC, times=2, deadline_s=DEADLINE_S)
    with pytest.raises(NotLeader):
        assert leader.epoch
    store.away.clear()
    assert bell.wait_for(TOPIC, times=3, deadline_s=DEADLINE_S)
    assert leader.epoch >= 1
    leader.stop()


class Pair:
    """Two servers with cycles of their own on one store."""

    def __init__(self) -> None:
        store = MemoryStore()
        self.world = World(store)
        self.world.register()
        self.clock = self.world.clock
        self.servers = [Server(store, self.clock, name) for name in ("a", "b")]
        self.launchers = [FakeLauncher(), FakeLauncher()]
        self.cycles = [
            Cycle(self.world.store, launcher, server.bell, self.clock, server.leader)
            for server, launcher in zip(self.servers, self.launchers, strict=True)
        ]
        self.clock.advance(3600)
        self.world.beat()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.world.store.check()


def test_who_stands_by_starts_nothing_and_can_explain(pair: Pair) -> None:
    assert pair.servers[0].look()
    assert not pair.servers[1].look()
    jobs = [pair.world.submit() for _ in range(6)]
    assert pair.cycles[1].run_once() == []
    assert [start.key.job_id for start in pair.cycles[0].run_once()] == jobs[:4]
    pair.cycles[1].run_once()
    waiting = pair.cycles[1].explain_job(jobs[5])
    assert waiting is not None
    assert waiting.code == "resources"
    assert pair.cycles[1].explain_job(jobs[0]) is None
    assert pair.launchers[1].started == []


def test_the_next_leader_goes_on_where_the_last_one_ended(pair: Pair) -> None:
    pair.servers[0].look()
    pair.servers[1].look()
    first = pair.world.submit()
    pair.cycles[0].run_once()
    pair.cycles[1].run_once()
    second = pair.world.submit()
    pair.clock.advance(LEASE_S)
    assert pair.servers[1].look()
    assert [start.key.job_id for start in pair.cycles[1].run_once()] == [second]
    assert pair.world.store.job(first).status is JobStatus.RUNNING
    assert pair.cycles[0].run_once() == []


def test_a_plan_of_a_former_leader_is_refused_and_it_stands_by(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.servers[0].look()
    pair.world.submit()
    changes = pair.world.store.changes

    def overtaken(cursor: int):
        """Between the reading and the commit another server takes the lease."""
        found = changes(cursor)
        pair.world.store.seize("b", pair.clock.now(), LEASE_S)
        return found

    with monkeypatch.context() as late:
        late.setattr(pair.world.store, "changes", overtaken)
        with pytest.raises(NotLeader):
            pair.cycles[0].run_once()
    assert pair.launchers[0].started == []
    assert pair.servers[1].look()
    assert len(pair.cycles[1].run_once()) == 1
