"""What every `ScheduleStore`, `AttemptStore` and `SourceStore` does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tidegate.core.job import (
    AttemptEnd,
    AttemptKey,
    AttemptState,
    Exit,
    ExitReason,
    JobStatus,
    Shape,
    TaskKey,
    TaskState,
    Usage,
)
from tidegate.core.plan import Plan, Start
from tidegate.core.resources import MIB, Resources
from tidegate.errors import Conflict, IllegalTransition, InvalidInput, NotFound
from tidegate.ports import Store
from tidegate.testing.conformance.world import LARGE, SMALL, World, new_source, new_tasks

NOTHING = Resources()
LOST = Exit(ExitReason.LEASE_EXPIRED, "The worker 'local' was not heard of for 60 s.", 60, 61.0)


class ScheduleStoreConformance:
    """Changes, commits, waking."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def test_changes_tell_what_waits_and_who_works(self, world: World) -> None:
        world.register()
        job_id = world.submit(shape=Shape(SMALL, frozenset({("gpu", "yes")})), tasks=new_tasks(2))
        changes = world.store.changes(0)
        assert {task.key for task in changes.waiting} == {TaskKey(job_id, 1), TaskKey(job_id, 2)}
        task = changes.waiting[0]
        assert (task.queue, task.owner, task.attempts, task.queued_at) == ("default", "ann", 0, world.now)
        assert task.shape == Shape(SMALL, frozenset({("gpu", "yes")}))
        (worker,) = changes.workers
        assert (worker.id, worker.generation, worker.allocatable, worker.allocated) == (
            "local",
            1,
            LARGE,
            NOTHING,
        )
        assert worker.labels == frozenset({("disk", "fast")})
        assert changes.queues["default"].running == 0

    def test_a_cursor_shows_each_change_once(self, world: World) -> None:
        world.submit()
        first = world.store.changes(0)
        assert list(world.store.changes(first.cursor).waiting) == []
        second_job = world.submit()
        second = world.store.changes(first.cursor)
        assert [task.key.job_id for task in second.waiting] == [second_job]
        assert world.store.job(second_job).change <= second.cursor
        assert world.store.job(second_job).change > first.cursor

    def test_a_start_makes_task_attempt_and_allocation_true(self, world: World) -> None:
        job_id = world.submit()
        world.clock.advance(3)
        plan = world.plan()
        assert world.store.commit(plan, world.now) == list(plan.starts)
        job = world.store.job(job_id)
        assert (job.status, job.started_at) == (JobStatus.RUNNING, world.now)
        (task,) = world.store.tasks(job_id)
        (attempt,) = task.attempts
        assert (task.state, attempt.state, attempt.worker_id) == (
            TaskState.RUNNING,
            AttemptState.STARTING,
            "local",
        )
        assert attempt.key == AttemptKey(job_id, 1, 1)
        assert attempt.started_at == world.now
        assert world.allocated() == SMALL
        assert world.waiting() == []
        world.store.check()

    def test_a_plan_is_committed_once(self, world: World) -> None:
        world.submit()
        plan = world.plan()
        assert len(world.store.commit(plan, world.now)) == 1
        assert world.store.commit(plan, world.now) == []
        twice = Plan(plan.starts + plan.starts)
        assert world.store.commit(twice, world.now) == []
        assert world.allocated() == SMALL
        world.store.check()

    def test_a_task_named_twice_in_a_plan_starts_once(self, world: World) -> None:
        world.submit()
        plan = world.plan()
        assert len(world.store.commit(Plan(plan.starts * 2), world.now)) == 1
        world.store.check()

    def test_no_plan_is_no_work(self, world: World) -> None:
        assert world.store.commit(Plan(), world.now) == []

    def test_a_task_cancelled_before_the_commit_does_not_start(self, world: World) -> None:
        gone, stays = world.submit(), world.submit()
        plan = world.plan()
        world.store.request_cancel(gone, world.now)
        assert [start.key.job_id for start in world.store.commit(plan, world.now)] == [stays]
        assert world.allocated() == SMALL
        world.store.check()

    def test_a_wrong_attempt_number_does_not_start(self, world: World) -> None:
        world.submit()
        (start,) = world.plan().starts
        wrong = [replace_key(start, 2), replace_key(start, 0)]
        assert world.store.commit(Plan(tuple(wrong)), world.now) == []

    def test_unknown_tasks_workers_and_queues_do_not_start(self, world: World) -> None:
        world.submit()
        (start,) = world.plan().starts
        unknown = start._replace(key=AttemptKey(999, 1, 1))
        elsewhere = start._replace(worker_id="nobody")
        misplaced = start._replace(queue="other")
        assert world.store.commit(Plan((unknown, elsewhere, misplaced)), world.now) == []
        world.store.check()

    def test_a_worker_is_never_oversold(self, world: World) -> None:
        for _ in range(6):
            world.submit()
        assert len(world.start()) == 4  # four CPUs
        assert world.allocated().cpu_milli == 4000
        assert world.start() == []
        world.store.check()

    def test_what_does_not_fit_is_passed_over_by_what_does(self, world: World) -> None:
        large = world.submit(resources=replace(LARGE, cpu_milli=4001))
        small = world.submit()
        assert [key.job_id for key in world.start()] == [small]
        assert world.store.job(large).status is JobStatus.QUEUED

    def test_an_amount_of_zero_always_fits(self, world: World) -> None:
        for _ in range(4):
            world.submit()
        world.start()
        world.submit(resources=Resources(0, MIB, 0))
        assert len(world.start()) == 1

    def test_another_generation_gets_nothing(self, world: World) -> None:
        world.submit()
        plan = world.plan()
        world.register()
        assert world.store.commit(plan, world.now) == []
        assert len(world.start()) == 1

    def test_a_worker_that_left_gets_nothing(self, world: World) -> None:
        world.submit()
        plan = world.plan()
        assert not world.store.unregister("local", world.generation + 1, world.now)
        assert world.store.unregister("local", world.generation, world.now)
        assert not world.store.unregister("local", world.generation, world.now)
        assert world.store.commit(plan, world.now) == []
        assert world.store.changes(0).workers == ()

    def test_caps_and_pauses_hold_at_the_commit(self, world: World) -> None:
        for _ in range(3):
            world.submit()
        plan = world.plan()
        world.store.set_queue("default", max_concurrent=2)
        first, second = world.store.commit(plan, world.now)
        assert world.start() == []
        world.claim([first.key, second.key])
        world.report(first.key)
        world.store.set_queue("default", paused=True)
        assert world.start() == []
        world.store.set_queue("default", paused=False)
        assert len(world.start()) == 1
        world.store.check()

    def test_tasks_wake_when_their_time_has_come(self, world: World) -> None:
        soon, later = world.now + timedelta(seconds=10), world.now + timedelta(seconds=20)
        first, second = world.submit(not_before=soon), world.submit(not_before=later)
        assert world.waiting() == []
        assert world.store.job(first).task_counts[TaskState.SCHEDULED] == 1
        assert world.store.tasks(first)[0].not_before == world.store.job(first).not_before == soon
        assert world.store.waiting_count() == 2
        cursor = world.store.changes(0).cursor
        assert world.store.wake_scheduled(world.now) == soon
        assert world.store.wake_scheduled(soon) == later
        (woken,) = world.store.changes(cursor).waiting
        assert (woken.key.job_id, woken.queued_at) == (first, soon)
        assert world.store.job(first).not_before is None
        assert world.store.wake_scheduled(later) is None
        assert [task.key.job_id for task in world.waiting()] == [first, second]
        world.store.check()


def replace_key(start: Start, attempt: int) -> Start:
    return start._replace(key=start.key._replace(attempt=attempt))


class AttemptStoreConformance:
    """Workers, claims, ends, losses."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def test_a_claim_brings_all_that_is_needed_to_run(self, world: World) -> None:
        job_id = world.submit(tasks=new_tasks(2), max_attempts=3, spec={"file": 0, "dialect": "duckdb"})
        keys = world.start()
        world.clock.advance(1)
        first, second = world.claim(keys)
        assert (first.key, second.key) == (AttemptKey(job_id, 1, 1), AttemptKey(job_id, 2, 1))
        assert second.spec == {"file": 2, "dialect": "duckdb"}
        assert (second.name, second.kind, second.owner, second.queue) == (
            "file 2.sql",
            "sql",
            "ann",
            "default",
        )
        assert (second.resources, second.timeout_s, second.max_attempts, second.losses) == (SMALL, 60.0, 3, 0)
        assert world.store.tasks(job_id)[0].attempts[0].state is AttemptState.RUNNING
        world.store.check()

    def test_an_attempt_is_claimed_once_and_by_its_worker(self, world: World) -> None:
        world.submit()
        keys = world.start()
        assert world.store.claim("other", world.generation, keys, world.now) == []
        assert world.store.claim("local", world.generation + 1, keys, world.now) == []
        assert len(world.claim([*keys, *keys])) == 1
        assert world.claim(keys) == []
        assert world.claim([AttemptKey(999, 1, 1)]) == []

    def test_a_claim_after_a_cancel_ends_the_attempt_unstarted(self, world: World) -> None:
        job_id = world.submit(result_name="mine")
        keys = world.start()
        cancelled = world.store.request_cancel(job_id, world.now)
        assert (cancelled.status, cancelled.ended_tasks, cancelled.live_attempts) == (
            JobStatus.RUNNING,
            0,
            tuple(keys),
        )
        assert world.claim(keys) == []
        job = world.store.job(job_id)
        assert job.status is JobStatus.CANCELLED
        assert job.exit is not None
        assert job.exit.reason is ExitReason.CANCELLED
        assert world.allocated() == NOTHING
        assert world.event_types(job_id) == ["accepted", "started", "cancel_requested", "cancelled"]
        world.store.check()
        world.submit(result_name="mine")

    def test_a_success_is_recorded_with_result_usage_and_source(self, world: World) -> None:
        key = world.run(result_name="Mine")
        world.clock.advance(2)
        source = new_source("Mine", world.now, job_id=key.job_id, lineage=("a", "b"), sql="select 1", managed=True,
                            options={"delim": ";"})  # fmt: skip
        end = world.end(key, source=source)
        assert world.store.report([end]) == [end]
        job = world.store.job(key.job_id)
        assert (job.status, job.finished_at, job.result) == (JobStatus.SUCCEEDED, world.now, {"row_count": 3})
        assert (job.usage, job.exit) == (end.usage, None)
        assert world.store.source("mINE") == source
        assert world.store.managed_paths() == {source.path}
        assert world.allocated() == NOTHING
        (task,) = world.store.tasks(key.job_id)
        assert (task.state, task.result, task.attempts[0].usage) == (
            TaskState.SUCCEEDED,
            {"row_count": 3},
            end.usage,
        )
        assert task.attempts[0].ended_at == world.now
        world.store.check()

    def test_a_failure_keeps_its_reason_and_frees_the_name(self, world: World) -> None:
        key = world.run(result_name="mine")
        why = Exit(ExitReason.MEMORY_LIMIT, "It needed more.", 256, 300.5, "cgroup2", "memory")
        world.report(key, TaskState.FAILED, exit=why)
        job = world.store.job(key.job_id)
        assert (job.status, job.exit, job.result) == (JobStatus.FAILED, why, None)
        assert world.store.tasks(key.job_id)[0].attempts[0].exit == why
        last = world.store.events(key.job_id)[-1]
        assert (last.type, last.data["reason"], last.data["limit"]) == ("failed", "memory_limit", 256)
        assert "It needed more." in last.message
        world.submit(result_name="mine")
        world.store.check()

    def test_an_end_is_recorded_once(self, world: World) -> None:
        key = world.run()
        end = world.end(key)
        assert world.store.report([end, end]) == [end]
        assert world.store.report([end]) == []
        assert world.report(key, TaskState.FAILED) is None
        assert world.allocated() == NOTHING
        assert world.store.job(key.job_id).status is JobStatus.SUCCEEDED
        world.store.check()

    def test_stale_ends_are_not_believed(self, world: World) -> None:
        key = world.run(max_attempts=2)
        assert world.report(key._replace(attempt=2)) is None
        assert world.report(key, worker_id="other") is None
        assert world.report(key, generation=world.generation + 1) is None
        assert world.report(key._replace(job_id=999)) is None
        assert world.report(key, TaskState.QUEUED) is not None
        world.claim()
        assert world.report(key) is None  # the first attempt again
        assert world.store.report([]) == []
        world.store.check()

    def test_a_stale_end_does_not_hold_up_the_others(self, world: World) -> None:
        first, second = world.run(), world.run()
        world.report(first)
        recorded = world.store.report([world.end(first), world.end(second)])
        assert [end.key for end in recorded] == [second]

    def test_an_end_that_cannot_be_is_refused_whole(self, world: World) -> None:
        key, other = world.run(), world.run()
        with pytest.raises(InvalidInput):
            world.store.report([world.end(other), world.end(key, state=AttemptState.FAILED)])
        with pytest.raises(InvalidInput):
            world.report(key, TaskState.SCHEDULED)
        with pytest.raises(IllegalTransition):
            world.report(key, state=AttemptState.STARTING)
        world.submit()
        (unclaimed,) = world.start()
        with pytest.raises(IllegalTransition):
            world.report(unclaimed)
        assert world.store.job(other.job_id).status is JobStatus.RUNNING
        world.store.check()

    def test_a_cancel_wins_over_a_success_that_comes_later(self, world: World) -> None:
        key = world.run(result_name="mine")
        world.store.request_cancel(key.job_id, world.now)
        recorded = world.report(key, source=new_source("mine", world.now))
        assert recorded is not None
        assert (recorded.next_state, recorded.source, recorded.result) == (TaskState.CANCELLED, None, None)
        job = world.store.job(key.job_id)
        assert (job.status, job.result) == (JobStatus.CANCELLED, None)
        with pytest.raises(NotFound):
            world.store.source("mine")
        assert world.store.tasks(key.job_id)[0].attempts[0].state is AttemptState.FAILED
        world.store.check()

    def test_a_cancel_wins_over_another_attempt(self, world: World) -> None:
        key = world.run(max_attempts=3)
        world.store.request_cancel(key.job_id, world.now)
        recorded = world.report(key, TaskState.QUEUED)
        assert recorded is not None
        assert recorded.next_state is TaskState.CANCELLED
        assert world.waiting() == []
        world.store.check()

    def test_cancelling_stops_what_runs_and_ends_what_waits(self, world: World) -> None:
        job_id = world.submit(tasks=new_tasks(6))
        keys = world.start()  # four fit
        world.claim(keys)
        cancelled = world.store.request_cancel(job_id, world.now)
        assert (cancelled.status, cancelled.ended_tasks) == (JobStatus.RUNNING, 2)
        assert cancelled.live_attempts == tuple(keys)
        assert world.store.beat(world.worker, world.generation, world.now, 60.0) == keys
        world.store.report([world.end(key, TaskState.CANCELLED) for key in keys])
        job = world.store.job(job_id)
        assert (job.status, job.task_counts[TaskState.CANCELLED]) == (JobStatus.CANCELLED, 6)
        assert world.store.events(job_id)[-1].task_number is None
        assert world.store.beat(world.worker, world.generation, world.now, 60.0) == []
        world.store.check()

    def test_another_attempt_queues_the_task_again(self, world: World) -> None:
        key = world.run(max_attempts=2)
        cursor = world.store.changes(0).cursor
        world.clock.advance(1)
        world.report(key, TaskState.QUEUED)
        (task,) = world.store.changes(cursor).waiting
        assert (task.key, task.attempts, task.queued_at) == (key.task, 1, world.now)
        assert world.store.job(key.job_id).status is JobStatus.QUEUED
        assert world.allocated() == NOTHING
        (again,) = world.claim()
        assert again.key == AttemptKey(*key.task, 2)
        assert again.losses == 0
        world.report(again.key)
        job = world.store.job(key.job_id)
        assert job.usage == Usage(100 * MIB, 150 * MIB, 3.0, 4.0, 2000, 4000)
        assert job.exit is None
        assert world.event_types(key.job_id) == ["accepted", "started", "retrying", "started", "succeeded"]
        world.store.check()

    def test_another_attempt_may_wait_for_its_time(self, world: World) -> None:
        key = world.run(max_attempts=2)
        later = world.now + timedelta(seconds=5)
        world.report(key, TaskState.SCHEDULED, not_before=later)
        assert world.waiting() == []
        assert world.store.waiting_count() == 1
        assert world.store.wake_scheduled(world.now) == later
        world.store.wake_scheduled(later)
        assert [task.attempts for task in world.waiting()] == [1]
        world.store.check()

    def test_a_jobs_status_follows_its_tasks(self, world: World) -> None:
        job_id = world.submit(tasks=new_tasks(3))
        keys = world.start()
        world.claim(keys)
        world.report(keys[0])
        world.report(keys[1], TaskState.QUEUED)
        assert world.store.job(job_id).status is JobStatus.RUNNING
        world.report(keys[2], TaskState.FAILED)
        assert world.store.job(job_id).status is JobStatus.RUNNING  # one waits, but others have run
        (again,) = world.claim()
        world.report(again.key)
        job = world.store.job(job_id)
        assert (job.status, job.task_counts[TaskState.SUCCEEDED]) == (JobStatus.FAILED, 2)
        assert job.exit is not None
        assert "1 failed" in world.store.events(job_id)[-1].message
        world.store.check()

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

    def test_generations_grow_and_end_the_older_ones(self, world: World) -> None:
        key = world.run()
        old = world.generation
        assert world.register() == old + 1
        assert world.store.beat(world.worker, old, world.now, 60.0) is None
        assert world.report(key, generation=old) is None  # it was lost
        (lost,) = world.store.lost(world.now)
        assert (lost.key, lost.worker_id, lost.generation, lost.max_attempts, lost.losses) == (
            key,
            "local",
            old,
            1,
            0,
        )
        assert world.allocated() == SMALL  # until its end is recorded

    def test_what_was_lost_is_rescued_once(self, world: World) -> None:
        key = world.run()
        world.clock.advance(59)
        assert world.store.lost(world.now) == []
        world.clock.advance(1)
        (lost,) = world.store.lost(world.now)
        end = AttemptEnd(
            lost.key,
            lost.worker_id,
            lost.generation,
            AttemptState.LOST,
            world.now,
            TaskState.QUEUED,
            exit=LOST,
        )
        assert world.store.report([end]) == [end]
        assert world.store.report([end]) == []
        assert world.store.lost(world.now) == []
        assert world.report(key) is None  # back from the dead
        assert world.allocated() == NOTHING
        assert world.event_types(key.job_id)[-1] == "lost"
        world.register()
        (again,) = world.claim()
        assert (again.key.attempt, again.losses) == (2, 1)
        world.store.check()

    def test_an_attempt_that_no_worker_claimed_can_be_lost(self, world: World) -> None:
        job_id = world.submit()
        world.start()
        world.register()
        (lost,) = world.store.lost(world.now)
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
        assert world.store.beat(smaller, world.generation, world.now, 60.0) == []
        world.clock.advance(50)
        assert world.store.lost(world.now) == []
        (view,) = world.store.changes(0).workers
        assert view.available.cpu_milli == -500
        world.store.check()  # less capacity than allocated is no fault of the ledger
        world.report(key)
        world.submit()
        assert world.start() == []
        world.store.check()

    def test_who_leaves_loses_what_it_held(self, world: World) -> None:
        key = world.run()
        world.store.unregister("local", world.generation, world.now)
        assert [lost.key for lost in world.store.lost(world.now)] == [key]
        assert world.store.beat(world.worker, world.generation, world.now, 60.0) is None

    def test_usage_that_nothing_measured_stays_unknown(self, world: World) -> None:
        key = world.run()
        world.report(key, usage=Usage())
        assert world.store.job(key.job_id).usage == Usage()

    def test_a_source_made_meanwhile_fails_the_end_whole(self, world: World) -> None:
        key = world.run(result_name="")
        name = f"async_result_{key.job_id}"
        world.store.add_source(new_source(name, world.now))
        recorded = world.report(key, source=new_source(name, world.now, row_count=99))
        assert recorded is not None
        assert (recorded.next_state, recorded.source) == (TaskState.FAILED, None)
        assert recorded.exit is not None
        assert recorded.exit.code == "source_exists"
        assert world.store.job(key.job_id).status is JobStatus.FAILED
        assert world.store.source(name).row_count == 3
        world.store.check()

    def test_two_ends_of_one_batch_cannot_register_one_name(self, world: World) -> None:
        keys = [world.run(), world.run()]
        recorded = world.store.report([world.end(key, source=new_source("Same", world.now)) for key in keys])
        assert [end.next_state for end in recorded] == [TaskState.SUCCEEDED, TaskState.FAILED]
        world.store.check()

    def test_a_source_named_otherwise_frees_the_reserved_name(self, world: World) -> None:
        key = world.run(result_name="planned")
        world.report(key, source=new_source("other", world.now))
        world.store.add_source(new_source("planned", world.now))
        world.store.check()


class SourceStoreConformance:
    """Sources."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def test_a_source_reads_back_as_added(self, world: World) -> None:
        source = new_source("Cities", world.now, options={"delim": ";", "types": {"a": "DATE"}}, file_count=3)
        world.store.add_source(source)
        assert world.store.source("cities") == source
        assert world.store.sources_named(["CITIES", "unknown", "cities"]) == [source]
        assert world.store.sources_named([]) == []

    def test_a_name_is_taken_once_without_regard_to_case(self, world: World) -> None:
        world.store.add_source(new_source("cities", world.now))
        with pytest.raises(Conflict, match="Cities"):
            world.store.add_source(new_source("Cities", world.now))

    def test_an_unknown_name_is_answered_with_the_nearest(self, world: World) -> None:
        world.store.add_source(new_source("Cities", world.now))
        with pytest.raises(NotFound, match="Cities"):
            world.store.source("citeis")
        with pytest.raises(NotFound):
            world.store.delete_source("nothing_like_it")

    def test_lists_are_in_order_of_name_and_paged(self, world: World) -> None:
        for name in ("b", "A", "c"):
            world.store.add_source(new_source(name, world.now, owner="bob" if name == "c" else "ann"))
        assert [source.name for source in world.store.sources()] == ["A", "b", "c"]
        assert [source.name for source in world.store.sources(after="a", limit=1)] == ["b"]
        assert [source.name for source in world.store.sources(owner="bob")] == ["c"]

    def test_a_deleted_source_is_gone(self, world: World) -> None:
        source = new_source("mine", world.now, managed=True)
        world.store.add_source(source)
        world.store.add_source(new_source("users", world.now, managed=False))
        assert world.store.managed_paths() == {source.path}
        assert world.store.delete_source("MINE") == source
        assert world.store.managed_paths() == set()
        with pytest.raises(NotFound):
            world.store.source("mine")

    def test_files_of_results_that_are_no_sources_are_needed_as_long_as_their_job(self, world: World) -> None:
        key = world.run()
        world.report(key, result={"path": "/data/results/rows.json", "row_count": 1})
        assert world.store.managed_paths() == {"/data/results/rows.json"}
        world.store.prune(world.now + timedelta(days=1))
        assert world.store.managed_paths() == set()
