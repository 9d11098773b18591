"""Small worlds of workers, queues and tasks, and a simulation that drives the scheduler through events.

The builders make values for tests of the core. `World` takes events in and gives starts out: no clock, no threads, no
store, so the same events always lead to the same decisions, and a log of them can be replayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tidegate.core.job import AttemptKey, Priority, Shape, TaskKey, WaitingTask
from tidegate.core.ledger import Ledger
from tidegate.core.plan import QueueView, Snapshot, Start, WorkerView
from tidegate.core.queueing import Backlog
from tidegate.core.resources import GIB, Resources, parse_bytes, parse_cpus
from tidegate.core.retry import decide
from tidegate.core.scheduler import BUDGET, plan
from tidegate.core.states import OF_THE_MACHINE, ExitReason, TaskState, check_task_transition

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def amounts(cpus: float = 1, memory: int | str = GIB, disk: int | str = 0) -> Resources:
    """Resources from amounts as users write them."""
    return Resources(parse_cpus(cpus), parse_bytes(memory), parse_bytes(disk, name="disk"))


def a_worker(
    id: str = "local",
    cpus: float = 4,
    memory: int | str = "8GiB",
    disk: int | str = "100GiB",
    *,
    allocated: Resources | None = None,
    labels: Mapping[str, str] | None = None,
    accepting: bool = True,
    generation: int = 1,
    takes_batches: bool = True,
) -> WorkerView:
    """A worker with nothing on it unless told."""
    return WorkerView(
        id,
        generation,
        amounts(cpus, memory, disk),
        allocated or Resources(),
        frozenset((labels or {}).items()),
        accepting,
        takes_batches=takes_batches,
    )


def a_task(
    job_id: int = 1,
    number: int = 1,
    *,
    queue: str = "default",
    owner: str = "ann",
    priority: Priority = Priority.NORMAL,
    cpus: float = 1,
    memory: int | str = GIB,
    disk: int | str = 0,
    labels: Mapping[str, str] | None = None,
    attempts: int = 0,
    batch: int = 1,
) -> WaitingTask:
    """A waiting task."""
    shape = Shape(amounts(cpus, memory, disk), frozenset((labels or {}).items()))
    return WaitingTask(TaskKey(job_id, number), queue, owner, priority, shape, NOW, attempts, batch)


def a_snapshot(
    tasks: Iterable[WaitingTask] = (),
    workers: Iterable[WorkerView] = (),
    queues: Iterable[QueueView] = (),
    *,
    depth: int = BUDGET,
) -> Snapshot:
    """What the scheduler is shown of these."""
    backlog = Backlog()
    backlog.apply(tasks, ())
    return Snapshot(tuple(workers), {queue.name: queue for queue in queues}, backlog.lines(depth))


@dataclass(frozen=True, slots=True)
class Submit:
    """A new task arrives."""

    task: WaitingTask
    max_attempts: int = 1


@dataclass(frozen=True, slots=True)
class End:
    """An attempt ended; `reason` None: with success. `put_back`: its batch ended before it had begun."""

    key: AttemptKey
    reason: ExitReason | None = None
    put_back: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """A task is cancelled, whether it waits or runs."""

    key: TaskKey


@dataclass(frozen=True, slots=True)
class Register:
    """A worker comes, or comes back under a new generation; what an older one ran is lost."""

    worker: WorkerView


@dataclass(frozen=True, slots=True)
class Lose:
    """A worker of this generation is lost with all it ran. It offers nothing until it registers again."""

    worker_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class SetQueue:
    """A queue is given a cap, or paused."""

    name: str
    max_concurrent: int | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Wake:
    """The time of every scheduled task has come."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The scheduler forgets everything that is not stored."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The scheduler makes a pass."""

    budget: int = BUDGET


Event = Submit | End | Cancel | Register | Lose | SetQueue | Wake | Restart | Pass


@dataclass(slots=True)
class Entry:
    """A task as a store would keep it."""

    task: WaitingTask
    max_attempts: int
    state: TaskState = TaskState.QUEUED
    losses: int = 0
    put_back: int = 0
    cancel_requested: bool = False


@dataclass
class World:
    """Stands in for store, workers and cycle. An event that has been delivered before changes nothing."""

    max_losses: int = 2
    entries: dict[TaskKey, Entry] = field(default_factory=dict)
    workers: dict[str, WorkerView] = field(default_factory=dict)
    queues: dict[str, QueueView] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    log: list[Event] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    """Every start so far, in order: the decisions."""
    _backlog: Backlog = field(default_factory=Backlog)
    _changed: dict[TaskKey, None] = field(default_factory=dict)

    @classmethod
    def replay(cls, log: Iterable[Event]) -> World:
        """The world that these events lead to."""
        world = cls()
        for event in log:
            world.deliver(event)
        return world

    def deliver(self, event: Event) -> list[Start]:
        """Let something happen; the starts it led to (only a pass leads to any)."""
        self.log.append(event)
        match event:
            case Submit():
                self._submit(event)
            case End():
                self._end(event.key, event.reason, put_back=event.put_back)
            case Cancel():
                self._cancel(event.key)
            case Register():
                self._register(event.worker)
            case Lose():
                self._lose(event)
            case SetQueue():
                self.queues[event.name] = QueueView(
                    event.name, max_concurrent=event.max_concurrent, paused=event.paused
                )
            case Wake():
                self._wake()
            case Restart():
                self._backlog = Backlog()
                self._changed = dict.fromkeys(self.entries)
            case Pass():
                return self._pass(event.budget)
        return []

    def waiting(self) -> list[WaitingTask]:
        """Tasks that wait for room, in no particular order."""
        return [entry.task for entry in self.entries.values() if entry.state is TaskState.QUEUED]

    def worker_views(self) -> tuple[WorkerView, ...]:
        """Workers with what the ledger says is allocated on them."""
        return tuple(
            replace(view, allocated=self.ledger.allocated(view.id)) for view in self.workers.values()
        )

    def queue_views(self) -> dict[str, QueueView]:
        """Queues with how many attempts of each hold something."""
        names = {*self.queues, *(entry.task.queue for entry in self.entries.values())}
        views = {name: self.queues.get(name, QueueView(name)) for name in sorted(names)}
        return {name: replace(view, running=self.ledger.running(name)) for name, view in views.items()}

    def facts(self) -> object:
        """Everything that redelivered events must not change, as a value to compare."""
        entries = {
            key: (entry.state, entry.task, entry.losses, entry.put_back)
            for key, entry in self.entries.items()
        }
        return entries, dict(self.workers), self.queue_views(), dict(self.ledger.live()), list(self.starts)

    def _submit(self, event: Submit) -> None:
        if event.task.key not in self.entries:
            self.entries[event.task.key] = Entry(event.task, event.max_attempts)
            self._changed[event.task.key] = None

    def attempts(self) -> list[AttemptKey]:
        """Those that have not ended."""
        return [
            AttemptKey(*key, entry.task.attempts)
            for key, entry in self.entries.items()
            if entry.state is TaskState.RUNNING
        ]

    def _end(self, key: AttemptKey, reason: ExitReason | None, *, put_back: bool = False) -> None:
        entry = self.entries[key.task]
        if entry.state is not TaskState.RUNNING or entry.task.attempts != key.attempt:
            return
        self.ledger.release(key)
        if put_back and not entry.cancel_requested:
            entry.put_back += 1
            self._become(key.task, TaskState.QUEUED)
            return
        end = ExitReason.CANCELLED if entry.cancel_requested else reason
        decision = decide(
            end, key.attempt, entry.losses, entry.max_attempts, self.max_losses, NOW, put_back=entry.put_back
        )
        entry.losses += end is ExitReason.LEASE_EXPIRED or end in OF_THE_MACHINE
        self._become(key.task, decision.state)

    def _cancel(self, key: TaskKey) -> None:
        entry = self.entries.get(key)
        if entry is None or entry.state.final:
            return
        entry.cancel_requested = True
        if entry.state is not TaskState.RUNNING:
            self._become(key, TaskState.CANCELLED)

    def _register(self, worker: WorkerView) -> None:
        known = self.workers.get(worker.id)
        if known is not None and known.generation >= worker.generation:
            return
        if known is not None:
            self._lose(Lose(known.id, known.generation))
        self.workers[worker.id] = replace(worker, allocated=Resources())
        self.ledger.set_worker(worker.id, worker.generation, worker.allocatable)

    def _lose(self, event: Lose) -> None:
        worker = self.workers.get(event.worker_id)
        if worker is None or worker.generation != event.generation:
            return
        self.workers[worker.id] = replace(worker, accepting=False)
        held = self.ledger.live()
        for key in [key for key in self.attempts() if held[key].worker_id == worker.id]:
            self._end(key, ExitReason.LEASE_EXPIRED)

    def _wake(self) -> None:
        for key, entry in self.entries.items():
            if entry.state is TaskState.SCHEDULED:
                self._become(key, TaskState.QUEUED)

    def _become(self, key: TaskKey, state: TaskState) -> None:
        entry = self.entries[key]
        check_task_transition(key, entry.state, state)
        entry.state = state
        self._changed[key] = None

    def _pass(self, budget: int) -> list[Start]:
        changed, self._changed = self._changed, {}
        waits = [self.entries[key] for key in changed if self.entries[key].state is TaskState.QUEUED]
        gone = [key for key in changed if self.entries[key].state is not TaskState.QUEUED]
        self._backlog.apply([entry.task for entry in waits], gone)
        snapshot = Snapshot(self.worker_views(), self.queue_views(), self._backlog.lines(budget))
        made = [start for start in plan(snapshot, NOW, budget).starts if self._commit(start)]
        self._backlog.started(start.task for start in made)
        self.starts.extend(made)
        return made

    def _commit(self, start: Start) -> bool:
        entry = self.entries[start.task]
        if entry.state is not TaskState.QUEUED or start.key.attempt != entry.task.attempts + 1:
            return False
        if not self.ledger.allocate(
            start.key, start.worker_id, start.generation, start.queue, start.resources, start.head
        ):
            return False
        entry.task = replace(entry.task, attempts=start.key.attempt)
        self._become(start.task, TaskState.RUNNING)
        del self._changed[start.task]
        return True
