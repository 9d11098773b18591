"""What every `JobStore` and `QueueStore` does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tidegate.core.job import NewJob, Priority, Shape, TaskKey
from tidegate.core.resources import Resources
from tidegate.core.states import JobStatus, TaskState
from tidegate.errors import Conflict, InvalidInput, NotFound
from tidegate.ports import Accepted, JobFilter, QueueRecord, Store
from tidegate.testing.conformance.world import World, new_job, new_source, new_tasks


class JobStoreConformance:
    """Jobs: submission, names, idempotency, cancel, reading."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def test_a_new_job_reads_back_as_submitted(self, world: World) -> None:
        shape = Shape(Resources(500, 1024, 0), frozenset({("gpu", "no"), ("disk", "fast")}))
        job_id = world.submit(
            name="Zählen\x00\n", queue="nightly", priority=Priority.HIGH, shape=shape,
            spec={"sql": "select '→'", "n": [1, None]}, max_attempts=3, timeout_s=1.5, kind="lint",
        )  # fmt: skip
        job = world.store.job(job_id)
        assert (
            job.name.replace("\ufffd", "\x00") == "Zählen\x00\n"
        )  # PostgreSQL cannot hold a NUL, and keeps �
        assert (job.id, job.kind, job.owner, job.queue) == (job_id, "lint", "ann", "nightly")
        assert (job.priority, job.shape, job.spec) == (
            Priority.HIGH,
            shape,
            {"sql": "select '→'", "n": [1, None]},
        )
        assert (job.max_attempts, job.timeout_s, job.created_at) == (3, 1.5, world.now)
        assert (job.status, job.started_at, job.finished_at) == (JobStatus.QUEUED, None, None)
        assert job.task_counts == {state: int(state is TaskState.QUEUED) for state in TaskState}
        assert world.event_types(job_id) == ["accepted"]

    def test_instants_keep_their_microseconds(self, world: World) -> None:
        at = world.now + timedelta(microseconds=123457)
        accepted = world.store.add_jobs([new_job(at)])[0]
        assert isinstance(accepted, Accepted)
        assert world.store.job(accepted.job_id).created_at == at

    def test_ids_grow_and_answers_come_in_order(self, world: World) -> None:
        answers = world.store.add_jobs([new_job(world.now, name=str(i)) for i in range(20)])
        ids = [answer.job_id for answer in answers if isinstance(answer, Accepted)]
        assert ids == sorted(set(ids))
        assert [world.store.job(job_id).name for job_id in ids] == [str(i) for i in range(20)]
        assert world.submit() > ids[-1]

    def test_no_jobs_are_no_work(self, world: World) -> None:
        assert world.store.add_jobs([]) == []

    def test_a_job_of_many_tasks_counts_and_pages_them(self, world: World) -> None:
        job_id = world.submit(tasks=new_tasks(5))
        assert world.store.job(job_id).task_counts[TaskState.QUEUED] == 5
        first = world.store.tasks(job_id, limit=2)
        rest = world.store.tasks(job_id, after=2)
        assert [task.key for task in [*first, *rest]] == [TaskKey(job_id, number) for number in range(1, 6)]
        assert [task.name for task in first] == ["file 1.sql", "file 2.sql"]
        assert world.store.waiting_count() == 5

    def test_a_bad_job_is_refused_alone(self, world: World) -> None:
        unstorable = new_job(world.now, spec={"sql": {"a", "set"}})
        surrogate = new_job(world.now, name="\ud800")
        good = new_job(world.now)
        empty = new_job(world.now, tasks=())
        answers = world.store.add_jobs([good, unstorable, good, surrogate, empty, good])
        assert [isinstance(answer, Accepted) for answer in answers] == [True, False, True, False, False, True]
        assert all(isinstance(answers[i], InvalidInput) for i in (1, 3, 4))
        assert world.store.waiting_count() == 3
        world.store.check()

    def test_a_result_name_is_reserved_without_regard_to_case(self, world: World) -> None:
        first = world.submit(result_name="By_City")
        assert world.store.job(first).result_name == "By_City"
        with pytest.raises(Conflict, match=f"job {first}"):
            world.submit(result_name="by_city")
        with pytest.raises(Conflict, match="reserved"):
            world.store.add_source(new_source("BY_CITY", world.now))
        assert world.store.sources_named(["by_city"], "ann") == []
        assert world.store.sources() == []
        with pytest.raises(NotFound):
            world.store.delete_source("by_city", "ann")

    def test_a_name_is_taken_once_within_a_batch_and_by_sources(self, world: World) -> None:
        world.store.add_source(new_source("cities", world.now))
        names = ["a", "A", "Cities", "b"]
        answers = world.store.add_jobs([new_job(world.now, result_name=name) for name in names])
        assert [type(answer) for answer in answers] == [Accepted, Conflict, Conflict, Accepted]
        assert "exists already" in str(answers[2])

    def test_the_empty_result_name_stands_for_the_default(self, world: World) -> None:
        job_id = world.submit(result_name="")
        assert world.store.job(job_id).result_name == f"async_result_{job_id}"

    def test_an_idempotency_key_answers_the_earlier_job(self, world: World) -> None:
        job_id = world.submit(idempotency_key="k", request_digest="d", result_name="mine")
        again = new_job(world.now, idempotency_key="k", request_digest="d", result_name="mine")
        assert world.store.add_jobs([again]) == [Accepted(job_id, created=False)]
        with pytest.raises(Conflict, match="idempotency"):
            world.submit(idempotency_key="k", request_digest="other")
        assert world.submit(idempotency_key="k", request_digest="other", owner="bob") != job_id
        assert world.store.waiting_count() == 2

    def test_a_key_repeated_within_a_batch_makes_one_job(self, world: World) -> None:
        def keyed(digest: str) -> NewJob:
            return new_job(world.now, idempotency_key="k", request_digest=digest)

        first, same, other = world.store.add_jobs([keyed("d"), keyed("d"), keyed("e")])
        assert isinstance(first, Accepted)
        assert first.created
        assert same == Accepted(first.job_id, created=False)
        assert isinstance(other, Conflict)
        assert world.store.waiting_count() == 1

    def test_many_keys_of_several_owners_answer_their_jobs(self, world: World) -> None:
        keyed = [
            new_job(world.now, owner=owner, idempotency_key=f"k{i}", request_digest=owner)
            for owner in ("ann", "bob")
            for i in range(30)
        ]
        first = [answer.job_id for answer in world.store.add_jobs(keyed) if isinstance(answer, Accepted)]
        assert len(set(first)) == 60
        assert world.store.add_jobs(keyed) == [Accepted(job_id, created=False) for job_id in first]

    def test_a_key_whose_job_was_refused_is_free(self, world: World) -> None:
        world.store.add_source(new_source("taken", world.now))
        refused = new_job(world.now, idempotency_key="k", request_digest="d", result_name="taken")
        fine = new_job(world.now, idempotency_key="k", request_digest="e")
        answers = world.store.add_jobs([refused, fine])
        assert isinstance(answers[0], Conflict)
        assert isinstance(answers[1], Accepted)

    def test_cancelling_a_waiting_job_ends_it_at_once(self, world: World) -> None:
        job_id = world.submit(result_name="mine")
        cursor = world.store.changes(0).cursor
        world.clock.advance(5)
        cancelled = world.store.request_cancel(job_id, world.now)
        assert (cancelled.status, cancelled.ended_tasks, cancelled.live_attempts) == (
            JobStatus.CANCELLED,
            1,
            (),
        )
        job = world.store.job(job_id)
        assert (job.status, job.finished_at, job.started_at) == (JobStatus.CANCELLED, world.now, None)
        assert job.exit is not None
        assert job.exit.reason == "cancelled"
        changes = world.store.changes(cursor)
        assert (list(changes.waiting), list(changes.gone)) == ([], [TaskKey(job_id, 1)])
        assert world.store.waiting_count() == 0
        assert world.event_types(job_id) == ["accepted", "cancelled"]
        world.submit(result_name="mine")  # the name is free again
        world.store.check()

    def test_cancelling_again_or_after_the_end_changes_nothing(self, world: World) -> None:
        job_id = world.submit()
        world.store.request_cancel(job_id, world.now)
        before = world.store.job(job_id)
        world.clock.advance(1)
        again = world.store.request_cancel(job_id, world.now)
        assert (again.status, again.ended_tasks, again.live_attempts) == (JobStatus.CANCELLED, 0, ())
        key = world.run()
        world.report(key)
        done = world.store.request_cancel(key.job_id, world.now)
        assert done.status is JobStatus.SUCCEEDED
        assert world.store.job(job_id) == before
        assert world.store.job(key.job_id).cancel_requested_at is None

    def test_a_scheduled_job_can_be_cancelled(self, world: World) -> None:
        job_id = world.submit(not_before=world.now + timedelta(hours=1))
        assert world.store.request_cancel(job_id, world.now).ended_tasks == 1
        assert world.wake(world.now + timedelta(hours=2)) is None
        assert world.waiting() == []
        world.store.check()

    def test_unknown_jobs_are_not_found(self, world: World) -> None:
        for unknown in (999, 0, -1, 2**70):
            with pytest.raises(NotFound, match=str(unknown)):
                world.store.job(unknown)
            with pytest.raises(NotFound):
                world.store.tasks(unknown)
            with pytest.raises(NotFound):
                world.store.events(unknown)
            with pytest.raises(NotFound):
                world.store.request_cancel(unknown, world.now)

    def test_lists_are_newest_first_and_filtered(self, world: World) -> None:
        a = world.submit(kind="sql", queue="one", owner="ann")
        b = world.submit(kind="lint", queue="two", owner="bob")
        c = world.submit(kind="sql", queue="two", owner="bob")
        world.store.request_cancel(a, world.now)

        def ids(**fields: object) -> list[int]:
            return [job.id for job in world.store.jobs(JobFilter(**fields))]  # type: ignore[arg-type]

        assert ids() == [c, b, a]
        assert ids(limit=2) == [c, b]
        assert ids(before_id=b) == [a]
        assert ids(oldest_first=True, limit=2) == [a, b]
        assert ids(oldest_first=True, after_id=a, owner="bob") == [b, c]
        assert ids(oldest_first=True, after_id=2**80) == []
        assert ids(kind="sql") == [c, a]
        assert ids(queue="two") == [c, b]
        assert ids(not_queue="two") == [a]
        assert ids(owner="bob", kind="lint") == [b]
        assert ids(status=JobStatus.CANCELLED) == [a]
        assert ids(status=JobStatus.QUEUED) == ids(status=JobStatus.ACCEPTED) == [c, b]
        assert ids(status=JobStatus.SUCCEEDED) == []

    def test_events_page_by_id(self, world: World) -> None:
        key = world.run()
        world.report(key)
        events = world.store.events(key.job_id)
        assert [event.type for event in events] == ["accepted", "started", "succeeded"]
        assert [event.id for event in events] == sorted({event.id for event in events})
        assert world.store.events(key.job_id, after=events[0].id, limit=1) == [events[1]]
        assert world.store.events(key.job_id, after=events[-1].id) == []
        assert events[1].task_number == 1
        assert events[1].data["worker"] == "local"
        assert events[-1].task_number is None  # it ends the job

    def test_pruning_forgets_old_finished_jobs_and_keeps_their_sources(self, world: World) -> None:
        key = world.run(result_name="mine", idempotency_key="k", request_digest="d")
        world.report(key, source=new_source("mine", world.now, managed=True))
        world.clock.advance(100)
        young = world.run()
        world.report(young)
        waiting = world.submit()
        assert world.store.prune(world.now) == 1
        with pytest.raises(NotFound):
            world.store.job(key.job_id)
        assert world.store.source("mine", "ann").name == "mine"
        assert world.store.job(young.job_id).status is JobStatus.SUCCEEDED
        assert world.store.job(waiting).status is JobStatus.QUEUED
        assert world.submit(idempotency_key="k", request_digest="other") > waiting
        assert world.store.prune(world.now) == 0
        world.store.check()

    def test_the_archive_keeps_pruned_jobs_until_its_own_time(self, world: World) -> None:
        started = world.now
        for _ in range(3):
            world.report(world.run())
            world.clock.advance(100)
        assert world.store.prune(world.now) == 3
        assert world.store.prune_archive(started) == 0
        assert world.store.prune_archive(started + timedelta(seconds=150)) == 2
        assert world.store.prune_archive(world.now) == 1
        assert world.store.prune_archive(world.now) == 0
        world.store.check()

    def test_a_job_that_still_holds_an_allocation_is_not_pruned(self, world: World) -> None:
        key = world.run()
        world.report(key, release=False)
        later = world.now + timedelta(days=1)
        assert world.store.prune(later) == 0
        assert world.store.release([key], world.now) == 1
        assert world.store.prune(later) == 1
        world.store.check()


class QueueStoreConformance:
    """Queues."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def test_a_queue_exists_from_its_first_job_or_setting_on(self, world: World) -> None:
        with pytest.raises(NotFound, match="nightly"):
            world.store.queue("nightly")
        world.submit(queue="nightly")
        world.store.set_queue("big", weight=3)
        assert [queue.name for queue in world.store.queues()] == ["big", "nightly"]
        assert world.store.queue("nightly").waiting == 1

    def test_settings_stay_unless_named(self, world: World) -> None:
        world.store.set_queue("q", paused=True, max_concurrent=2, weight=5)
        assert world.store.set_queue("q", paused=False) == QueueRecord("q", 5, 2, False, 0, 0)
        assert world.store.set_queue("q", no_cap=True).max_concurrent is None
        assert world.store.set_queue("q", max_concurrent=4).max_concurrent == 4
        assert world.store.changes(0).queues["q"].max_concurrent == 4

    def test_settings_that_make_no_sense_are_refused(self, world: World) -> None:
        for bad in ({"max_concurrent": 0}, {"weight": 0}, {"max_concurrent": 1, "no_cap": True}):
            with pytest.raises(InvalidInput):
                world.store.set_queue("q", **bad)  # type: ignore[arg-type]
        with pytest.raises(NotFound):
            world.store.queue("q")

    def test_counts_follow_the_tasks(self, world: World) -> None:
        world.submit(tasks=new_tasks(3))
        assert (world.store.queue("default").waiting, world.store.queue("default").running) == (3, 0)
        keys = world.start()
        assert (world.store.queue("default").waiting, world.store.queue("default").running) == (0, 3)
        world.claim(keys)
        world.report(keys[0])
        world.report(keys[1], TaskState.QUEUED)
        assert (world.store.queue("default").waiting, world.store.queue("default").running) == (1, 1)
        world.store.check()
