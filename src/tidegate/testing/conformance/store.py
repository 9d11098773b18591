"""The suite that every store passes: in memory, on SQLite, and on any database to come."""

from __future__ import annotations

import random
import threading

import pytest

from tidegate.core.job import TaskKey
from tidegate.core.states import JobStatus, TaskState
from tidegate.errors import Conflict
from tidegate.ports import Accepted, Store
from tidegate.testing.conformance.store_alerts import AlertStoreConformance
from tidegate.testing.conformance.store_attempts import AttemptStoreConformance
from tidegate.testing.conformance.store_batches import BatchStoreConformance
from tidegate.testing.conformance.store_identity import IdentityStoreConformance
from tidegate.testing.conformance.store_jobs import JobStoreConformance, QueueStoreConformance
from tidegate.testing.conformance.store_kept import KeptStoreConformance
from tidegate.testing.conformance.store_leading import LeaderStoreConformance
from tidegate.testing.conformance.store_readings import ReadingStoreConformance
from tidegate.testing.conformance.store_recovery import RecoveryConformance
from tidegate.testing.conformance.store_rescue import RescueStoreConformance
from tidegate.testing.conformance.store_schedule import ScheduleStoreConformance
from tidegate.testing.conformance.store_sources import SourceStoreConformance
from tidegate.testing.conformance.store_statistics import StatisticsStoreConformance
from tidegate.testing.conformance.store_tasks import TaskStoreConformance
from tidegate.testing.conformance.store_usage import UsageStoreConformance
from tidegate.testing.conformance.store_workers import WorkerStoreConformance
from tidegate.testing.conformance.world import World, new_job

_THREADS = 8
_ROUNDS = 12


class StoreConformance(
    JobStoreConformance,
    QueueStoreConformance,
    TaskStoreConformance,
    KeptStoreConformance,
    ScheduleStoreConformance,
    LeaderStoreConformance,
    RescueStoreConformance,
    AttemptStoreConformance,
    BatchStoreConformance,
    WorkerStoreConformance,
    SourceStoreConformance,
    IdentityStoreConformance,
    ReadingStoreConformance,
    AlertStoreConformance,
    RecoveryConformance,
    UsageStoreConformance,
    StatisticsStoreConformance,
):
    """Give it a fixture `store` that makes an empty store without a default cap, and closes it."""

    def test_many_threads_leave_a_ledger_that_adds_up(self, store: Store) -> None:
        world = World(store)
        world.register()
        assert world.epoch == 1  # taken before the threads begin
        failures: list[BaseException] = []
        acknowledged: list[int] = []

        def work(seed: int) -> None:
            try:
                for turn in range(_ROUNDS):
                    acknowledged.extend(_turn(world, random.Random(seed * 1000 + turn)))
            except BaseException as failure:  # noqa: BLE001  handed to the test below
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        store.check()
        assert len(set(acknowledged)) == _THREADS * _ROUNDS * 3
        assert all(store.job(job_id).id == job_id for job_id in acknowledged)

    def test_a_cursor_followed_while_others_write_misses_nothing(self, store: Store) -> None:
        world = World(store)
        world.register()
        done = threading.Event()
        failures: list[BaseException] = []

        def write(seed: int) -> None:
            chance = random.Random(seed)
            try:
                for _ in range(_ROUNDS):
                    store.add_jobs([new_job(world.now, queue=chance.choice("ab")) for _ in range(3)])
                    job_id = world.submit(queue=chance.choice("ab"))
                    if chance.random() < 0.5:
                        store.request_cancel(job_id, world.now)
            except BaseException as failure:  # noqa: BLE001  handed to the test below
                failures.append(failure)

        writers = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
        waiting, gone = set[TaskKey](), set[TaskKey]()
        follower = threading.Thread(target=lambda: _follow(store, done, waiting, gone))
        for thread in (*writers, follower):
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        follower.join()
        assert failures == []
        assert waiting == {task.key for task in store.changes(0).waiting}
        assert {store.job(key.job_id).status for key in gone} <= {JobStatus.CANCELLED}

    def test_a_name_or_key_wanted_by_many_at_once_is_given_once(self, store: Store) -> None:
        world = World(store)
        together = threading.Barrier(_THREADS)
        answers: list[Accepted | Exception] = []

        def submit(number: int) -> None:
            named = new_job(world.now, result_name="wanted")
            keyed = new_job(world.now, idempotency_key="k", request_digest="d")
            together.wait(30)
            answers.extend(store.add_jobs([named, keyed]))

        threads = [threading.Thread(target=submit, args=(number,)) for number in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        named, keyed = answers[::2], answers[1::2]
        assert sum(isinstance(answer, Accepted) for answer in named) == 1
        assert sum(isinstance(answer, Conflict) for answer in named) == _THREADS - 1
        assert len({answer.job_id for answer in keyed if isinstance(answer, Accepted)}) == 1
        assert sum(isinstance(answer, Accepted) and answer.created for answer in keyed) == 1
        store.check()

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)


def _follow(store: Store, done: threading.Event, waiting: set[TaskKey], gone: set[TaskKey]) -> None:
    """Read what has changed, again and again, as a scheduler does, until all is read that was there when it was done."""
    cursor, last = 0, False
    while not last:
        last = done.is_set()
        changes = store.changes(cursor)
        cursor = changes.cursor
        gone.update(changes.gone)
        waiting.difference_update(changes.gone)
        waiting.update(task.key for task in changes.waiting)


def _turn(world: World, chance: random.Random) -> list[int]:
    """Submit three jobs, start what fits, cancel one, report some of what runs, twice."""
    store, now = world.store, world.now
    answers = store.add_jobs([new_job(now, tasks=new_job(now).tasks) for _ in range(3)])
    ids = [answer.job_id for answer in answers if not isinstance(answer, Exception)]
    world.commit(world.plan(world.waiting()[:10]))
    store.request_cancel(chance.choice(ids), now)
    live = [attempt for job_id in ids for task in store.tasks(job_id) for attempt in task.attempts]
    claimed = store.claim("local", world.generation, [attempt.key for attempt in live], now)
    states = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.QUEUED)
    ends = [world.end(assignment.key, chance.choice(states)) for assignment in claimed]
    store.report(ends)
    assert store.report(ends) == []
    return ids
