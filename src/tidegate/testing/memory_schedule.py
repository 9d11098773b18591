"""`ScheduleStore` in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tidegate.core.plan import Plan, Start
from tidegate.core.states import AttemptState, TaskState
from tidegate.ports import Changes
from tidegate.store import rules
from tidegate.testing.memory_leading import MemoryLeading
from tidegate.testing.memory_rows import MemoryAttempt, attempt_record
from tidegate.testing.memory_state import locked


class MemorySchedule(MemoryLeading):
    """`ScheduleStore` in memory."""

    @locked
    def changes(self, cursor: int) -> Changes:
        waiting, gone = [], []
        for job in self._jobs.values():
            for task in job.tasks:
                if (task.change or 0) > cursor and task.state is TaskState.QUEUED:
                    waiting.append(job.waiting(task))
                elif cursor and (task.change or 0) > cursor:
                    gone.append(task.key)
        views = (
            self._view(worker_id) for worker_id in sorted(self._workers) if self._workers[worker_id].present
        )
        queues = {name: self._queue_view(name) for name in sorted(self._queues)}
        return Changes(self._last_change, waiting, gone, tuple(views), queues)

    @locked
    def commit(self, plan: Plan, at: datetime, epoch: int, *, claim: bool = False) -> list[Start]:
        if not plan.starts:
            return []
        self._must_lead(epoch)
        started = [start for start in plan.starts if self._start(start, at)]
        return [self._claim(start) for start in started] if claim else started

    def _claim(self, start: Start) -> Start:
        attempt = self._held(start.key, start.worker_id, start.generation)
        assert attempt is not None
        attempt.record = replace(attempt.record, state=AttemptState.RUNNING)
        return start._replace(assignment=self._assignment(start.key))

    def _start(self, start: Start, at: datetime) -> bool:
        task, queue, worker = (
            self._task(start.task),
            self._queues.get(start.queue),
            self._workers.get(start.worker_id),
        )
        if task is None or queue is None or worker is None:
            return False
        job, view = self._jobs[start.key.job_id], self._queue_view(start.queue)
        if job.order.queue != start.queue or not worker.present or worker.draining or view.paused:
            return False
        if task.state is not TaskState.QUEUED or len(task.attempts) != start.key.attempt - 1:
            return False
        if start.head is None and view.max_concurrent is not None and view.running >= view.max_concurrent:
            return False
        if not self._ledger.allocate(
            start.key, start.worker_id, start.generation, start.queue, start.resources, start.head
        ):
            return False
        task.state, task.change = TaskState.RUNNING, None
        shared = self._ledger.live()[start.head or start.key].resources
        task.attempts.append(MemoryAttempt(attempt_record(start, at, shared), start.generation))
        job.started_at = job.started_at or at
        message, _ = rules.started_event(start.key.attempt, start.worker_id, start.resources, start.head)
        data = {"attempt": start.key.attempt, "worker": start.worker_id}
        self._tell(job.id, task.key.number, at, "started", message, data)
        return True

    @locked
    def wake_scheduled(self, now: datetime, epoch: int) -> datetime | None:
        self._must_lead(epoch)
        scheduled = [t for job in self._jobs.values() for t in job.tasks if t.state is TaskState.SCHEDULED]
        due = [task for task in scheduled if task.not_before and task.not_before <= now]
        change = self._next_change() if due else 0
        for task in due:
            task.state, task.queued_at, task.not_before, task.change = TaskState.QUEUED, now, None, change
        return min((task.not_before for task in scheduled if task.not_before), default=None)
