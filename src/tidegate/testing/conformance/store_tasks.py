"""What every store does with jobs of many tasks, of tasks that add others, and of a last one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tidegate.core.attempt import Exit
from tidegate.core.job import MOST_TASKS, AttemptKey, Shape, TaskKey, TaskOrder
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.core.states import AttemptState, ExitReason, JobStatus, TaskState
from tidegate.errors import InvalidInput
from tidegate.ports import Store
from tidegate.testing.conformance.world import SMALL, World, new_job, new_source, new_tasks

WIDE = Resources(2000, 2 * GIB, GIB)
LAST = TaskOrder("summary", {"step": "summary"}, timeout_s=5.0)


class Endless:
    """Says that it has so many tasks; only those who do not ask first find out what it has."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __contains__(self, each: object) -> bool:
        return False

    def __iter__(self) -> Iterator[TaskOrder]:
        raise AssertionError("nobody may read the tasks of an end that is refused")


class TaskStoreConformance:
    """Tasks: growth, amounts of their own, the last one, and what they add up to."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def test_a_success_adds_the_tasks_it_names(self, world: World) -> None:
        first = world.run()
        seen = world.store.changes(0).cursor
        world.clock.advance(1)
        world.report(first, new_tasks=new_tasks(3))
        job = world.store.job(first.job_id)
        assert job.status is JobStatus.RUNNING
        assert job.task_counts[TaskState.QUEUED] == 3
        assert job.task_counts[TaskState.SUCCEEDED] == 1
        waiting = world.store.changes(seen).waiting
        assert [(task.key.number, task.queued_at, task.attempts) for task in waiting] == [
            (number, world.now, 0) for number in (2, 3, 4)
        ]
        assert [task.name for task in world.store.tasks(first.job_id, after=1)] == [
            "file 1.sql",
            "file 2.sql",
            "file 3.sql",
        ]
        assert world.store.waiting_count() == 3
        world.store.check()

    def test_tasks_that_were_added_run_and_end_the_job(self, world: World) -> None:
        first = world.run(spec={"dialect": "ansi"})
        world.report(first, new_tasks=new_tasks(2))
        claimed = world.claim()
        assert [each.spec for each in claimed] == [{"dialect": "ansi", "file": i} for i in (1, 2)]
        world.report(claimed[0].key, new_tasks=[TaskOrder("one more")])
        world.report(claimed[1].key)
        assert world.store.job(first.job_id).status is JobStatus.RUNNING
        (one_more,) = world.claim()
        assert (one_more.key, one_more.name) == (AttemptKey(first.job_id, 4, 1), "one more")
        world.report(one_more.key)
        job = world.store.job(first.job_id)
        assert (job.status, job.finished_at) == (JobStatus.SUCCEEDED, world.now)
        assert job.task_counts[TaskState.SUCCEEDED] == 4
        assert world.event_types(first.job_id)[-1] == "succeeded"
        world.store.check()

    def test_an_end_is_recorded_once_and_so_are_its_tasks(self, world: World) -> None:
        first = world.run()
        end = world.end(first, new_tasks=new_tasks(2))
        assert len(world.store.report([end, end])) == 1
        assert world.store.report([end]) == []
        assert len(world.store.tasks(first.job_id)) == 3
        world.store.check()

    def test_a_lost_attempt_adds_nothing(self, world: World) -> None:
        first = world.run()
        before = world.generation
        world.register()
        late = replace(world.end(first, new_tasks=new_tasks(2)), generation=before)
        assert world.store.report([late]) == []
        lost = world.end(first, TaskState.QUEUED, state=AttemptState.LOST)
        world.store.end_lost([replace(lost, generation=before)], world.epoch)
        (again,) = world.claim()
        assert world.store.report([late]) == []
        world.report(again.key, new_tasks=new_tasks(1))
        assert len(world.store.tasks(first.job_id)) == 2
        world.store.check()

    def test_a_cancel_that_came_first_adds_nothing(self, world: World) -> None:
        first = world.run()
        world.store.request_cancel(first.job_id, world.now)
        recorded = world.report(first, new_tasks=new_tasks(2))
        assert recorded is not None
        assert (recorded.next_state, recorded.new_tasks) == (TaskState.CANCELLED, ())
        assert world.store.job(first.job_id).status is JobStatus.CANCELLED
        assert len(world.store.tasks(first.job_id)) == 1
        world.store.check()

    def test_a_cancel_ends_tasks_that_were_added(self, world: World) -> None:
        first = world.run()
        world.report(first, new_tasks=new_tasks(5))
        cancelled = world.store.request_cancel(first.job_id, world.now)
        assert (cancelled.status, cancelled.ended_tasks) == (JobStatus.CANCELLED, 5)
        assert world.waiting() == []
        world.store.check()

    def test_several_attempts_add_tasks_in_one_report(self, world: World) -> None:
        job_id = world.submit(tasks=new_tasks(2))
        keys = [each.key for each in world.claim()]
        world.store.report([world.end(key, new_tasks=new_tasks(2)) for key in keys])
        assert [task.key.number for task in world.store.tasks(job_id)] == [1, 2, 3, 4, 5, 6]
        assert world.store.job(job_id).task_counts[TaskState.QUEUED] == 4
        told = [event for event in world.store.events(job_id) if event.type == "expanded"]
        assert [(event.task_number, event.data) for event in told] == [
            (1, {"added": 2, "tasks": 4}),
            (2, {"added": 2, "tasks": 6}),
        ]
        world.store.check()

    def test_more_tasks_than_a_job_may_have_fail_the_attempt(self, world: World) -> None:
        first = world.run(max_attempts=3)
        recorded = world.report(first, new_tasks=Endless(MOST_TASKS))
        assert recorded is not None
        assert recorded.exit is not None
        assert (recorded.next_state, recorded.exit.code) == (TaskState.FAILED, "too_many_tasks")
        assert (recorded.exit.limit, recorded.exit.observed) == (MOST_TASKS, MOST_TASKS + 1)
        assert "200,000" in recorded.exit.message
        job = world.store.job(first.job_id)
        assert (job.status, sum(job.task_counts.values())) == (JobStatus.FAILED, 1)
        world.store.check()

    def test_a_job_with_one_result_name_cannot_grow(self, world: World) -> None:
        first = world.run(result_name="mine")
        recorded = world.report(first, new_tasks=new_tasks(1), source=new_source("mine", world.now))
        assert recorded is not None
        assert recorded.exit is not None
        assert recorded.exit.code == "result_of_many"
        assert recorded.source is None
        world.store.check()

    def test_what_did_not_succeed_cannot_add(self, world: World) -> None:
        first = world.run()
        with pytest.raises(InvalidInput):
            world.report(first, TaskState.FAILED, new_tasks=new_tasks(1))
        world.store.check()

    def test_tasks_ask_for_amounts_of_their_own(self, world: World) -> None:
        tasks = (TaskOrder("as its job"), TaskOrder("wide", {}, WIDE, 7.5))
        labels = frozenset({("disk", "fast")})
        job_id = world.submit(tasks=tasks, shape=Shape(SMALL, labels), timeout_s=60.0)
        assert [task.shape for task in world.waiting()] == [Shape(SMALL, labels), Shape(WIDE, labels)]
        claimed = world.claim()
        assert [(each.resources, each.timeout_s) for each in claimed] == [(SMALL, 60.0), (WIDE, 7.5)]
        assert world.allocated() == SMALL + WIDE
        shown = world.store.tasks(job_id)
        assert [(task.resources, task.timeout_s) for task in shown] == [(SMALL, 60.0), (WIDE, 7.5)]
        assert world.store.job(job_id).shape == Shape(SMALL, labels)
        for each in claimed:
            world.report(each.key)
        assert world.allocated() == Resources()
        world.store.check()

    def test_tasks_that_are_added_ask_for_amounts_of_their_own(self, world: World) -> None:
        first = world.run()
        world.report(first, new_tasks=[TaskOrder("large", {}, WIDE), TaskOrder("quick", {}, None, 0.5)])
        started = world.commit(world.plan(), claim=True)
        assert [start.resources for start in started] == [WIDE, SMALL]
        assignments = [start.assignment for start in started]
        assert [each.timeout_s for each in assignments if each] == [60.0, 0.5]
        world.store.check()

    def test_tasks_of_one_state_are_paged(self, world: World) -> None:
        job_id = world.submit(tasks=new_tasks(7), resources=Resources(10, MIB, 0))
        keys = [each.key for each in world.claim()]
        for key in keys:
            world.report(key, TaskState.FAILED if key.number % 2 else TaskState.SUCCEEDED)
        failed = world.store.tasks(job_id, state=TaskState.FAILED, limit=2)
        assert [task.key.number for task in failed] == [1, 3]
        rest = world.store.tasks(job_id, state=TaskState.FAILED, after=3)
        assert [(task.key.number, len(task.attempts)) for task in rest] == [(5, 1), (7, 1)]
        assert world.store.tasks(job_id, state=TaskState.RUNNING) == []

    def test_a_job_says_how_many_tasks_failed_and_why_the_first_did(self, world: World) -> None:
        job_id = world.submit(tasks=new_tasks(4))
        keys = [each.key for each in world.claim()]
        world.report(keys[0])
        too_large = Exit(ExitReason.MEMORY_LIMIT, "It wanted 2 GiB.", GIB, 2 * GIB)
        world.report(keys[2], TaskState.FAILED, exit=too_large)
        world.report(keys[1], TaskState.FAILED)
        assert world.store.job(job_id).status is JobStatus.RUNNING
        world.report(keys[3])
        job = world.store.job(job_id)
        assert (job.status, job.exit) == (
            JobStatus.FAILED,
            replace(too_large, message=f"2 of 4 tasks failed; first: task {job_id}.3: It wanted 2 GiB."),
        )
        assert world.store.tasks(job_id, state=TaskState.FAILED)[1].exit == too_large

    def test_a_job_that_failed_and_was_then_cancelled_says_the_same(self, world: World) -> None:
        job_id = world.submit(tasks=new_tasks(3))
        plan = world.plan(world.waiting()[:1])
        (start,) = world.commit(plan, claim=True)
        world.report(start.key, TaskState.FAILED)
        assert world.store.request_cancel(job_id, world.now).status is JobStatus.FAILED
        exit_ = world.store.job(job_id).exit
        assert exit_ is not None
        assert exit_.message == f"1 of 3 tasks failed; first: task {job_id}.1: It went wrong."
        world.store.check()

    def test_the_last_task_comes_when_all_others_have_ended(self, world: World) -> None:
        job_id = world.submit(tasks=new_tasks(2), last=LAST)
        first, second = (each.key for each in world.claim())
        world.report(first, new_tasks=[TaskOrder("third")])
        world.report(second, TaskState.FAILED)
        (third,) = world.claim()
        assert third.name == "third"
        world.clock.advance(1)
        world.report(third.key)
        assert world.store.job(job_id).status is JobStatus.RUNNING
        (last,) = world.claim()
        assert (last.key, last.name, last.timeout_s) == (AttemptKey(job_id, 4, 1), "summary", 5.0)
        assert last.spec == {"sql": "select 1", "step": "summary"}
        world.report(last.key, result={"clean": False})
        job = world.store.job(job_id)
        assert (job.status, job.result) == (JobStatus.FAILED, {"clean": False})
        assert job.exit is not None
        assert job.exit.message == f"1 of 4 tasks failed; first: task {job_id}.2: It went wrong."
        expanded = [event.task_number for event in world.store.events(job_id) if event.type == "expanded"]
        assert expanded == [1, 4]
        world.store.check()

    def test_the_last_task_makes_the_result_and_no_other(self, world: World) -> None:
        job_id = world.submit(last=LAST, result_name="mine")
        (one,) = world.claim()
        assert one.result_name is None
        world.report(one.key, result={"path": "results/output-1.1.1"})
        assert world.store.job(job_id).result is None
        assert world.managed_paths() == {"results/output-1.1.1"}
        (last,) = world.claim()
        assert last.result_name == "mine"
        source = new_source("mine", world.now, job_id=job_id)
        world.report(last.key, result={"row_count": 1}, source=source)
        job = world.store.job(job_id)
        assert (job.status, job.result) == (JobStatus.SUCCEEDED, {"row_count": 1})
        assert world.store.source("mine", "ann") == source
        world.store.check()

    def test_a_last_task_comes_once_and_is_tried_like_others(self, world: World) -> None:
        job_id = world.submit(last=LAST)
        (one,) = world.claim()
        world.report(one.key, TaskState.FAILED)
        (last,) = world.claim()
        world.report(last.key, TaskState.QUEUED, state=AttemptState.LOST)
        (again,) = world.claim()
        assert again.key == AttemptKey(job_id, 2, 2)
        world.report(again.key, TaskState.FAILED)
        job = world.store.job(job_id)
        assert (job.status, job.task_counts[TaskState.FAILED]) == (JobStatus.FAILED, 2)
        assert world.event_types(job_id)[-1] == "failed"
        world.store.check()

    def test_a_job_that_is_cancelled_has_no_last_task(self, world: World) -> None:
        waiting = world.submit(tasks=new_tasks(2), last=LAST)
        assert world.store.request_cancel(waiting, world.now).status is JobStatus.CANCELLED
        running = world.run(last=LAST)
        world.store.request_cancel(running.job_id, world.now)
        world.report(running)
        for job_id, count in ((waiting, 2), (running.job_id, 1)):
            assert world.store.job(job_id).status is JobStatus.CANCELLED
            assert len(world.store.tasks(job_id)) == count
        world.store.check()

    def test_too_many_tasks_are_refused_at_once(self, world: World) -> None:
        job = new_job(world.now, tasks=(TaskOrder("a"),) * (MOST_TASKS + 1))
        (answer,) = world.store.add_jobs([job])
        assert isinstance(answer, InvalidInput)
        assert answer.code == "too_many_tasks"

    def test_thousands_of_tasks_are_added_together(self, world: World) -> None:
        first = world.run(resources=Resources(10, MIB, 0))
        world.report(first, new_tasks=new_tasks(4500))
        assert world.store.waiting_count() == 4500
        assert world.store.tasks(first.job_id, after=4500, limit=5)[0].key == TaskKey(first.job_id, 4501)
        world.store.check()
