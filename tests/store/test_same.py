"""Random histories: the store in memory and the store on SQLite must tell the same story."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tidegate.core.job import DIGEST, AttemptKey, TaskOrder
from tidegate.core.resources import Resources
from tidegate.core.states import AttemptState, TaskState
from tidegate.core.usage import HOUR, UsageBy, hour_of
from tidegate.errors import TidegateError
from tidegate.ports import JobFilter, Store, UsageFilter
from tidegate.store import open_store
from tidegate.testing.conformance.world import LARGE, World, new_source, new_tasks
from tidegate.testing.memory_store import MemoryStore

NAMES = st.sampled_from([None, "", "a", "A", "b"])
KEPT = st.sampled_from([None, "d", "e"])
NEXT = st.sampled_from(
    [TaskState.SUCCEEDED, TaskState.FAILED, TaskState.QUEUED, TaskState.SCHEDULED, TaskState.CANCELLED]
)


class SameStory(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        stores: list[Store] = [MemoryStore(max_concurrent=3), open_store(self.url(), max_concurrent=3)]
        self.worlds = [World(store) for store in stores]
        self.both(lambda world: world.register())

    def url(self) -> str:
        """An empty database."""
        return f"sqlite:///{Path(self.folder.name)}/tidegate.db"

    def both(self, act: Any) -> Any:
        """Do the same to both; they must answer the same, errors included."""
        answers = [_answer(act, world) for world in self.worlds]
        assert answers[0] == answers[1]
        return answers[0]

    def jobs(self) -> list[int]:
        return [job.id for job in self.worlds[0].store.jobs(JobFilter(limit=1000))]

    @rule(
        name=NAMES, tasks=st.integers(1, 3), key=st.sampled_from([None, "k", "l"]), digest=st.sampled_from("de"),
        wait_s=st.sampled_from([None, 0, 5]), queue=st.sampled_from(["default", "other"]), last=st.booleans(),
        known=KEPT,
    )  # fmt: skip
    def submit(self, name, tasks, key, digest, wait_s, queue, last, known):
        def act(world: World) -> Any:
            later = None if wait_s is None else world.now + timedelta(seconds=wait_s)
            orders = [_kept_as(order, known) for order in new_tasks(tasks)]
            return world.submit(
                result_name=name, tasks=orders, idempotency_key=key, request_digest=digest, not_before=later, queue=queue,
                 last=TaskOrder("last", {}, None, 3.0) if last else None,
            )  # fmt: skip

        self.both(act)

    @rule(count=st.integers(1, 4), tasks=st.integers(1, 2), last=st.booleans())
    def submit_and_start(self, count, tasks, last):
        """So that histories get somewhere: most steps of others need something that runs."""

        def act(world: World) -> Any:
            for _ in range(count):
                world.submit(tasks=new_tasks(tasks), max_attempts=2, last=TaskOrder("last") if last else None)
            return world.claim()

        self.both(act)

    @precondition(lambda self: bool(self.worlds[0].waiting()))
    @rule(first=st.integers(0, 1))
    def start(self, first):
        self.both(lambda world: world.commit(world.plan(world.waiting()[first:])))

    @precondition(lambda self: bool(_live(self.worlds[0], AttemptState.STARTING)))
    @rule()
    def claim(self):
        self.both(lambda world: world.claim(_live(world, AttemptState.STARTING)))

    @precondition(lambda self: bool(_live(self.worlds[0], AttemptState.RUNNING)))
    @rule(
        data=st.data(),
        next_state=NEXT,
        release=st.booleans(),
        name=st.sampled_from([None, "a", "b", "c"]),
        behind=st.sampled_from([0, 0, 0, 1]),
        adds=st.sampled_from([0, 0, 1, 3]),
        asked=st.sampled_from([None, Resources(500, 1024, 0)]),
        keeps=KEPT,
        known=KEPT,
    )
    def report(self, data, next_state, release, name, behind, adds, asked, keeps, known):
        live = _live(self.worlds[0], AttemptState.RUNNING)
        keys = data.draw(st.lists(st.sampled_from(live), min_size=1, max_size=3))

        def act(world: World) -> Any:
            succeeded = next_state is TaskState.SUCCEEDED
            source = new_source(name, world.now) if name and succeeded else None
            later = world.now + timedelta(seconds=3) if next_state is TaskState.SCHEDULED else None

            def added(key: AttemptKey) -> list[TaskOrder]:
                named = [f"{i} of {key.task}" for i in range(adds if succeeded else 0)]
                return [_kept_as(TaskOrder(name, {}, asked), known) for name in named]

            ends = [
                world.end(
                    key,
                    next_state,
                    release=release,
                    source=source,
                    not_before=later,
                    new_tasks=added(key),
                    digest=keeps,
                )
                for key in keys
            ]
            return world.store.report(ends)

        self.both(act)

    @precondition(lambda self: bool(self.jobs()))
    @rule(data=st.data())
    def cancel(self, data):
        job_id = data.draw(st.sampled_from(self.jobs()))
        self.both(lambda world: world.store.request_cancel(job_id, world.now))

    @rule(seconds=st.sampled_from([1, 5, 61]))
    def pass_time(self, seconds):
        self.both(lambda world: world.clock.advance(seconds))
        self.both(lambda world: world.wake(world.now))

    @rule(cpu_milli=st.sampled_from([500, 2000, 4000]))
    def beat(self, cpu_milli):
        offer = replace(LARGE, cpu_milli=cpu_milli)
        running = _live(self.worlds[0], AttemptState.RUNNING)[1:]
        self.both(
            lambda w: w.store.beat(replace(w.worker, allocatable=offer), w.generation, w.now, 60.0, running)
        )

    @rule()
    def register_again(self):
        self.both(lambda world: world.register())

    @rule(back=st.booleans())
    def leave(self, back):
        self.both(lambda world: world.store.unregister("local", world.generation, world.now))
        if back:
            self.both(lambda world: world.register())

    @rule()
    def declare_dead(self):
        self.both(
            lambda world: [world.store.declare_dead(b, world.now, world.epoch) for b in world.store.beats()]
        )
        self.both(lambda world: world.register())

    @precondition(lambda self: bool(self.worlds[0].store.lost()))
    @rule(next_state=st.sampled_from([TaskState.QUEUED, TaskState.FAILED]))
    def rescue(self, next_state):
        def act(world: World) -> Any:
            lost = world.store.lost()
            ends = [
                world.end(found.key, next_state, state=AttemptState.LOST, generation=found.generation)
                for found in lost
            ]
            return lost, world.store.end_lost(ends, world.epoch)

        self.both(act)

    @rule()
    def release_all(self):
        keys = [attempt.key for attempt in _attempts(self.worlds[0])]
        self.both(lambda world: world.store.release(keys, world.now))

    @rule(
        paused=st.sampled_from([None, False, True]), cap=st.sampled_from([None, 1, 4]), no_cap=st.booleans()
    )
    def set_queue(self, paused, cap, no_cap):
        self.both(lambda w: w.store.set_queue("default", paused=paused, max_concurrent=cap, no_cap=no_cap))

    @rule(name=st.sampled_from(["a", "B", "c"]))
    def add_source(self, name):
        self.both(lambda world: world.store.add_source(new_source(name, world.now)))

    @rule(name=st.sampled_from(["A", "b", "c"]))
    def delete_source(self, name):
        self.both(lambda world: world.store.delete_source(name, "ann"))

    @rule(age_s=st.sampled_from([0, 10]))
    def prune(self, age_s):
        self.both(lambda world: world.store.prune(world.now - timedelta(seconds=age_s)))
        self.both(lambda world: world.store.prune_kept(world.now - timedelta(seconds=age_s), 10**9))

    @rule()
    def add_up_usage(self):
        self.both(lambda world: world.store.count_usage(world.now + HOUR))

    @invariant()
    def tell_the_same_usage(self):
        """Whatever became of the jobs meanwhile."""
        self.both(_usage)

    @invariant()
    def tell_the_same(self):
        jobs = self.both(
            lambda world: [_without_change(job) for job in world.store.jobs(JobFilter(limit=1000))]
        )
        for job in jobs:
            tasks = self.both(lambda world, job_id=job.id: world.store.tasks(job_id))
            assert [task.key.number for task in tasks] == [*range(1, len(tasks) + 1)]
            assert Counter(task.state for task in tasks) == Counter(job.task_counts)
            assert not [name for name, times in Counter(t.name for t in tasks).items() if times > 1]
            self.both(
                lambda world, job_id=job.id: [
                    (event.type, event.message, event.task_number, event.data)
                    for event in world.store.events(job_id)
                ]
            )
        self.both(lambda world: world.store.queues())
        self.both(lambda world: world.store.sources())
        self.both(lambda world: world.store.changes(0).workers)
        self.both(lambda world: world.waiting())
        self.both(lambda world: world.store.check())

    def teardown(self) -> None:
        for world in self.worlds:
            world.store.close()
        self.folder.cleanup()


def _kept_as(order: TaskOrder, digest: str | None) -> TaskOrder:
    return order if digest is None else replace(order, spec={**order.spec, DIGEST: digest})


def _answer(act: Any, world: World) -> Any:
    try:
        return act(world)
    except TidegateError as error:
        return type(error), str(error)


def _without_change(job: Any) -> Any:
    return replace(job, change=0)


def _usage(world: World) -> Any:
    """Databases may add in another order."""
    day = timedelta(days=1)
    found = world.store.usage(UsageFilter(UsageBy.QUEUE, hour_of(world.now - day), hour_of(world.now + day)))
    return [(one.name, [round(value, 6) for value in one.tally], dict(one.waits)) for one in found]


def _attempts(world: World) -> list[Any]:
    jobs = world.store.jobs(JobFilter(limit=1000))
    return [attempt for job in jobs for task in world.store.tasks(job.id) for attempt in task.attempts]


def _live(world: World, state: AttemptState) -> list[Any]:
    return [attempt.key for attempt in _attempts(world) if attempt.state is state]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", ["empty_postgresql", "empty_mariadb"])
@pytest.mark.servers
def test_databases_behind_a_network_tell_the_same_story(request, database):
    empty = request.getfixturevalue(database)

    class Story(SameStory):
        def url(self) -> str:
            return str(empty())

    run_state_machine_as_test(
        Story,
        settings=settings(
            max_examples=10,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


TestSameStory = SameStory.TestCase
TestSameStory.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
