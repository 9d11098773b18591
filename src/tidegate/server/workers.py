"""Workers, as an operator sees them and tells them what to do. Every call blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from tidegate.core.identity import Action, AuditEntry, Caller, entry
from tidegate.core.job import AttemptKey
from tidegate.errors import Conflict, NotFound, Unavailable
from tidegate.ports import Bell, Clock, Draining, JobStore, Store, WorkerControl, WorkerRecord

Status = Literal["online", "draining", "silent", "left"]


@dataclass(frozen=True, slots=True)
class WorkerNow:
    """A worker and how it is. `silent`: its lease ended without a beat; `left`: it has ended but still holds something."""

    record: WorkerRecord
    status: Status
    attempts: tuple[AttemptKey, ...] = ()
    """What holds something there."""


class Workers:
    """The workers of this installation. Without `control` there is only the one inside the server."""

    def __init__(self, store: Store, bell: Bell, clock: Clock, control: WorkerControl | None = None) -> None:
        self._store = store
        self._jobs: JobStore = store
        self._bell = bell
        self._clock = clock
        self._control = control

    def all(self) -> list[WorkerNow]:
        """In order of id."""
        holding: dict[str, list[AttemptKey]] = {}
        for held in self._store.held():
            holding.setdefault(held.worker_id, []).append(held.key)
        return [
            WorkerNow(record, self._status(record), tuple(sorted(holding.get(record.id, ()))))
            for record in self._store.workers()
        ]

    def get(self, worker_id: str) -> WorkerNow:
        """Raises NotFound."""
        known = {worker.record.id: worker for worker in self.all()}
        if worker_id not in known:
            names = ", ".join(known) or "none yet"
            raise NotFound(f"There is no worker {worker_id!r:.80}. Known workers: {names}.")
        return known[worker_id]

    def drain(self, worker_id: str, by: Caller | None = None) -> WorkerNow:
        """Start nothing more there; what runs goes on. Raises NotFound."""
        self._store.drain(worker_id, Draining.ORDERED, by)
        self._bell.ring("schedule")
        return self.get(worker_id)

    def resume(self, worker_id: str, by: Caller | None = None) -> WorkerNow:
        """Start there again. Raises NotFound."""
        self._store.drain(worker_id, Draining.NO, by)
        self._bell.ring("schedule")
        return self.get(worker_id)

    def stop(self, worker_id: str, by: Caller | None = None) -> WorkerNow:
        """Tell a worker to end: running attempts get their grace, the rest is put back. Returns before it has.

        Raises NotFound, Conflict for the worker inside a server, Unavailable when it cannot be told.
        """
        worker = self.get(worker_id)
        if self._control is None:
            raise Conflict(
                f"Worker {worker_id!r} is inside the server and ends with it. Drain it, or stop the server."
            )
        self._store.drain(worker_id, Draining.LEAVING, by)
        self._control.stop(worker_id)
        self._bell.ring("schedule")
        return self.get(worker_id) if worker.record.present else worker

    def restart_pool(self, worker_id: str, by: Caller) -> None:
        """Start nothing more there, let what runs end, and begin anew with fresh processes and a new registration.

        Raises NotFound, Conflict without a worker that could be told, Unavailable when it cannot be told.
        """
        control = self._control_of(worker_id)
        self._store.add_audit([_told(by, worker_id, "pool_restart")])
        before = self._store.drain(worker_id, Draining.LEAVING).draining
        try:
            control.restart_pool(worker_id)
        except Unavailable:
            if before is Draining.LEAVING:
                self._store.drain(worker_id, Draining.NO)
            raise

    def reset_stats(self, worker_id: str, by: Caller) -> None:
        """Count its tasks from 0 again. Raises as `restart_pool` does."""
        control = self._control_of(worker_id)
        self._store.add_audit([_told(by, worker_id, "reset_stats")])
        control.reset_stats(worker_id)

    def _control_of(self, worker_id: str) -> WorkerControl:
        self.get(worker_id)
        if self._control is None:
            raise Conflict(f"Worker {worker_id!r} cannot be told anything by this server.")
        return self._control

    def shown_to(self, caller: Caller, workers: Iterable[WorkerNow]) -> list[WorkerNow]:
        """The same with only those attempts that are for the caller to see."""
        if caller.sees_all:
            return list(workers)
        workers = list(workers)
        owners = self._jobs.owners_of({key.job_id for worker in workers for key in worker.attempts})
        return [
            replace(
                worker, attempts=tuple(k for k in worker.attempts if caller.sees(owners.get(k.job_id, "")))
            )
            for worker in workers
        ]

    def _status(self, record: WorkerRecord) -> Status:
        if not record.present:
            return "left"
        if record.lease_until <= self._clock.now():
            return "silent"
        return "draining" if record.draining else "online"


def _told(by: Caller, worker_id: str, order: str) -> AuditEntry:
    return entry(by, Action.CONTROL_WORKER, f"worker {worker_id}", detail={"order": order})
