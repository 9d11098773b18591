"""A store with a worker and a clock, for tests that tell a story in few lines."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from tidegate.core.attempt import AttemptEnd, Claimed, Exit, Usage
from tidegate.core.job import AttemptKey, NewJob, Priority, Shape, TaskOrder, WaitingTask
from tidegate.core.plan import Plan, Start
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.core.source import Source, SourceColumn
from tidegate.core.states import AttemptState, ExitReason, TaskState
from tidegate.ports import Accepted, BeatAnswer, Store, WorkerInfo
from tidegate.testing.fakes import FakeClock

SMALL = Resources(1000, 256 * MIB, GIB)
LARGE = Resources(4000, 4 * GIB, 64 * GIB)
LEASE_S = 60.0
FAILED = Exit(ExitReason.ERROR, "It went wrong.", code="binder_error")


def new_job(at: datetime, **changes: Any) -> NewJob:
    """A job of one small task, with any field of `NewJob` changed; `resources` stands for its shape."""
    fields: dict[str, Any] = {
        "kind": "sql",
        "name": "numbers",
        "owner": "ann",
        "queue": "default",
        "priority": Priority.NORMAL,
        "shape": Shape(changes.pop("resources", SMALL)),
        "timeout_s": 60.0,
        "max_attempts": 1,
        "spec": {"sql": "select 1"},
        "tasks": (TaskOrder("select 1"),),
        "created_at": at,
    }
    return NewJob(**{**fields, **changes})


def new_tasks(count: int) -> tuple[TaskOrder, ...]:
    return tuple(TaskOrder(f"file {i}.sql", {"file": i}) for i in range(1, count + 1))


def new_source(name: str, at: datetime, **changes: Any) -> Source:
    fields: dict[str, Any] = {
        "format": "parquet",
        "path": f"/data/{name}.parquet",
        "owner": "ann",
        "created_at": at,
        "columns": (SourceColumn("a", "BIGINT"), SourceColumn("b", "VARCHAR")),
        "row_count": 3,
        "size_bytes": 1234,
    }
    return Source(name=name, **{**fields, **changes})


class World:
    """One store, one worker called `local` (registered at first use), a clock that stands still."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = FakeClock()
        self.worker = WorkerInfo(
            "local", "host", LARGE, LARGE, frozenset({("disk", "fast")}), {"duckdb": "2.0"}
        )
        self.generation = 0
        self._epoch = 0
        self.cursor = 0

    @property
    def now(self) -> datetime:
        return self.clock.now()

    @property
    def epoch(self) -> int:
        """The scheduler of this world leads, from its first look at this on."""
        self._epoch = self._epoch or self.store.seize("world", self.now, LEASE_S)
        return self._epoch

    def commit(self, plan: Plan, *, claim: bool = False) -> list[Start]:
        return self.store.commit(plan, self.now, self.epoch, claim=claim)

    def wake(self, now: datetime) -> datetime | None:
        return self.store.wake_scheduled(now, self.epoch)

    def register(self) -> int:
        self.generation = self.store.register(self.worker, self.now, LEASE_S)
        return self.generation

    def beat(
        self, running: Collection[AttemptKey] = (), *, generation: int | None = None
    ) -> BeatAnswer | None:
        """Beat as our worker; by default it says that it runs nothing."""
        as_generation = self.generation if generation is None else generation
        return self.store.beat(self.worker, as_generation, self.now, LEASE_S, running)

    def cancels(self) -> list[AttemptKey]:
        """What a beat says is to be cancelled."""
        answer = self.beat()
        assert answer is not None
        return answer.cancel

    def submit(self, **changes: Any) -> int:
        """Store one job; its id. Raises what the store answers instead."""
        answer = self.store.add_jobs([new_job(self.now, **changes)])[0]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Accepted)
        return answer.job_id

    def waiting(self) -> list[WaitingTask]:
        """All that waits for a start, first come first."""
        return sorted(self.store.changes(0).waiting, key=lambda task: task.key)

    def plan(self, tasks: Sequence[WaitingTask] | None = None) -> Plan:
        """Start these (all that waits), on our worker, whether they fit or not."""
        if not self.generation:
            self.register()
        chosen = self.waiting() if tasks is None else tasks
        return Plan(
            tuple(
                Start(
                    AttemptKey(*task.key, task.attempts + 1),
                    task.queue,
                    "local",
                    self.generation,
                    task.shape.resources,
                )
                for task in chosen
            )
        )

    def start(self) -> list[AttemptKey]:
        """Start all that waits; the attempts that became true."""
        return [start.key for start in self.commit(self.plan())]

    def claim(self, keys: Sequence[AttemptKey] | None = None) -> Claimed:
        chosen = self.start() if keys is None else keys  # registers the worker first, if need be
        return self.store.claim("local", self.generation, chosen, self.now)

    def run(self, **changes: Any) -> AttemptKey:
        """Submit one job, start and claim it."""
        job_id = self.submit(**changes)
        claimed = self.claim()
        assert [assignment.key.job_id for assignment in claimed] == [job_id]
        return claimed[0].key

    def end(self, key: AttemptKey, next_state: TaskState = TaskState.SUCCEEDED, **changes: Any) -> AttemptEnd:
        """The end of an attempt as its worker would report it."""
        succeeded = next_state is TaskState.SUCCEEDED
        fields: dict[str, Any] = {
            "key": key,
            "worker_id": "local",
            "generation": self.generation,
            "state": AttemptState.SUCCEEDED if succeeded else AttemptState.FAILED,
            "ended_at": self.now,
            "next_state": next_state,
            "exit": None if succeeded else FAILED,
            "usage": Usage(100 * MIB, 150 * MIB, 1.5, 2.0, 1000, 2000),
            "result": {"row_count": 3} if succeeded else None,
        }
        return AttemptEnd(**{**fields, **changes})

    def managed_paths(self, answered_before: datetime | None = None) -> set[str]:
        """The files that are still needed."""
        paths = set[str]()
        self.store.each_managed_path(paths.add, answered_before)
        return paths

    def report(
        self, key: AttemptKey, next_state: TaskState = TaskState.SUCCEEDED, **changes: Any
    ) -> AttemptEnd | None:
        """Report the end of an attempt; as recorded, None if it was not believed."""
        recorded = self.store.report([self.end(key, next_state, **changes)])
        return recorded[0] if recorded else None

    def allocated(self) -> Resources:
        """What our worker has allocated."""
        return next(view.allocated for view in self.store.changes(0).workers if view.id == "local")

    def event_types(self, job_id: int) -> list[str]:
        return [event.type for event in self.store.events(job_id)]
