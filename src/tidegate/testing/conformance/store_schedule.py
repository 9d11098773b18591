"""What every `ScheduleStore` does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tidegate.core.job import AttemptKey, Priority, Shape, TaskKey
from tidegate.core.plan import Plan, Start
from tidegate.core.resources import MIB, Resources
from tidegate.core.states import AttemptState, JobStatus, TaskState
from tidegate.ports import Store
from tidegate.testing.conformance.world import LARGE, SMALL, World, new_source, new_tasks

NOTHING = Resources()


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
        assert world.commit(plan) == list(plan.starts)
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
        assert len(world.commit(plan)) == 1
        assert world.commit(plan) == []
        twice = Plan(plan.starts + plan.starts)
        assert world.commit(twice) == []
        assert world.allocated() == SMALL
        world.store.check()

    def test_a_task_named_twice_in_a_plan_starts_once(self, world: World) -> None:
        world.submit()
        plan = world.plan()
        assert len(world.commit(Plan(plan.starts * 2))) == 1
        world.store.check()

    def test_no_plan_is_no_work(self, world: World) -> None:
        assert world.commit(Plan()) == []

    def test_a_task_cancelled_before_the_commit_does_not_start(self, world: World) -> None:
        gone, stays = world.submit(), world.submit()
        plan = world.plan()
        world.store.request_cancel(gone, world.now)
        assert [start.key.job_id for start in world.commit(plan)] == [stays]
        assert world.allocated() == SMALL
        world.store.check()

    def test_a_wrong_attempt_number_does_not_start(self, world: World) -> None:
        world.submit()
        (start,) = world.plan().starts
        wrong = [replace_key(start, 2), replace_key(start, 0)]
        assert world.commit(Plan(tuple(wrong))) == []

    def test_unknown_tasks_workers_and_queues_do_not_start(self, world: World) -> None:
        world.submit()
        (start,) = world.plan().starts
        unknown = start._replace(key=AttemptKey(999, 1, 1))
        elsewhere = start._replace(worker_id="nobody")
        misplaced = start._replace(queue="other")
        assert world.commit(Plan((unknown, elsewhere, misplaced))) == []
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
        assert world.commit(plan) == []
        assert len(world.start()) == 1

    def test_a_worker_that_left_gets_nothing(self, world: World) -> None:
        world.submit()
        plan = world.plan()
        assert not world.store.unregister("local", world.generation + 1, world.now)
        assert world.store.unregister("local", world.generation, world.now)
        assert not world.store.unregister("local", world.generation, world.now)
        assert world.commit(plan) == []
        assert world.store.changes(0).workers == ()

    def test_caps_and_pauses_hold_at_the_commit(self, world: World) -> None:
        for _ in range(3):
            world.submit()
        plan = world.plan()
        world.store.set_queue("default", max_concurrent=2)
        first, second = world.commit(plan)
        assert world.start() == []
        world.claim([first.key, second.key])
        world.report(first.key)
        world.store.set_queue("default", paused=True)
        assert world.start() == []
        world.store.set_queue("default", paused=False)
        assert len(world.start()) == 1
        world.store.check()

    def test_a_claiming_commit_brings_all_that_is_needed_to_run(self, world: World) -> None:
        job_id = world.submit(tasks=new_tasks(2), max_attempts=3, spec={"file": 0, "dialect": "duckdb"})
        other = world.submit(result_name="mine", priority=Priority.HIGH)
        world.clock.advance(1)
        plan = world.plan()
        started = world.commit(plan, claim=True)
        assert [start._replace(assignment=None) for start in started] == list(plan.starts)
        first, second, third = (start.assignment for start in started)
        assert first is not None
        assert second is not None
        assert third is not None
        assert (first.key, second.key) == (AttemptKey(job_id, 1, 1), AttemptKey(job_id, 2, 1))
        assert (second.name, second.spec) == ("file 2.sql", {"file": 2, "dialect": "duckdb"})
        assert (second.kind, second.owner, second.queue) == ("sql", "ann", "default")
        assert (second.resources, second.timeout_s, second.max_attempts, second.losses) == (SMALL, 60.0, 3, 0)
        assert (third.key.job_id, third.result_name, third.priority) == (other, "mine", Priority.HIGH)
        (attempt,) = world.store.tasks(job_id)[0].attempts
        assert (attempt.state, attempt.started_at) == (AttemptState.RUNNING, world.now)
        assert world.claim([start.key for start in started]) == []  # they are claimed
        assert all(world.report(start.key) is not None for start in started)
        assert world.store.job(job_id).status is JobStatus.SUCCEEDED
        world.store.check()

    def test_a_claiming_commit_says_what_a_claim_says(self, world: World) -> None:
        world.submit(priority=Priority.LOW, max_attempts=2)
        (start,) = world.commit(world.plan(), claim=True)
        world.report(start.key, TaskState.QUEUED)
        (later,) = world.claim()
        assert start.assignment == replace(later, key=start.key)

    def test_a_claiming_commit_leaves_out_what_was_cancelled(self, world: World) -> None:
        gone, stays = world.submit(), world.submit()
        plan = world.plan()
        world.store.request_cancel(gone, world.now)
        assert [s.key.job_id for s in world.commit(plan, claim=True)] == [stays]
        world.store.check()

    def test_a_cancel_after_a_claiming_commit_wins(self, world: World) -> None:
        job_id = world.submit(result_name="mine")
        (start,) = world.commit(world.plan(), claim=True)
        assert world.store.request_cancel(job_id, world.now).live_attempts == (start.key,)
        assert world.cancels() == [start.key]
        recorded = world.report(start.key, source=new_source("mine", world.now))
        assert recorded is not None
        assert (recorded.next_state, recorded.source) == (TaskState.CANCELLED, None)
        assert world.allocated() == NOTHING
        world.store.check()

    def test_what_a_claiming_commit_made_is_lost_with_its_worker(self, world: World) -> None:
        world.submit()
        (start,) = world.commit(world.plan(), claim=True)
        world.register()
        assert [lost.key for lost in world.store.lost()] == [start.key]
        assert world.report(start.key, generation=world.generation - 1) is None

    def test_tasks_wake_when_their_time_has_come(self, world: World) -> None:
        soon, later = world.now + timedelta(seconds=10), world.now + timedelta(seconds=20)
        first, second = world.submit(not_before=soon), world.submit(not_before=later)
        assert world.waiting() == []
        assert world.store.job(first).task_counts[TaskState.SCHEDULED] == 1
        assert world.store.tasks(first)[0].not_before == world.store.job(first).not_before == soon
        assert world.store.waiting_count() == 2
        cursor = world.store.changes(0).cursor
        assert world.wake(world.now) == soon
        assert world.wake(soon) == later
        (woken,) = world.store.changes(cursor).waiting
        assert (woken.key.job_id, woken.queued_at) == (first, soon)
        assert world.store.job(first).not_before is None
        assert world.wake(later) is None
        assert [task.key.job_id for task in world.waiting()] == [first, second]
        world.store.check()


def replace_key(start: Start, attempt: int) -> Start:
    return start._replace(key=start.key._replace(attempt=attempt))
