"""What every `RescueStore` does with silent workers and what they held."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.core.attempt import AttemptEnd, Exit
from tidegate.core.membership import Beat
from tidegate.core.resources import Resources
from tidegate.core.states import AttemptState, ExitReason, TaskState
from tidegate.errors import NotLeader
from tidegate.ports import LostAttempt, Store
from tidegate.testing.conformance.world import LEASE_S, SMALL, World

LOST = Exit(ExitReason.LEASE_EXPIRED, "The worker 'local' said nothing for 90 s.", 90, 91.0)


class RescueStoreConformance:
    """Beats that are seen, deaths that are declared, attempts that are lost once."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def test_beats_claims_and_reports_are_signs_of_life(self, world: World) -> None:
        world.register()
        began = world.now
        assert world.store.beats() == [Beat("local", 1, began, LEASE_S)]
        world.submit()
        (key,) = world.start()
        assert _beat(world).beat_at == began  # a start is none
        world.clock.advance(1)
        world.claim([key])
        assert _beat(world) == Beat("local", 1, world.now, LEASE_S)
        world.clock.advance(1)
        end = world.end(key)
        world.clock.advance(1)
        world.store.report([end])
        assert _beat(world) == Beat("local", 1, end.ended_at, LEASE_S)
        world.beat()
        assert _beat(world).beat_at == world.now
        (view,) = world.store.changes(0).workers
        assert (view.beat_at, view.lease_s) == (world.now, LEASE_S)

    def test_a_late_report_takes_no_sign_of_life_back(self, world: World) -> None:
        key = world.run()
        end = world.end(key)
        world.clock.advance(5)
        world.beat([key])
        world.store.report([end])
        assert _beat(world) == Beat("local", 1, world.now, LEASE_S)

    def test_a_claim_of_an_older_generation_is_no_sign_of_life(self, world: World) -> None:
        world.submit()
        (key,) = world.start()
        began = world.now
        world.clock.advance(1)
        assert world.store.claim("local", world.generation + 1, [key], world.now) == []
        assert _beat(world).beat_at == began

    def test_the_dead_lose_what_they_held_once(self, world: World) -> None:
        running = world.run(max_attempts=2)
        world.submit()
        (starting,) = world.start()
        world.clock.advance(90)
        assert world.store.lost() == []
        beat = _beat(world)
        assert world.store.declare_dead(beat, world.now, world.epoch)
        assert not world.store.declare_dead(beat, world.now, world.epoch)
        assert world.store.beats() == []
        assert world.store.changes(0).workers == ()
        assert world.beat([running]) is None
        assert world.claim([starting]) == []
        assert world.report(running) is None
        lost = world.store.lost()
        assert lost == [
            LostAttempt(running, "local", 1, 2, 0, kind="sql"),
            LostAttempt(starting, "local", 1, 1, 0, kind="sql"),
        ]
        ends = [_end(world, one) for one in lost]
        assert world.store.end_lost(ends, world.epoch) == ends
        assert world.store.end_lost(ends, world.epoch) == []
        assert world.store.lost() == []
        assert world.event_types(running.job_id)[-1] == "lost"
        world.store.check()
        assert world.register() == 3
        assert world.allocated() == Resources()
        (again,) = world.claim()[:1]
        assert (again.key.attempt, again.losses) == (2, 1)
        world.store.check()

    def test_who_was_heard_of_meanwhile_is_not_dead(self, world: World) -> None:
        key = world.run()
        beat = _beat(world)
        world.clock.advance(90)
        world.beat([key])
        assert not world.store.declare_dead(beat, world.now, world.epoch)
        beat = _beat(world)
        world.register()
        assert not world.store.declare_dead(beat, world.now, world.epoch)
        assert not world.store.declare_dead(_of_nobody(beat), world.now, world.epoch)
        assert world.store.unregister("local", world.generation, world.now)
        assert not world.store.declare_dead(_as_registered(world), world.now, world.epoch)

    def test_who_came_back_has_lost_what_it_held(self, world: World) -> None:
        key = world.run()
        world.register()
        (lost,) = world.store.lost()
        assert lost == LostAttempt(key, "local", 1, 1, 0, returned=True, kind="sql")
        assert world.allocated() == SMALL  # until its end is recorded
        beat_at = _beat(world).beat_at
        world.clock.advance(1)
        assert len(world.store.end_lost([_end(world, lost)], world.epoch)) == 1
        assert _beat(world).beat_at == beat_at  # the rescue is no sign of life
        assert world.allocated() == Resources()
        world.store.check()

    def test_a_former_leader_rescues_nobody(self, world: World) -> None:
        key = world.run()
        former, beat = world.epoch, _beat(world)
        world.store.seize("another", world.now, LEASE_S)
        with pytest.raises(NotLeader):
            world.store.declare_dead(beat, world.now, former)
        assert world.store.beats() == [beat]
        world.register()
        with pytest.raises(NotLeader):
            world.store.end_lost([_end(world, lost) for lost in world.store.lost()], former)
        assert [lost.key for lost in world.store.lost()] == [key]
        world.store.check()


def _beat(world: World) -> Beat:
    (beat,) = world.store.beats()
    return beat


def _as_registered(world: World) -> Beat:
    return Beat("local", world.generation, world.now, LEASE_S)


def _of_nobody(beat: Beat) -> Beat:
    return beat._replace(worker_id="nobody")


def _end(world: World, lost: LostAttempt) -> AttemptEnd:
    end = world.end(lost.key, TaskState.QUEUED, state=AttemptState.LOST, exit=LOST, result=None)
    return replace(end, generation=lost.generation)
