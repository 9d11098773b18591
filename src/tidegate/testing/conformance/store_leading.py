"""What every `LeaderStore` does, and how a former leader is fenced off."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from tidegate.core.states import TaskState
from tidegate.errors import NotLeader
from tidegate.ports import Store
from tidegate.testing.conformance.world import World

LEASE_S = 10.0


class LeaderStoreConformance:
    """One leads, under an epoch that grows with each change."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def test_the_time_is_that_of_now(self, store: Store) -> None:
        before, told, after = datetime.now(UTC), store.time(), datetime.now(UTC)
        assert before - timedelta(seconds=1) <= told <= after + timedelta(seconds=1)  # all on one machine
        assert store.time() >= told
        assert store.time().tzinfo is UTC

    def test_one_leads_and_the_others_wait_until_its_lease_has_run_out(self, world: World) -> None:
        lead = world.store.lead
        assert lead("a", world.now, LEASE_S) == 1
        assert lead("b", world.now, LEASE_S) is None
        assert lead("a", world.clock.advance(9), LEASE_S) == 1
        assert lead("b", world.clock.advance(9), LEASE_S) is None
        assert lead("b", world.clock.advance(1), LEASE_S) == 2
        assert lead("a", world.now, LEASE_S) is None

    def test_a_lease_that_ran_out_is_taken_anew_even_by_its_holder(self, world: World) -> None:
        assert world.store.lead("a", world.now, LEASE_S) == 1
        assert world.store.lead("a", world.clock.advance(LEASE_S), LEASE_S) == 2

    def test_who_resigns_makes_room_at_once(self, world: World) -> None:
        epoch = world.store.lead("a", world.now, LEASE_S)
        assert epoch == 1
        assert not world.store.resign("b", 1, world.now)
        assert not world.store.resign("a", 2, world.now)
        assert world.store.resign("a", 1, world.now)
        assert not world.store.resign("a", 1, world.now)
        assert world.store.lead("b", world.now, LEASE_S) == 2

    def test_who_is_alone_takes_the_lease_from_the_dead(self, world: World) -> None:
        world.store.lead("a", world.now, LEASE_S)
        assert world.store.seize("b", world.now, LEASE_S) == 2
        assert world.store.lead("a", world.now, LEASE_S) is None
        assert world.store.lead("b", world.now, LEASE_S) == 2

    def test_of_many_that_want_to_lead_at_once_one_does(self, store: Store) -> None:
        world = World(store)
        answers: list[int | None] = []
        begin = threading.Barrier(6)

        def ask(name: str) -> None:
            begin.wait()
            answers.append(store.lead(name, world.now, LEASE_S))

        threads = [threading.Thread(target=ask, args=(f"server {i}",)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers, key=str) == [1, *[None] * 5]

    def test_what_a_former_leader_decided_is_not_stored(self, world: World) -> None:
        later = world.now + timedelta(seconds=10)
        job_id, sleeping = world.submit(), world.submit(not_before=later)
        plan, former = world.plan(), world.epoch
        assert world.store.seize("another", world.now, LEASE_S) == former + 1
        with pytest.raises(NotLeader, match=f"epoch {former + 1}") as refused:
            world.store.commit(plan, world.now, former)
        assert refused.value.numbers == {"epoch": former + 1, "own_epoch": former}
        with pytest.raises(NotLeader):
            world.store.commit(plan, world.now, former, claim=True)
        with pytest.raises(NotLeader):
            world.store.wake_scheduled(later, former)
        assert world.store.job(job_id).task_counts[TaskState.QUEUED] == 1
        assert world.store.job(sleeping).task_counts[TaskState.SCHEDULED] == 1
        assert world.event_types(job_id) == ["accepted"]
        world.store.check()
        assert len(world.store.commit(plan, world.now, former + 1)) == 1
