"""`RescueStore` in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tidegate.core.attempt import AttemptEnd, Recorded
from tidegate.core.membership import Beat
from tidegate.ports import LostAttempt
from tidegate.testing.memory_attempts import MemoryAttempts
from tidegate.testing.memory_leading import MemoryLeading
from tidegate.testing.memory_state import locked


class MemoryRescue(MemoryAttempts, MemoryLeading):
    """`RescueStore` in memory."""

    @locked
    def beats(self) -> list[Beat]:
        present = [name for name in sorted(self._workers) if self._workers[name].present]
        return [
            Beat(name, worker.generation, worker.beat_at, worker.lease_s)
            for name in present
            for worker in [self._workers[name]]
        ]

    @locked
    def declare_dead(self, beat: Beat, at: datetime, epoch: int) -> bool:
        self._must_lead(epoch)
        worker = self._workers.get(beat.worker_id)
        if worker is None or not worker.present:
            return False
        if (worker.generation, worker.beat_at) != (beat.generation, beat.beat_at):
            return False
        worker.generation, worker.present, worker.lease_until = worker.generation + 1, False, at
        self._ledger.set_worker(beat.worker_id, worker.generation, worker.info.allocatable)
        return True

    @locked
    def lost(self) -> list[LostAttempt]:
        found = []
        for attempt in self._live():
            worker, record = self._workers[attempt.record.worker_id], attempt.record
            if worker.present and worker.generation == attempt.generation:
                continue
            job = self._jobs[record.key.job_id]
            task = job.tasks[record.key.number - 1]
            lost = LostAttempt(
                record.key, record.worker_id, attempt.generation, job.order.max_attempts, task.losses
            )
            found.append(replace(lost, put_back=task.put_back, returned=worker.present, kind=job.order.kind))
        return sorted(found, key=lambda attempt: attempt.key)

    @locked
    def end_lost(self, ends: Sequence[AttemptEnd], epoch: int) -> Recorded:
        self._must_lead(epoch)
        return self._report(ends)
