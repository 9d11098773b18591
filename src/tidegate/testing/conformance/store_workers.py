"""What every `AttemptStore` does with workers and what they hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.core.attempt import AttemptEnd, Exit
from tidegate.core.resources import GIB, Resources
from tidegate.core.states import AttemptState, ExitReason, JobStatus, TaskState
from tidegate.errors import NotFound
from tidegate.ports import Draining, Store
from tidegate.testing.conformance.world import LARGE, SMALL, World

NOTHING = Resources()
LOST = Exit(ExitReason.LEASE_EXPIRED, "The worker 'local' was not heard of for 60 s.", 60, 61.0)


class WorkerStoreConformance:
    """Workers that come, beat, leave and are lost; allocations that outlive an end."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def test_an_unproven_end_keeps_its_allocation_until_released_once(self, world: World) -> None:
        key = world.run()
        world.report(key, release=False)
        assert world.store.job(key.job_id).status is JobStatus.SUCCEEDED
        assert world.allocated() == SMALL
        world.store.check()
        assert world.store.release([key, key], world.now) == 1
        assert world.store.release([key], world.now) == 0
        assert world.allocated() == NOTHING
        world.store.check()

    def test_what_is_kept_on_a_worker_is_released_when_nothing_runs_there(self, world: World) -> None:
        key, running = world.run(), world.run()
        world.report(key, release=False)
        assert world.store.release_kept("another", world.now) == 0
        assert world.store.release_kept(world.worker.id, world.now) == 1
        assert world.store.release_kept(world.worker.id, world.now) == 0
        assert world.allocated() == SMALL
        world.report(running)
        assert world.allocated() == NOTHING
        world.store.check()

    def test_release_never_takes_from_a_live_attempt(self, world: World) -> None:
        key = world.run()
        assert world.store.release([key], world.now) == 0
        assert world.store.release([], world.now) == 0
        assert world.allocated() == SMALL
        world.store.check()

    def test_a_draining_worker_gets_no_start_and_runs_on(self, world: World) -> None:
        key = world.run()
        world.submit()
        record = world.store.drain("local", Draining.ORDERED)
        assert (record.draining, record.running, record.allocated) == (Draining.ORDERED, 1, SMALL)
        (view,) = world.store.changes(0).workers
        assert not view.accepting
        assert world.start() == []
        assert world.cancels() == []
        assert world.report(key) is not None
        assert world.store.drain("local", Draining.NO).draining is Draining.NO
        assert len(world.start()) == 1
        world.store.check()

    def test_what_an_operator_ordered_outlives_a_registration_and_a_leaving_does_not(
        self, world: World
    ) -> None:
        world.register()
        assert world.store.drain("local", Draining.LEAVING).draining is Draining.LEAVING
        world.register()
        assert world.store.workers()[0].draining is Draining.NO
        world.store.drain("local", Draining.ORDERED)
        assert world.store.drain("local", Draining.LEAVING).draining is Draining.ORDERED
        world.register()
        assert world.store.workers()[0].draining is Draining.ORDERED

    def test_a_worker_is_listed_until_it_has_left_and_holds_nothing(self, world: World) -> None:
        key = world.run()
        (record,) = world.store.workers()
        assert (record.id, record.hostname, record.capacity, record.allocatable) == (
            "local",
            "host",
            LARGE,
            LARGE,
        )
        assert (record.generation, record.present, record.running) == (world.generation, True, 1)
        assert (record.registered_at, record.beat_at) == (world.now, world.now)
        assert (record.labels, record.versions) == (world.worker.labels, {"duckdb": "2.0"})
        assert [(held.key, held.worker_id, held.resources) for held in world.store.held()] == [
            (key, "local", SMALL)
        ]
        world.report(key, release=False)
        world.store.unregister("local", world.generation, world.now)
        assert [(one.present, one.running) for one in world.store.workers()] == [(False, 1)]
        world.store.release_kept("local", world.now)
        assert (world.store.workers(), world.store.held()) == ([], [])

    def test_what_a_worker_says_of_itself_is_shown(self, world: World) -> None:
        world.worker = replace(world.worker, stats={"pid": 7, "begun": {"sql": 1}})
        world.register()
        assert world.store.workers()[0].stats == {"pid": 7, "begun": {"sql": 1}}
        told = replace(world.worker, stats={"pid": 8})
        world.store.beat(told, world.generation, world.now, 60.0, [])
        assert world.store.workers()[0].stats == {"pid": 8}

    def test_live_attempts_are_shown_with_what_they_are(self, world: World) -> None:
        first = world.run(owner="bob")
        world.submit()
        (second,) = world.start()
        live = world.store.live()
        assert [(each.key, each.running, each.owner) for each in live] == [
            (first, True, "bob"),
            (second, False, "ann"),
        ]
        assert {(each.worker_id, each.kind, each.queue, each.name) for each in live} == {
            ("local", "sql", "default", "select 1")
        }
        world.report(first)
        assert [each.key for each in world.store.live()] == [second]

    def test_an_unknown_worker_cannot_be_drained(self, world: World) -> None:
        world.register()
        with pytest.raises(NotFound, match="local"):
            world.store.drain("nobody", Draining.ORDERED)

    def test_starts_that_nobody_claimed_are_told_again(self, world: World) -> None:
        world.submit()
        world.submit()
        first = world.start()
        assert world.store.unclaimed(world.now) == []  # they are as old as that, not older
        world.clock.advance(10)
        found = world.store.unclaimed(world.now)
        assert [start.key for start in found] == first
        assert {(s.queue, s.worker_id, s.generation, s.resources) for s in found} == {
            ("default", "local", world.generation, SMALL)
        }
        assert world.store.unclaimed(world.now, "local") == found
        assert world.store.unclaimed(world.now, "another") == []
        world.claim(first[:1])
        assert [start.key for start in world.store.unclaimed(world.now)] == first[1:]
        world.register()  # what the older registration held is lost, and rescued
        assert world.store.unclaimed(world.now) == []

    def test_generations_grow_and_end_the_older_ones(self, world: World) -> None:
        key = world.run()
        old = world.generation
        assert world.register() == old + 1
        assert world.beat(generation=old) is None
        assert world.report(key, generation=old) is None  # it was lost
        (lost,) = world.store.lost()
        assert (lost.key, lost.worker_id, lost.generation, lost.max_attempts, lost.losses) == (
            key,
            "local",
            old,
            1,
            0,
        )
        assert world.allocated() == SMALL  # until its end is recorded

    def test_what_an_orderly_stop_put_back_is_no_loss(self, world: World) -> None:
        key = world.run()
        for attempt in (1, 2):
            key = key._replace(attempt=attempt)
            recorded = world.report(
                key, TaskState.QUEUED, state=AttemptState.LOST, exit=LOST, put_back=True, result=None
            )
            assert recorded is not None
            (again,) = world.claim()
            assert (again.key.attempt, again.losses, again.put_back) == (attempt + 1, 0, attempt)
        world.register()
        (lost,) = world.store.lost()
        assert (lost.key.attempt, lost.losses, lost.put_back) == (3, 0, 2)
        world.store.check()

    def test_who_ran_out_of_memory_asks_for_more_from_then_on(self, world: World) -> None:
        job_id = world.submit(max_memory_bytes=GIB)
        (first,) = world.claim()
        assert (first.memory_raises, first.max_memory_bytes) == (0, GIB)
        more = SMALL.memory_bytes * 2
        assert world.report(first.key, TaskState.QUEUED, next_memory_bytes=more) is not None
        assert [task.shape.resources.memory_bytes for task in world.waiting()] == [more]
        (second,) = world.claim()
        assert second.resources == replace(SMALL, memory_bytes=more)
        assert (second.key.attempt, second.memory_raises, second.losses) == (2, 1, 0)
        world.store.check()
        assert world.report(second.key) is not None
        (task,) = world.store.tasks(job_id)
        assert [one.resources.memory_bytes for one in task.attempts] == [SMALL.memory_bytes, more]
        assert task.resources == second.resources
        job = world.store.job(job_id)
        assert (job.shape.resources, job.max_memory_bytes) == (SMALL, GIB)

    def test_an_attempt_that_no_worker_claimed_can_be_lost(self, world: World) -> None:
        job_id = world.submit()
        world.start()
        world.register()
        (lost,) = world.store.lost()
        end = AttemptEnd(
            lost.key,
            lost.worker_id,
            lost.generation,
            AttemptState.LOST,
            world.now,
            TaskState.FAILED,
            exit=LOST,
        )
        world.store.report([end])
        assert world.store.job(job_id).status is JobStatus.FAILED
        world.store.check()

    def test_a_beat_keeps_the_lease_and_brings_the_capacity(self, world: World) -> None:
        key = world.run()
        world.clock.advance(50)
        smaller = replace(world.worker, allocatable=replace(LARGE, cpu_milli=500))
        assert world.store.beat(smaller, world.generation, world.now, 60.0, [key]) == ([], [], [])
        world.clock.advance(50)
        assert world.store.lost() == []
        (view,) = world.store.changes(0).workers
        assert view.available.cpu_milli == -500
        world.store.check()  # less capacity than allocated is no fault of the ledger
        world.report(key)
        world.submit()
        assert world.start() == []
        world.store.check()

    def test_a_beat_compares_what_runs_with_what_is_held(self, world: World) -> None:
        running, ended, unheard = world.run(), world.run(), world.run()
        world.submit()
        (starting,) = world.start()
        world.report(ended)
        nowhere = running._replace(attempt=7)
        answer = world.beat([running, ended, nowhere])
        assert answer == ([], sorted([ended, nowhere]), [unheard])
        assert world.beat([running, unheard, starting]) == ([], [], [])
        world.store.request_cancel(running.job_id, world.now)
        assert world.beat([running, unheard]) == ([running], [], [])
        world.register()
        assert world.beat([running, unheard]) == ([], [running, unheard], [])

    def test_who_leaves_loses_what_it_held(self, world: World) -> None:
        key = world.run()
        world.store.unregister("local", world.generation, world.now)
        (lost,) = world.store.lost()
        assert (lost.key, lost.returned) == (key, False)
        assert world.beat() is None
        assert world.store.beats() == []
