"""What the scheduler is shown (a snapshot) and what it answers (a plan). Values only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from math import ceil
from typing import NamedTuple

from tidegate.core.attempt import Assignment
from tidegate.core.criticality import of_priority
from tidegate.core.holding import Hold
from tidegate.core.job import AttemptKey, Shape, TaskKey, WaitingTask
from tidegate.core.pressure import Level
from tidegate.core.resources import Resources


class ReasonCode(StrEnum):
    """Stable codes of why a task waits."""

    NO_WORKER = "no_worker"
    WORKER_SILENT = "worker_silent"
    LABELS = "labels"
    RESOURCES = "resources"
    TOO_LARGE = "too_large"
    QUEUE_PAUSED = "queue_paused"
    QUEUE_CAP = "queue_cap"
    BEHIND = "behind"
    NOT_BEFORE = "not_before"
    NOT_JUDGED = "not_judged"
    PRESSURE = "pressure"
    STARTING = "starting"
    SERVER_STOPPING = "server_stopping"
    SAFE_MODE = "safe_mode"


class Reason(NamedTuple):
    """Why a task waits: a stable code, a sentence with numbers, and the numbers."""

    code: ReasonCode
    sentence: str
    numbers: Mapping[str, int | float | str] = {}


class LineKey(NamedTuple):
    """Tasks that differ in nothing the scheduler looks at but their order: one queue, one owner, one shape."""

    queue: str
    owner: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as the scheduler sees it. `accepting` is false while it drains."""

    id: str
    generation: int
    allocatable: Resources
    allocated: Resources
    labels: frozenset[tuple[str, str]] = frozenset()
    accepting: bool = True
    beat_at: datetime | None = None
    lease_s: float = 60.0
    silent_s: float | None = None
    """For how long it has said nothing, if that is longer than its lease: it is suspect (`membership.marked`)."""
    level: Level = Level.NORMAL
    """How much pressure it feels, by its last beat."""
    hold: Hold | None = None
    """What that keeps from starting here; None: nothing."""
    takes_batches: bool = False
    """Whether attempts may share a sandbox here: not on workers of a version that knows nothing of it."""

    @property
    def takes_work(self) -> bool:
        return self.accepting and self.silent_s is None

    @property
    def available(self) -> Resources:
        return self.allocatable - self.allocated


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue as the scheduler sees it. Of `running`, tasks that share a sandbox count once. `max_concurrent` None: no cap.
    `weight` is for fair share between queues."""

    name: str
    running: int = 0
    max_concurrent: int | None = None
    paused: bool = False
    weight: int = 1
    share: float = 1.0
    """How much of the cap may be used: less under pressure."""

    @property
    def cap(self) -> int | None:
        """What may run at a time now: of a cap its share, rounded up and at least one."""
        if self.max_concurrent is None or self.share >= 1.0:
            return self.max_concurrent
        return min(max(ceil(self.max_concurrent * self.share), 1), self.max_concurrent)


@dataclass(frozen=True, slots=True)
class LineView:
    """The head of a line, in its order. `waiting` counts all of it, also what is not shown."""

    key: LineKey
    heads: Sequence[WaitingTask]
    waiting: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is: workers with their allocations, queues, and the heads of the lines of waiting tasks."""

    workers: tuple[WorkerView, ...]
    queues: Mapping[str, QueueView]
    lines: tuple[LineView, ...]

    def after(self, starts: Iterable[Start]) -> Snapshot:
        """What is once these starts are true: their tasks no longer wait, their resources and places are taken."""
        starts = tuple(starts)
        started = {start.task for start in starts}
        running = Counter(start.queue for start in starts if start.head is None)
        taken: defaultdict[str, Resources] = defaultdict(Resources)
        for start in starts:
            taken[start.worker_id] += start.resources
        return replace(
            self,
            workers=tuple(
                replace(one, allocated=one.allocated + taken[one.id], hold=self._hold_after(one, starts))
                for one in self.workers
            ),
            queues={
                name: replace(one, running=one.running + running[name]) for name, one in self.queues.items()
            },
            lines=tuple(line for line in (_without(line, started) for line in self.lines) if line.waiting),
        )

    def _hold_after(self, worker: WorkerView, starts: Sequence[Start]) -> Hold | None:
        if worker.hold is None:
            return None
        begun = {start.task for start in starts if start.worker_id == worker.id and start.head is None}
        hold = worker.hold
        for task in (task for line in self.lines for task in line.heads if task.key in begun):
            hold = hold.after(of_priority(task.priority))
        return hold


def _without(line: LineView, started: set[TaskKey]) -> LineView:
    heads = [task for task in line.heads if task.key not in started]
    return LineView(line.key, heads, line.waiting - len(line.heads) + len(heads))


class Start(NamedTuple):
    """One decision: this attempt shall run on this worker (of this generation) with these resources."""

    key: AttemptKey
    queue: str
    worker_id: str
    generation: int
    resources: Resources
    assignment: Assignment | None = None
    """What runs it, when it was claimed by the commit that made it true; None: its worker is still to claim it."""
    head: AttemptKey | None = None
    """The attempt in whose sandbox and under whose allocation it runs, after those that come before it; `resources` is then
    nothing. None: it has a sandbox of its own."""

    @property
    def task(self) -> TaskKey:
        return self.key.task


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do and why: starts in order, and for each line that still waits the reason of its head.

    `more` says that the pass ended at its budget, not for lack of room: plan again at once.
    """

    starts: tuple[Start, ...] = ()
    verdicts: Mapping[LineKey, Reason] = field(default_factory=dict)
    more: bool = False
