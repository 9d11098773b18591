"""`RecoveryStore` and `QuarantineStore` in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tidegate.core.identity import Action, Caller
from tidegate.core.job import NewJob, TaskKey, TaskOrder
from tidegate.core.recovery import Crash, SafeMode
from tidegate.errors import NotFound
from tidegate.ports import Accepted, Quarantined
from tidegate.store import rules
from tidegate.testing.memory_jobs import MemoryJobs
from tidegate.testing.memory_state import locked


class MemoryRecovery(MemoryJobs):
    """`RecoveryStore` and `QuarantineStore` in memory."""

    @locked
    def begin(self, place: str, at: datetime) -> datetime | None:
        earlier = self._runs.get(place)
        self._runs[place] = at
        return earlier

    @locked
    def end(self, place: str) -> None:
        self._runs.pop(place, None)

    @locked
    def add_crash(self, crash: Crash) -> None:
        self._crashes.append(crash)

    @locked
    def crashes(self, since: datetime) -> list[Crash]:
        return sorted((crash for crash in self._crashes if crash.at > since), key=lambda crash: crash.at)

    @locked
    def prune_crashes(self, before: datetime) -> int:
        kept = [crash for crash in self._crashes if crash.at >= before]
        count, self._crashes = len(self._crashes) - len(kept), kept
        return count

    @locked
    def prune_runs(self, before: datetime) -> int:
        gone = [place for place, began in self._runs.items() if began < before]
        for place in gone:
            del self._runs[place]
        return len(gone)

    @locked
    def safe_mode(self) -> SafeMode:
        return self._safe_mode

    @locked
    def set_safe_mode(self, state: SafeMode, by: Caller | None = None) -> bool:
        if state.version != self._safe_mode.version:
            return False
        self._safe_mode = replace(state, version=state.version + 1)
        self._note(by, Action.SAFE_MODE, "safe mode", mode=state.mode.value, message=state.message[:500])
        return True

    @locked
    def quarantined(self, *, before: TaskKey | None = None, limit: int = 50) -> list[Quarantined]:
        keys = sorted((key for key in self._quarantine if before is None or key < before), reverse=True)
        return [self._quarantine[key] for key in keys[:limit]]

    @locked
    def quarantined_task(self, key: TaskKey) -> Quarantined:
        if key not in self._quarantine:
            raise NotFound(f"There is no task {key} in quarantine.")
        return self._quarantine[key]

    @locked
    def release_task(self, key: TaskKey, at: datetime, by: Caller | None = None) -> int:
        held = self.quarantined_task(key)
        rules.check_still_quarantined(held)
        (answer,) = self.add_jobs([self._again(key, at)])
        if not isinstance(answer, Accepted):
            raise answer
        owner = by.owner if by else None
        self._quarantine[key] = replace(held, released_at=at, released_by=owner, released_as=answer.job_id)
        self._note(by, Action.RELEASE_TASK, f"task {key}", job_id=answer.job_id)
        return answer.job_id

    def _again(self, key: TaskKey, at: datetime) -> NewJob:
        job = self._job(key.job_id)
        task = job.tasks[key.number - 1]
        return replace(
            job.order,
            shape=replace(job.order.shape, resources=job.resources(task)),
            timeout_s=job.timeout_s(task),
            tasks=(TaskOrder(task.name, task.spec),),
            created_at=at,
            not_before=None,
            result_name=job.result_name if len(job.tasks) == 1 else None,
            result_named_by_user=False,
            idempotency_key=None,
            request_digest=None,
            by=None,
            last=None,
        )
