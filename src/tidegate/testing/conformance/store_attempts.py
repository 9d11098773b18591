"""What every `AttemptStore` does with claims and ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tidegate.core.attempt import Exit, JobAfter, Usage
from tidegate.core.job import AttemptKey
from tidegate.core.resources import MIB, Resources
from tidegate.core.states import OF_THE_MACHINE, AttemptState, ExitReason, JobStatus, TaskState
from tidegate.errors import IllegalTransition, InvalidInput, NotFound
from tidegate.ports import JobFilter, Store
from tidegate.testing.conformance.world import SMALL, World, new_source, new_tasks

NOTHING = Resources()


class AttemptStoreConformance:
    """Claims and ends."""

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
        claimed = world.claim(keys)
        assert claimed == []
        assert [end.key for end in claimed.ended] == keys
        assert claimed.ended.jobs == {job_id: JobAfter("sql", "default", JobStatus.CANCELLED)}
        job = world.store.job(job_id)
        assert job.status is JobStatus.CANCELLED
        assert job.exit is not None
        assert job.exit.reason is ExitReason.CANCELLED
        assert world.allocated() == NOTHING
        assert world.event_types(job_id) == ["accepted", "started", "cancel_requested", "cancelled"]
        world.store.check()
        world.submit(result_name="mine")

    def test_a_report_tells_what_it_made_of_the_jobs(self, world: World) -> None:
        several = world.submit(tasks=new_tasks(2))
        alone = world.submit(kind="lint", queue="etl")
        first, second, third = sorted(world.start())
        world.claim([first, second, third])
        recorded = world.store.report([world.end(first), world.end(third, TaskState.FAILED)])
        assert recorded.jobs == {
            several: JobAfter("sql", "default", JobStatus.RUNNING),
            alone: JobAfter("lint", "etl", JobStatus.FAILED),
        }
        recorded = world.store.report([world.end(first), world.end(second)])
        assert recorded.jobs == {several: JobAfter("sql", "default", JobStatus.SUCCEEDED)}
        assert world.store.report([world.end(first)]).jobs == {}

    def test_a_cancel_tells_whose_it_was(self, world: World) -> None:
        job_id = world.submit(kind="lint", queue="etl")
        cancelled = world.store.request_cancel(job_id, world.now)
        assert (cancelled.kind, cancelled.queue, cancelled.ended_tasks) == ("lint", "etl", 1)
        assert cancelled.status is JobStatus.CANCELLED

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
        assert world.store.source("mINE", "ann") == source
        assert world.managed_paths() == {source.path}
        assert world.allocated() == NOTHING
        (task,) = world.store.tasks(key.job_id)
        assert (task.state, task.result, task.attempts[0].usage) == (
            TaskState.SUCCEEDED,
            {"row_count": 3},
            end.usage,
        )
        assert task.attempts[0].ended_at == world.now
        world.store.check()

    def test_amounts_with_fractions_are_floats_wherever_they_are_read(self, world: World) -> None:
        """A Decimal equals a float, and is nothing that can be told in JSON."""
        key = world.run(timeout_s=1.5)
        world.report(key)
        (listed,) = world.store.jobs(JobFilter())
        (task,) = world.store.tasks(key.job_id)
        read = [world.store.job(key.job_id), listed]
        usages = [*(job.usage for job in read), *(attempt.usage for attempt in task.attempts)]
        fractions = [task.timeout_s, *(job.timeout_s for job in read)]
        fractions += [value for usage in usages for value in (usage.cpu_seconds, usage.wall_seconds) if value]
        assert len(fractions) == 3 + 2 * 3
        assert {type(value) for value in fractions} == {float}

    @pytest.mark.parametrize("reason", sorted(OF_THE_MACHINE))
    def test_what_the_machine_did_counts_as_a_loss_and_not_as_a_try(
        self, world: World, reason: ExitReason
    ) -> None:
        key = world.run(max_attempts=1)
        why = Exit(reason, "The machine was short of memory.", None, None, "host", reason.value)
        world.report(key, TaskState.QUEUED, exit=why)
        (again,) = world.claim()
        assert (again.key.attempt, again.losses, again.max_attempts) == (2, 1, 1)
        world.report(again.key)
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
            world.store.source("mine", "ann")
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
        assert world.cancels() == keys
        world.store.report([world.end(key, TaskState.CANCELLED) for key in keys])
        job = world.store.job(job_id)
        assert (job.status, job.task_counts[TaskState.CANCELLED]) == (JobStatus.CANCELLED, 6)
        assert world.store.events(job_id)[-1].task_number is None
        assert world.cancels() == []
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
        assert world.wake(world.now) == later
        world.wake(later)
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
        assert world.store.source(name, "ann").row_count == 3
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
