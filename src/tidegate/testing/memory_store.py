"""`MemoryStore`: every port of the store in plain Python, for tests and simulations. It passes the suite of the others."""

from __future__ import annotations

from datetime import UTC, datetime

from tidegate.core.states import TaskState
from tidegate.errors import LedgerError
from tidegate.testing.memory_alerts import MemoryAlerts
from tidegate.testing.memory_identity import MemoryIdentity
from tidegate.testing.memory_queues import MemoryQueues
from tidegate.testing.memory_readings import MemoryReadings
from tidegate.testing.memory_recovery import MemoryRecovery
from tidegate.testing.memory_rescue import MemoryRescue
from tidegate.testing.memory_schedule import MemorySchedule
from tidegate.testing.memory_sources import MemorySources
from tidegate.testing.memory_state import locked
from tidegate.testing.memory_statistics import MemoryStatistics
from tidegate.testing.memory_usage import MemoryUsage
from tidegate.testing.memory_workers import MemoryWorkers


class MemoryStore(
    MemoryRecovery,
    MemorySchedule,
    MemoryRescue,
    MemorySources,
    MemoryQueues,
    MemoryWorkers,
    MemoryIdentity,
    MemoryAlerts,
    MemoryReadings,
    MemoryUsage,
    MemoryStatistics,
):
    """A store that forgets everything when it goes. Thread-safe by one lock; counts by looking, not by counters.

    `max_concurrent` caps the running tasks of each queue that has no cap of its own; None: no cap.
    """

    @locked
    def prune(self, before: datetime) -> int:
        holding = {key.job_id for key in self._ledger.live()}
        old = [
            j for j in self._jobs.values() if j.finished_at and j.finished_at < before and j.id not in holding
        ]
        for job in old:
            assert job.finished_at is not None
            self._remember(job)
            del self._jobs[job.id]
            self._archived.append(job.finished_at)
        forgotten = {job.id for job in old}
        self._quarantine = {k: one for k, one in self._quarantine.items() if k.job_id not in forgotten}
        self._events = [event for event in self._events if event.job_id not in forgotten]
        self._keys = {key: job_id for key, job_id in self._keys.items() if job_id not in forgotten}
        return len(old)

    def time(self) -> datetime:
        return datetime.now(UTC)

    @locked
    def prune_archive(self, before: datetime) -> int:
        count = len(self._archived)
        self._archived = [finished_at for finished_at in self._archived if finished_at >= before]
        return count - len(self._archived)

    @locked
    def check(self) -> None:
        self._ledger.check()
        live = {attempt.record.key for attempt in self._live()}
        held = self._ledger.live()
        heads = {held[key].head for key in live} - {None}
        if set(held) != live | heads | self._kept:
            raise LedgerError(
                f"Live attempts {live}, their heads {heads} and kept ones {self._kept} differ from what holds room: "
                f"{set(held)}."
            )
        for job in self._jobs.values():
            if (job.finished_at is not None) != job.status().final:
                raise LedgerError(f"Job {job.id} is {job.status()} but finished_at is {job.finished_at}.")
            for task in job.tasks:
                if (task.state is TaskState.RUNNING) != (task.live() is not None):
                    raise LedgerError(f"Task {task.key} is {task.state}, its newest attempt says otherwise.")
        if wrong := [
            key for key, job_id in self._reserved.items() if self._jobs[job_id].finished_at is not None
        ]:
            raise LedgerError(f"Names are reserved for jobs that have ended: {wrong}.")

    def close(self) -> None:
        """Nothing to close."""
