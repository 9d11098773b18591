"""Judges what the scheduler did from plain facts, without any of the scheduler's code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tidegate.core.job import Shape, TaskKey, WaitingTask
from tidegate.core.plan import QueueView, Start, WorkerView
from tidegate.core.resources import Resources


def oversold(workers: Iterable[WorkerView]) -> list[str]:
    """I1: workers on which more is allocated than there is. Only for worlds whose capacity does not fall."""
    return [
        worker.id
        for worker in workers
        for name in ("cpu_milli", "memory_bytes", "disk_bytes")
        if not 0 <= getattr(worker.allocated, name) <= getattr(worker.allocatable, name)
    ]


def left_idle(
    waiting: Iterable[WaitingTask], workers: Sequence[WorkerView], queues: Mapping[str, QueueView]
) -> list[tuple[TaskKey, str]]:
    """I3: tasks that wait although their queue is open and a worker has room, with the worker."""
    return [
        (task.key, worker.id)
        for task in waiting
        if _open(queues[task.queue])
        for worker in workers
        if worker.accepting and _has_room(worker, task)
    ]


def passed_over(
    before: Iterable[WaitingTask], starts: Sequence[Start], queues: Mapping[str, QueueView]
) -> list[tuple[TaskKey, TaskKey]]:
    """I5: pairs of one shape where the second started and the first, which was to come before it, did not or later.

    A task whose queue is closed may be passed by those of other queues. `queues` are as they were after the pass.
    """
    place = {start.task: number for number, start in enumerate(starts)}
    waited = sorted(before, key=lambda task: (-int(task.priority), task.key.job_id, task.key.number))
    return [
        (first.key, second.key)
        for number, first in enumerate(waited)
        for second in waited[number + 1 :]
        if first.shape == second.shape
        and second.key in place
        and place.get(first.key, len(starts)) > place[second.key]
        and (first.queue == second.queue or _open(queues[first.queue]))
    ]


def through_closed_gates(starts: Iterable[Start], queues: Mapping[str, QueueView]) -> list[Start]:
    """Starts in a paused queue, or in one that runs more than its cap. `queues` are as they were after the pass."""
    return [start for start in starts if queues[start.queue].paused or _above_cap(queues[start.queue])]


def _above_cap(queue: QueueView) -> bool:
    return queue.max_concurrent is not None and queue.running > queue.max_concurrent


def _open(queue: QueueView) -> bool:
    return not queue.paused and (queue.max_concurrent is None or queue.running < queue.max_concurrent)


def _has_room(worker: WorkerView, task: WaitingTask) -> bool:
    if any(label not in worker.labels for label in task.shape.labels):
        return False
    return all(
        getattr(task.shape.resources, name) == 0
        or getattr(task.shape.resources, name) + getattr(worker.allocated, name)
        <= getattr(worker.allocatable, name)
        for name in ("cpu_milli", "memory_bytes", "disk_bytes")
    )


def misplaced(
    starts: Iterable[Start], shapes: Mapping[TaskKey, Shape], workers: Iterable[WorkerView]
) -> list[Start]:
    """Starts on a worker that is away, was there before under another generation, or lacks a label."""
    known = {worker.id: worker for worker in workers if worker.accepting}
    return [
        start
        for start in starts
        if start.worker_id not in known
        or known[start.worker_id].generation != start.generation
        or not shapes[start.task].labels <= known[start.worker_id].labels
        or start.resources != (shapes[start.task].resources if start.head is None else Resources())
    ]


def ill_batched(starts: Sequence[Start], waiting: Iterable[WaitingTask]) -> list[Start]:
    """Starts in the sandbox of one that does not start before them on the same worker, or is of another job, queue, owner or
    shape, or with more than their job allows."""
    tasks = {task.key: task for task in waiting}
    heads = {start.key: start for start in starts if start.head is None}
    sizes = Counter(start.head for start in starts)
    return [
        start
        for start in starts
        if start.head is not None
        and (
            start.head not in heads
            or starts.index(heads[start.head]) > starts.index(start)
            or _place(heads[start.head], tasks) != _place(start, tasks)
            or sizes[start.head] + 1 > tasks[start.task].batch
        )
    ]


def _place(start: Start, tasks: Mapping[TaskKey, WaitingTask]) -> tuple[object, ...]:
    task = tasks[start.task]
    return (start.worker_id, start.generation, start.key.job_id, task.queue, task.owner, task.shape)
