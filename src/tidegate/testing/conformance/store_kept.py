"""What every store does with results that are kept to be those of later tasks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from tidegate.core.job import DIGEST, TaskOrder
from tidegate.core.resources import Resources
from tidegate.core.states import JobStatus, TaskState
from tidegate.ports import Accepted, JobRecord, Store
from tidegate.testing.conformance.world import World, new_job

ONE, OTHER, THIRD = ("1" * 64, "2" * 64, "3" * 64)
TINY = Resources(1, 1024, 0)
FOUND = {"violations": ["LT01"], "text": "ü"}
CACHED = {**FOUND, "cached": True}


def task(name: str, digest: str | None = ONE) -> TaskOrder:
    return TaskOrder(name, {} if digest is None else {DIGEST: digest})


class KeptStoreConformance:
    """Results by owner and digest: kept by ends, used by submissions and growth, forgotten by care."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def keep(self, world: World, digest: str = ONE, owner: str = "ann", **result: Any) -> None:
        """Have a task of the owner leave a result."""
        key = world.run(owner=owner, tasks=(task("a.sql", None),))
        world.report(key, digest=digest, result=result or FOUND)

    def submit(self, world: World, **changes: Any) -> tuple[Accepted, JobRecord]:
        (answer,) = world.store.add_jobs([new_job(world.now, **{"tasks": (task("b.sql"),), **changes})])
        assert isinstance(answer, Accepted)
        return answer, world.store.job(answer.job_id)

    def test_a_job_of_one_task_whose_result_is_kept_has_succeeded_at_once(self, world: World) -> None:
        self.keep(world)
        world.clock.advance(1)
        before = world.store.changes(0).cursor
        answer, job = self.submit(world, idempotency_key="k", request_digest="d")
        assert answer.ended
        assert (job.status, job.started_at, job.finished_at) == (JobStatus.SUCCEEDED, world.now, world.now)
        assert job.result == CACHED
        (only,) = world.store.tasks(job.id)
        assert (only.name, only.state, only.attempts, only.result) == (
            "b.sql",
            TaskState.SUCCEEDED,
            (),
            CACHED,
        )
        assert world.event_types(job.id) == ["accepted", "succeeded"]
        assert world.store.changes(before).waiting == []
        assert world.store.waiting_count() == 0
        (again,) = world.store.add_jobs(
            [new_job(world.now, tasks=(task("b.sql"),), idempotency_key="k", request_digest="d")]
        )
        assert again == Accepted(job.id, created=False)
        world.store.check()

    def test_others_neither_use_it_nor_learn_of_it(self, world: World) -> None:
        self.keep(world, owner="ann")
        answer, job = self.submit(world, owner="bob")
        assert not answer.ended
        assert job.status is JobStatus.QUEUED
        world.store.check()

    def test_without_a_digest_nothing_is_kept_and_another_digest_finds_nothing(self, world: World) -> None:
        world.report(world.run(), result=FOUND)
        self.keep(world, OTHER)
        assert not self.submit(world)[0].ended
        assert not self.submit(world, tasks=(task("c.sql", None),))[0].ended
        assert self.submit(world, tasks=(task("c.sql", OTHER),))[0].ended

    def test_a_failure_and_a_cancelled_success_leave_nothing(self, world: World) -> None:
        world.report(world.run(), TaskState.FAILED, digest=ONE)
        cancelled = world.run()
        world.store.request_cancel(cancelled.job_id, world.now)
        world.report(cancelled, digest=ONE, result=FOUND)
        assert not self.submit(world)[0].ended
        world.store.check()

    def test_the_first_result_stays(self, world: World) -> None:
        self.keep(world, n=1)
        self.keep(world, n=2)
        world.store.report(
            [world.end(key, digest=OTHER, result={"n": 3}) for key in (world.run(), world.run())]
        )
        assert self.submit(world)[1].result == {"n": 1, "cached": True}
        assert self.submit(world, tasks=(task("c.sql", OTHER),))[1].result == {"n": 3, "cached": True}

    def test_a_long_result_is_not_kept(self, world: World) -> None:
        self.keep(world, text="x" * 70_000)
        assert not self.submit(world)[0].ended

    @pytest.mark.parametrize("several", [False, True])
    def test_jobs_that_wait_for_a_time_or_have_other_tasks_run(self, world: World, several: bool) -> None:
        self.keep(world)
        changes: dict[str, Any] = {"not_before": world.now + timedelta(seconds=5)}
        if several:
            changes = {"tasks": (task("a.sql"), task("b.sql"))}
        answer, job = self.submit(world, **changes)
        assert not answer.ended
        assert not job.status.final
        assert not self.submit(world, last=TaskOrder("summary"))[0].ended
        world.store.check()

    def test_added_tasks_of_known_results_have_succeeded_as_soon_as_they_come(self, world: World) -> None:
        self.keep(world)
        told = TaskOrder("told.sql", {}, None, None, {"verdict": "skipped"})
        added = [task("a.sql"), task("b.sql", OTHER), told, task("c.sql"), task("d.sql", None)]
        first = world.run()
        world.report(first, new_tasks=added)
        tasks = world.store.tasks(first.job_id, after=1)
        assert [(one.name, one.state, one.result) for one in tasks] == [
            ("a.sql", TaskState.SUCCEEDED, CACHED),
            ("b.sql", TaskState.QUEUED, None),
            ("told.sql", TaskState.SUCCEEDED, {"verdict": "skipped"}),
            ("c.sql", TaskState.SUCCEEDED, CACHED),
            ("d.sql", TaskState.QUEUED, None),
        ]
        assert {one.key.number for one in world.waiting()} == {3, 6}
        assert world.store.waiting_count() == 2
        told_of = next(e for e in world.store.events(first.job_id) if e.type == "expanded")
        assert told_of.data == {"added": 5, "tasks": 6, "known": 3}
        world.store.check()
        for claimed in world.claim():
            world.report(claimed.key)
        assert world.store.job(first.job_id).task_counts[TaskState.SUCCEEDED] == 6
        assert world.store.job(first.job_id).status is JobStatus.SUCCEEDED

    def test_a_job_whose_added_tasks_are_all_known_ends_with_the_one_that_added_them(
        self, world: World
    ) -> None:
        self.keep(world)
        first = world.run()
        recorded = world.store.report([world.end(first, new_tasks=[task(f"{n}.sql") for n in range(1200)])])
        assert recorded.jobs[first.job_id].known == 1200
        job = world.store.job(first.job_id)
        assert (job.status, job.finished_at) == (JobStatus.SUCCEEDED, world.now)
        assert job.task_counts[TaskState.SUCCEEDED] == 1201
        assert world.event_types(first.job_id)[-2:] == ["expanded", "succeeded"]
        assert world.waiting() == []
        assert world.store.tasks(first.job_id, after=1200)[0].result == CACHED
        world.store.check()

    def test_the_last_task_comes_all_the_same(self, world: World) -> None:
        self.keep(world)
        first = world.run(last=TaskOrder("summary"))
        world.report(first, new_tasks=[task("a.sql")])
        (last,) = world.claim()
        assert last.name == "summary"
        world.report(last.key)
        assert world.store.job(first.job_id).status is JobStatus.SUCCEEDED
        world.store.check()

    def test_hundreds_of_results_are_found_at_once(self, world: World) -> None:
        digests = [f"{n:064x}" for n in range(700)]
        first = world.run(resources=TINY)
        world.report(first, new_tasks=[TaskOrder(digest, {}) for digest in digests])
        ends = [
            world.end(one.key, digest=one.name, result={"n": one.name}) for one in world.claim(world.start())
        ]
        world.store.report(ends)
        second = world.run()
        world.report(second, new_tasks=[task(digest, digest) for digest in digests])
        tasks = world.store.tasks(second.job_id, after=1, limit=1000)
        assert [one.result for one in tasks] == [{"n": digest, "cached": True} for digest in digests]
        world.store.check()

    def test_results_that_nobody_used_for_long_are_forgotten(self, world: World) -> None:
        self.keep(world, ONE)
        self.keep(world, OTHER)
        world.clock.advance(2 * 3600)
        assert self.submit(world)[0].ended
        assert world.store.prune_kept(world.now - timedelta(seconds=3600), 10**9) == 1
        assert self.submit(world)[0].ended
        assert not self.submit(world, tasks=(task("c.sql", OTHER),))[0].ended

    def test_of_too_much_the_results_unused_for_longest_are_forgotten(self, world: World) -> None:
        digests = (ONE, OTHER, THIRD)
        for digest in digests:
            self.keep(world, digest, text="x" * 1000)
            world.clock.advance(2 * 3600)
        growing = world.run()  # uses the first
        world.report(growing, new_tasks=[task("a.sql")])
        long_ago = world.now - timedelta(days=1)
        assert world.store.prune_kept(long_ago, 3500) == 0
        assert world.store.prune_kept(long_ago, 2500) == 1
        ended = [self.submit(world, tasks=(task("x", digest),))[0].ended for digest in digests]
        assert ended == [True, False, True]
        assert world.store.prune_kept(long_ago, 0) == 2

    def test_of_two_that_keep_the_same_at_once_neither_fails(self, world: World) -> None:
        first = world.run(resources=TINY)
        world.report(first, new_tasks=[task(f"{n}.sql", None) for n in range(40)])
        keys = [one.key for one in world.claim(world.start()[:40])]
        ends = [world.end(key, digest=ONE, result=FOUND) for key in keys]
        with ThreadPoolExecutor(4) as threads:
            recorded = list(threads.map(world.store.report, [ends[n::4] for n in range(4)]))
        assert sum(map(len, recorded)) == 40
        assert world.store.job(first.job_id).status is JobStatus.SUCCEEDED
        assert self.submit(world)[0].ended
        world.store.check()
