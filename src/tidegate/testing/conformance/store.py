"""The suite that every store passes: in memory, on SQLite, and on any database to come."""

from __future__ import annotations

import random
import threading

import pytest

from tidegate.core.job import TaskState
from tidegate.ports import Store
from tidegate.testing.conformance.store_attempts import (
    AttemptStoreConformance,
    ScheduleStoreConformance,
    SourceStoreConformance,
)
from tidegate.testing.conformance.store_jobs import JobStoreConformance, QueueStoreConformance
from tidegate.testing.conformance.world import World, new_job

_THREADS = 8
_ROUNDS = 12


class StoreConformance(
    JobStoreConformance,
    QueueStoreConformance,
    ScheduleStoreConformance,
    AttemptStoreConformance,
    SourceStoreConformance,
):
    """Give it a fixture `store` that makes an empty store without a default cap, and closes it."""

    def test_many_threads_leave_a_ledger_that_adds_up(self, store: Store) -> None:
        world = World(store)
        world.register()
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

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)


def _turn(world: World, chance: random.Random) -> list[int]:
    """Submit three jobs, start what fits, cancel one, report some of what runs, twice."""
    store, now = world.store, world.now
    answers = store.add_jobs([new_job(now, tasks=new_job(now).tasks) for _ in range(3)])
    ids = [answer.job_id for answer in answers if not isinstance(answer, Exception)]
    store.commit(world.plan(world.waiting()[:10]), now)
    store.request_cancel(chance.choice(ids), now)
    live = [attempt for job_id in ids for task in store.tasks(job_id) for attempt in task.attempts]
    claimed = store.claim("local", world.generation, [attempt.key for attempt in live], now)
    states = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.QUEUED)
    ends = [world.end(assignment.key, chance.choice(states)) for assignment in claimed]
    store.report(ends)
    assert store.report(ends) == []
    return ids
