"""The scheduler's invariants through the cycle and a real store: the same random worlds over memory and SQLite."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.core.auditor import left_idle, misplaced, oversold, passed_over, through_closed_gates
from tidegate.core.attempt import AttemptEnd, Exit
from tidegate.core.job import AttemptKey, Priority, Shape
from tidegate.core.retry import decide
from tidegate.core.states import AttemptState, ExitReason, JobStatus, TaskState
from tidegate.ports import Store, WorkerInfo
from tidegate.server.cycle import Cycle
from tidegate.store import open_store
from tidegate.testing.conformance.world import new_job, new_tasks
from tidegate.testing.fakes import FakeClock, FakeLauncher, RecordingBell, SoleLeader
from tidegate.testing.memory_store import MemoryStore
from tidegate.testing.scenario import amounts

LEASE_S = 60.0
SHAPES = [
    Shape(amounts(1)),
    Shape(amounts(1)),
    Shape(amounts(2)),
    Shape(amounts(0, "5GiB")),
    Shape(amounts(9)),
    Shape(amounts(1), frozenset({("gpu", "yes")})),
]
JOBS = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["ann", "bob"]),
    st.sampled_from(Priority),
    st.sampled_from(SHAPES),
    st.integers(1, 3),
    st.integers(1, 2),
)
QUEUE_SETTINGS = [(None, False), (None, False), (5, False), (2, False), (1, False), (None, True)]
REASONS = [None, None, ExitReason.ERROR, ExitReason.SIGNAL, ExitReason.EVICTED]
WORKERS = {
    "w1": (amounts(4, "8GiB"), frozenset()),
    "w2": (amounts(3, "8GiB"), frozenset({("gpu", "yes")})),
    "w3": (amounts(2, "2GiB"), frozenset()),
}


class StoredScheduling(RuleBasedStateMachine):
    """Drives `Cycle.run_once` over the store that a subclass opens."""

    def open(self) -> Store:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.store = self.open()
        self.clock = FakeClock()
        self.launcher = FakeLauncher()
        self.leader = SoleLeader(self.store, self.clock)
        self.cycle = self.new_cycle()
        self.generations: dict[str, int] = {}
        self.live: dict[AttemptKey, tuple[str, int]] = {}
        self.reported: list[AttemptEnd] = []
        self.jobs: list[int] = []
        self.cancelled: set[int] = set()

    def new_cycle(self) -> Cycle:
        return Cycle(self.store, self.launcher, RecordingBell(), self.clock, self.leader)

    def teardown(self):
        self.store.check()
        self.store.close()

    @initialize()
    def a_first_worker(self):
        self.register("w1")

    @rule(name=st.sampled_from(sorted(WORKERS)))
    def register(self, name):
        """A worker comes, or comes back: what it ran before is found lost, recorded, and maybe queued again."""
        offered, labels = WORKERS[name]
        info = WorkerInfo(name, "host", offered, offered, labels)
        self.generations[name] = self.store.register(info, self.clock.now(), LEASE_S)
        self.rescue()

    def rescue(self):
        now = self.clock.now()
        for lost in self.store.lost():
            decision = decide(
                ExitReason.LEASE_EXPIRED, lost.key.attempt, lost.losses, lost.max_attempts, 2, now
            )
            end = AttemptEnd(
                lost.key,
                lost.worker_id,
                lost.generation,
                AttemptState.LOST,
                now,
                decision.state,
                exit=Exit(ExitReason.LEASE_EXPIRED, "The worker was lost."),
            )
            assert self.live.pop(lost.key) == (lost.worker_id, lost.generation)
            (recorded,) = self.store.report([end])
            self.reported.append(recorded)
        assert self.store.lost() == []

    @rule(jobs=st.lists(JOBS, min_size=1, max_size=4))
    def submit(self, jobs):
        orders = [
            new_job(
                self.clock.now(),
                queue=queue,
                owner=owner,
                priority=priority,
                shape=shape,
                tasks=new_tasks(tasks),
                max_attempts=max_attempts,
            )
            for queue, owner, priority, shape, tasks, max_attempts in jobs
        ]
        for answer in self.store.add_jobs(orders):
            assert not isinstance(answer, Exception)
            self.jobs.append(answer.job_id)
        self.schedule()

    @precondition(lambda self: self.live)
    @rule(data=st.data(), count=st.integers(1, 4))
    def end(self, data, count):
        keys = data.draw(st.lists(st.sampled_from(sorted(self.live)), max_size=count, unique=True))
        ends = [self.an_end(key, data.draw(st.sampled_from(REASONS))) for key in keys]
        claimed: set[AttemptKey] = set()
        for key in keys:
            claimed.update(one.key for one in self.store.claim(*self.live[key], [key], self.clock.now()))
        for key in set(keys) - claimed:
            assert key.job_id in self.cancelled
            del self.live[key]
        recorded = self.store.report(ends)
        assert {end.key for end in recorded} == self.live.keys() & set(keys)
        for end in recorded:
            assert end.next_state is TaskState.CANCELLED or end.key.job_id not in self.cancelled
            del self.live[end.key]
        self.reported += recorded
        self.schedule()

    def an_end(self, key: AttemptKey, reason: ExitReason | None) -> AttemptEnd:
        worker_id, generation = self.live[key]
        now = self.clock.now()
        decision = decide(reason, key.attempt, 0, 2, 2, now)
        return AttemptEnd(
            key,
            worker_id,
            generation,
            AttemptState.FAILED if reason else AttemptState.SUCCEEDED,
            now,
            decision.state,
            decision.not_before,
            Exit(reason, "It ended.") if reason else None,
        )

    @precondition(lambda self: self.reported)
    @rule(data=st.data())
    def report_again(self, data):
        end = data.draw(st.sampled_from(self.reported))
        before = self.facts()
        assert self.store.report([replace(end, state=AttemptState.FAILED, next_state=TaskState.QUEUED)]) == []
        assert self.facts() == before

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data):
        job_id = data.draw(st.sampled_from(self.jobs))
        self.store.request_cancel(job_id, self.clock.now())
        if self.store.job(job_id).status is not JobStatus.SUCCEEDED:
            self.cancelled.add(job_id)
        before = self.facts()
        self.store.request_cancel(job_id, self.clock.now())
        assert self.facts() == before

    @rule(name=st.sampled_from(["a", "b"]), setting=st.sampled_from(QUEUE_SETTINGS))
    def set_queue(self, name, setting):
        cap, paused = setting
        self.store.set_queue(name, paused=paused, max_concurrent=cap, no_cap=cap is None)
        self.schedule()

    @rule()
    def time_passes(self):
        self.store.wake_scheduled(self.clock.advance(30.0), self.leader.epoch)
        for name, generation in self.generations.items():
            offered, labels = WORKERS[name]
            info = WorkerInfo(name, "host", offered, offered, labels)
            assert self.store.beat(info, generation, self.clock.now(), LEASE_S, ()) is not None
        self.schedule()

    @rule()
    def restart(self):
        self.cycle = self.new_cycle()
        self.schedule()

    def schedule(self):
        """A pass, judged by what the store held before and holds after it."""
        before = self.store.changes(0)
        starts = self.cycle.run_once()
        after = self.store.changes(0)
        shapes = {task.key: task.shape for task in before.waiting}
        assert misplaced(starts, shapes, before.workers) == []
        assert passed_over(before.waiting, starts, after.queues) == []
        assert through_closed_gates(starts, after.queues) == []
        assert left_idle(after.waiting, after.workers, after.queues) == []
        assert self.cycle.waiting() == len(after.waiting)
        assert not {start.key for start in starts} & {end.key for end in self.reported}
        assert not {start.key.job_id for start in starts} & self.cancelled
        for start in starts:
            self.live[start.key] = (start.worker_id, start.generation)
        for task in after.waiting:
            told = self.cycle.explain(task.key)
            assert told is not None
            assert told.code not in ("behind", "not_judged")

    @invariant()
    def the_ledger_adds_up(self):
        self.store.check()
        assert oversold(self.store.changes(0).workers) == []

    def facts(self) -> object:
        found = self.store.changes(0)
        return sorted(found.waiting, key=lambda task: task.key), found.workers, dict(found.queues)


class OverMemory(StoredScheduling):
    def open(self):
        return MemoryStore()


class OverSqlite(StoredScheduling):
    def open(self):
        self.folder = tempfile.mkdtemp()
        return open_store(f"sqlite:///{Path(self.folder) / 'tidegate.db'}")

    def teardown(self):
        super().teardown()
        shutil.rmtree(self.folder)


def test_the_invariants_hold_over_the_store_in_memory():
    run_state_machine_as_test(
        OverMemory, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )


@pytest.mark.timeout(120)
def test_the_invariants_hold_over_sqlite():
    run_state_machine_as_test(
        OverSqlite, settings=settings(max_examples=8, stateful_step_count=20, deadline=None)
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("machine", [OverMemory, OverSqlite])
def test_the_invariants_hold_in_many_worlds(machine):
    run_state_machine_as_test(
        machine, settings=settings(max_examples=200, stateful_step_count=40, deadline=None)
    )
