"""`WorkerStore` in memory."""

from __future__ import annotations

from dataclasses import replace

from tidegate.core.identity import Action, Caller
from tidegate.core.states import AttemptState
from tidegate.errors import NotFound
from tidegate.ports import Draining, Held, LiveAttempt, WorkerRecord
from tidegate.store import rules
from tidegate.testing.memory_state import MemoryState, locked


class MemoryWorkers(MemoryState):
    """`WorkerStore` in memory."""

    @locked
    def workers(self) -> list[WorkerRecord]:
        records = (self._worker_record(worker_id) for worker_id in sorted(self._workers))
        return [record for record in records if record.present or record.running]

    @locked
    def drain(self, worker_id: str, draining: Draining, by: Caller | None = None) -> WorkerRecord:
        known = {record.id: record for record in self.workers()}
        if worker_id not in known:
            raise NotFound(
                f"There is no worker {worker_id!r}. Known workers: {', '.join(known) or 'none yet'}."
            )
        if draining is not Draining.LEAVING or not known[worker_id].draining:
            self._workers[worker_id] = replace(self._workers[worker_id], draining=draining)
        self._note(by, Action.CONTROL_WORKER, f"worker {worker_id}", order=rules.worker_order(draining))
        return self._worker_record(worker_id)

    @locked
    def live(self) -> list[LiveAttempt]:
        found = []
        for attempt in self._live():
            record = attempt.record
            job = self._jobs[record.key.job_id]
            found.append(
                LiveAttempt(
                    record.key, record.worker_id, record.state is AttemptState.RUNNING, record.started_at,
                    job.order.kind, job.tasks[record.key.number - 1].name, job.order.owner, job.order.queue,
                )
            )  # fmt: skip
        return sorted(found, key=lambda attempt: attempt.key)

    @locked
    def held(self) -> list[Held]:
        return [Held(key, held.worker_id, held.resources) for key, held in self._ledger.live().items()]

    def _worker_record(self, worker_id: str) -> WorkerRecord:
        worker = self._workers[worker_id]
        return WorkerRecord(
            id=worker_id,
            hostname=worker.info.hostname,
            generation=worker.generation,
            present=worker.present,
            draining=worker.draining,
            registered_at=worker.registered_at,
            beat_at=worker.beat_at,
            lease_until=worker.lease_until,
            capacity=worker.info.capacity,
            allocatable=worker.info.allocatable,
            allocated=self._ledger.allocated(worker_id),
            labels=worker.info.labels,
            versions=worker.info.versions,
            rungs=worker.info.rungs,
            stats=worker.info.stats,
            level=worker.info.pressure.level,
            level_since=worker.info.pressure.since,
            readings=worker.info.pressure.readings,
            running=sum(held.worker_id == worker_id for held in self._ledger.live().values()),
        )
