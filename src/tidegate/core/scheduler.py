"""What to start now, and why the rest waits.

Priority and age decide the order, best fit the place. The pass keeps no machine idle for order's sake: a smaller task
may pass a larger one that does not fit. Tasks that ask for the same never pass each other.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from heapq import heapify, heappop, heapreplace
from math import ceil

from tidegate.core.criticality import Criticality, of_priority
from tidegate.core.job import AttemptKey, Shape, TaskKey, WaitingTask
from tidegate.core.placement import Probe, Room
from tidegate.core.plan import (
    LineKey,
    LineView,
    Plan,
    QueueView,
    Reason,
    ReasonCode,
    Snapshot,
    Start,
    WorkerView,
)
from tidegate.core.queueing import order_key
from tidegate.core.resources import Resources

_NO_CAP = 1 << 62
BUDGET = 512
"""Starts of one pass: about 5 ms of planning, and as much as one transaction of the store carries well."""


def plan(snapshot: Snapshot, now: datetime, budget: int = BUDGET) -> Plan:
    """Decide what starts, at most `budget` tasks, and why the others wait. Pure; O((starts + lines) · log lines).

    A line that shows fewer heads than the budget may end the pass early (`more`), never change the order.
    """
    # 1. What is free: room on the workers, places in the queues.
    room, gates, lines = Room(snapshot.workers), Gates(snapshot.queues), snapshot.lines
    probes = [room.probe(line.key.shape) for line in lines]
    at = [0] * len(lines)
    starts: list[Start] = []

    # 2. The head of each line, best first.
    heads = [(order_key(line.heads[0]), index) for index, line in enumerate(lines) if line.heads]
    heapify(heads)
    while heads and len(starts) < budget:
        _, index = heads[0]
        line, probe = lines[index], probes[index]

        # 3. A closed queue holds back its own lines only.
        if gates.closed(line.key.queue):
            heappop(heads)
            continue

        # 4. A shape that fits nowhere is out for this pass; smaller ones go on. Under pressure its class counts too.
        if room.holds:
            probe = room.probe(line.key.shape, of_priority(line.heads[at[index]].priority))
        worker = probe.find()
        if worker is None:
            heappop(heads)
            continue

        # 5. Start it, with those that may share its sandbox, and charge them at once.
        count = min(sharing(line, at[index], worker, probe, gates), budget - len(starts))
        probe.take()
        gates.take(line.key.queue)
        starts += _starts(line.key, line.heads[at[index] : at[index] + count], worker)

        # 6. The next of its line. When it is not shown the pass ends, so that none behind it passes it.
        at[index] += count
        if at[index] < len(line.heads):
            heapreplace(heads, (order_key(line.heads[at[index]]), index))
        elif at[index] < line.waiting:
            break
        else:
            heappop(heads)

    # 7. What is left waits, each line for a reason that is put into words when somebody asks.
    return Plan(tuple(starts), Verdicts(snapshot, room, gates, at), more=bool(heads))


def sharing(line: LineView, at: int, worker: WorkerView, probe: Probe, gates: Gates) -> int:
    """How many tasks of the line, from `at` on, are started together in one sandbox of a worker: a batch.

    Half of an equal share of what waits of their job for each place, so that all places end at about the same time whatever
    the tasks take (factoring: Hummel, Schonberg and Flynn 1992), at most as many as the job allows: half of that for each
    time that the first was tried before, since a batch that ended early was too large, or has one in it that ends the others.
    """
    first = line.heads[at]
    most = first.batch >> first.attempts
    if most <= 1 or not worker.takes_batches:
        return 1
    behind = (-first.priority, first.key.job_id + 1, 0)
    waiting = bisect_left(line.heads, behind, at, key=order_key) - at
    places = min(probe.places(), gates.most(line.key.queue))
    return max(min(most, ceil(waiting / (2 * places))), 1)


def _starts(line: LineKey, tasks: Sequence[WaitingTask], worker: WorkerView) -> list[Start]:
    """One start for each; all but the first in its sandbox."""
    keys = [AttemptKey(task.key.job_id, task.key.number, task.attempts + 1) for task in tasks]
    head = Start(keys[0], line.queue, worker.id, worker.generation, line.shape.resources)
    return [head, *(head._replace(key=key, resources=Resources(), head=head.key) for key in keys[1:])]


def explain(snapshot: Snapshot, task: WaitingTask, now: datetime) -> Reason:
    """Why this task waits, judged as `plan` would judge it if it were at the head of its line.

    The snapshot should be one from after a pass (`Snapshot.after`): what is free in it is free because nothing could
    use it.
    """
    room, gates, who = Room(snapshot.workers), Gates(snapshot.queues), _name(task.key)
    reason = _judge(room, gates, task.queue, task.shape, who, of_priority(task.priority))
    if reason is not None:
        return reason
    order = order_key(task)
    ahead = sum(
        sum(order_key(head) < order for head in line.heads)
        for line in snapshot.lines
        if not gates.closed(line.key.queue) and _fits_somewhere(room, line)
    )
    if not ahead:
        return _not_judged(who)
    sentence = f"{who} fits, but {ahead} waiting tasks that fit as well come before it."
    return Reason(ReasonCode.BEHIND, sentence, {"ahead": ahead})


def _fits_somewhere(room: Room, line: LineView) -> bool:
    """Whether the head of a line has room."""
    work = of_priority(line.heads[0].priority) if room.holds and line.heads else None
    return room.probe(line.key.shape, work).find() is not None


class Gates:
    """The queues during one pass: paused ones and full ones are closed."""

    def __init__(self, queues: Mapping[str, QueueView]) -> None:
        self._queues = queues
        self._places = {
            name: queue.cap - queue.running for name, queue in queues.items() if queue.cap is not None
        }
        self._paused = {name for name, queue in queues.items() if queue.paused}

    def closed(self, queue: str) -> bool:
        return queue in self._paused or self._places.get(queue, 1) <= 0

    def take(self, queue: str) -> None:
        if queue in self._places:
            self._places[queue] -= 1

    def most(self, queue: str) -> int:
        """How many sandboxes of the queue may run at a time."""
        cap = self._queues[queue].cap if queue in self._places else None
        return _NO_CAP if cap is None else max(cap, 1)

    def refusal(self, who: str, queue: str) -> Reason:
        """Why a closed queue is closed."""
        if queue in self._paused:
            sentence = f"{who} waits because queue '{queue}' is paused. Resume the queue to start it."
            return Reason(ReasonCode.QUEUE_PAUSED, sentence, {"queue": queue})
        cap = self._queues[queue].cap or 0
        running = cap - self._places[queue]
        whole = self._queues[queue].max_concurrent or 0
        if running < whole and cap < whole:
            sentence = (
                f"{who} waits because of the pressure here: queue '{queue}' runs {running} tasks, and at most {cap} "
                f"instead of its {whole} at a time until it is over."
            )
            return Reason(
                ReasonCode.PRESSURE,
                sentence,
                {"queue": queue, "running": running, "most": cap, "max_concurrent": whole},
            )
        sentence = f"{who} waits because queue '{queue}' runs {running} tasks, at most {whole} at a time."
        numbers: dict[str, int | str] = {"queue": queue, "running": running, "max_concurrent": whole}
        return Reason(ReasonCode.QUEUE_CAP, sentence, numbers)


class Verdicts(Mapping[LineKey, Reason]):
    """Why each line that still waits does so, as of the end of the pass. A sentence is made when it is looked up."""

    def __init__(self, snapshot: Snapshot, room: Room, gates: Gates, at: list[int]) -> None:
        self._room = room
        self._gates = gates
        self._lines = snapshot.lines
        self._at = at
        self._index: dict[LineKey, int] | None = None

    def __getitem__(self, key: LineKey) -> Reason:
        index = self._waiting()[key]
        line, at = self._lines[index], self._at[index]
        head = line.heads[at] if at < len(line.heads) else None
        who = "The next task of this line" if head is None else _name(head.key)
        work = None if head is None else of_priority(head.priority)
        return _judge(self._room, self._gates, key.queue, key.shape, who, work) or _not_judged(who)

    def __iter__(self) -> Iterator[LineKey]:
        return iter(self._waiting())

    def __len__(self) -> int:
        return len(self._waiting())

    def _waiting(self) -> dict[LineKey, int]:
        if self._index is None:
            left = enumerate(zip(self._lines, self._at, strict=True))
            self._index = {line.key: index for index, (line, at) in left if at < line.waiting}
        return self._index


def _judge(
    room: Room, gates: Gates, queue: str, shape: Shape, who: str, work: Criticality | None = None
) -> Reason | None:
    """Why a task cannot start; None when it can."""
    if gates.closed(queue):
        return gates.refusal(who, queue)
    probe = room.probe(shape, work if room.holds else None)
    return probe.refusal(who) if probe.find() is None else None


def _not_judged(who: str) -> Reason:
    sentence = f"{who} has not been looked at yet; the next pass of the scheduler will."
    return Reason(ReasonCode.NOT_JUDGED, sentence)


def _name(key: TaskKey) -> str:
    return f"Job {key.job_id}" if key.number == 1 else f"Task {key}"
