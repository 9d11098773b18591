"""What the ends of attempts make of their jobs, added up before it is written."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from tidegate.core.attempt import AttemptEnd, JobAfter, Usage
from tidegate.core.job import TaskOrder
from tidegate.core.states import JobStatus, TaskState
from tidegate.store import rules
from tidegate.store.growth import order_from_json
from tidegate.store.kept import NOTHING_KNOWN, Known
from tidegate.store.values import exit_from_json, exit_to_json, to_micros


@dataclass(slots=True)
class EndingJob:
    """A job while the ends of a batch are added up."""

    kind: str
    queue: str
    cancelled: bool
    result_name: str | None
    owner: str
    task_count: int
    exit: str | None
    last: str | None
    last_number: int | None
    usage: Usage
    counts: dict[TaskState, int]
    was_running: int
    finished_at: int = 0
    status: JobStatus = JobStatus.RUNNING
    grown: list[Grown] = field(default_factory=list)

    def add(self, end: AttemptEnd, known: Known) -> None:
        """`known` is about the tasks that the end adds."""
        alone = self.task_count == 1 and self.last is None
        self.counts[TaskState.RUNNING] -= 1
        self.counts[end.next_state] += 1
        if end.new_tasks:
            self._grow(end.key.number, end.new_tasks, to_micros(end.ended_at), known)
        self.usage = rules.add_usage(self.usage, end.usage)
        self.finished_at = max(self.finished_at, to_micros(end.ended_at))
        if self.exit is None and end.next_state in (TaskState.FAILED, TaskState.CANCELLED):
            self.exit = exit_to_json(rules.exit_in_job(end, alone=alone))

    def settle(self) -> None:
        """What the ends add up to: the job ends, or its last task comes."""
        self.status = rules.status_of(self.counts)
        if not self.status.final:
            return
        if self.last is None or self.last_number is not None or self.cancelled:
            self.exit = exit_to_json(rules.exit_of_job(exit_from_json(self.exit), self.counts))
            return
        self.last_number = self.task_count + 1
        self._grow(self.last_number, [order_from_json(self.last)], self.finished_at)
        self.status = rules.status_of(self.counts)

    @property
    def after(self) -> JobAfter:
        """Once it is settled."""
        known = sum(grown.known.count for grown in self.grown)
        return JobAfter(self.kind, self.queue, self.status, known)

    def _grow(
        self, told_of: int, orders: Collection[TaskOrder], at: int, known: Known = NOTHING_KNOWN
    ) -> None:
        grown = Grown(told_of, self.task_count + 1, orders, at, known)
        self.grown.append(grown)
        self.task_count += len(orders)
        self.counts[TaskState.QUEUED] += grown.queued
        self.counts[TaskState.SUCCEEDED] += known.count


@dataclass(frozen=True, slots=True)
class Grown:
    """Tasks that came to a job; `told_of` is the task to which the event belongs."""

    told_of: int
    first: int
    orders: Collection[TaskOrder]
    at: int
    known: Known

    @property
    def queued(self) -> int:
        return len(self.orders) - self.known.count
