"""`AttemptStore` in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tidegate.core.attempt import Assignment, AttemptEnd, Claimed, JobAfter, Recorded
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.states import AttemptState, TaskState
from tidegate.ports import BeatAnswer, Draining, Quarantined, WorkerInfo
from tidegate.store import rules
from tidegate.testing.memory_kept import MemoryResults
from tidegate.testing.memory_rows import MemoryJob, MemoryWorker
from tidegate.testing.memory_state import locked


class MemoryAttempts(MemoryResults):
    """`AttemptStore` in memory."""

    @locked
    def register(self, worker: WorkerInfo, at: datetime, lease_s: float) -> int:
        known = self._workers.get(worker.id)
        generation = known.generation + 1 if known else 1
        ordered = known is not None and known.draining is Draining.ORDERED
        draining = Draining.ORDERED if ordered else Draining.NO
        self._workers[worker.id] = MemoryWorker(generation, worker, at, at, at, draining=draining)
        self._offer(worker, generation, at, lease_s)
        return generation

    def _offer(self, worker: WorkerInfo, generation: int, at: datetime, lease_s: float) -> None:
        lease_until = at + timedelta(seconds=lease_s)
        self._workers[worker.id] = replace(
            self._workers[worker.id], info=worker, beat_at=at, lease_until=lease_until
        )
        self._ledger.set_worker(worker.id, generation, worker.allocatable)

    def _hear(self, worker_id: str, at: datetime) -> None:
        worker = self._workers[worker_id]
        later = max(worker.beat_at, at)
        worker.lease_until += later - worker.beat_at
        worker.beat_at = later

    @locked
    def beat(
        self,
        worker: WorkerInfo,
        generation: int,
        at: datetime,
        lease_s: float,
        running: Collection[AttemptKey],
    ) -> BeatAnswer | None:
        if not self._current(worker.id, generation):
            return None
        self._offer(worker, generation, at, lease_s)
        if worker.pressure.minute is not None:
            self._samples[worker.pressure.minute.at, f"worker:{worker.id}"] = worker.pressure.minute
        held = {
            attempt.record.key: attempt.record.state
            for attempt in sorted(self._live(), key=lambda attempt: attempt.record.key)
            if attempt.record.worker_id == worker.id and attempt.generation == generation
        }
        return BeatAnswer(
            cancel=[key for key in held if self._to_cancel(key)],
            stale=sorted(set(running) - held.keys()),
            missing=[
                key for key, state in held.items() if state is AttemptState.RUNNING and key not in running
            ],
        )

    @locked
    def unregister(self, worker_id: str, generation: int, at: datetime) -> bool:
        if not self._current(worker_id, generation):
            return False
        self._workers[worker_id] = replace(self._workers[worker_id], present=False, lease_until=at)
        return True

    @locked
    def claim(self, worker_id: str, generation: int, keys: Sequence[AttemptKey], at: datetime) -> Claimed:
        worker = self._workers.get(worker_id)
        if keys and worker is not None and worker.generation == generation:
            self._hear(worker_id, at)
        claimed: list[Assignment] = []
        unstarted: list[AttemptEnd] = []
        for key in keys:
            attempt = self._held(key, worker_id, generation)
            if attempt is None or attempt.record.state is not AttemptState.STARTING:
                continue
            if not self._ledger.sharing(self._ledger.live()[key].head or key) <= set(keys):
                continue
            if self._to_cancel(key):
                end = AttemptEnd(
                    key,
                    worker_id,
                    generation,
                    AttemptState.FAILED,
                    at,
                    TaskState.CANCELLED,
                    exit=rules.CANCELLED_STARTING,
                )
                unstarted.append(end)
                continue
            attempt.record = replace(attempt.record, state=AttemptState.RUNNING)
            claimed.append(self._assignment(key))
        return Claimed(claimed, self.report(unstarted))

    @locked
    def report(self, ends: Sequence[AttemptEnd]) -> Recorded:
        recorded = self._report(ends)
        heard = [end for end in recorded if end.release]
        for end in heard:
            self._hear(end.worker_id, max(one.ended_at for one in heard))
        return recorded

    def _report(self, ends: Sequence[AttemptEnd]) -> Recorded:
        for end in self._believed(ends):
            attempt = self._held(
                end.key, end.worker_id, end.generation, also_lost=end.state is AttemptState.LOST
            )
            assert attempt is not None
            rules.check_end(end, attempt.record.state)
        believed = self._believed(ends)
        known = {end.key.job_id: self._jobs[end.key.job_id].known() for end in believed}
        recorded = [self._record(end) for end in believed]
        for end in recorded:
            self._keep(self._jobs[end.key.job_id].order.owner, end)
        for job_id in dict.fromkeys(end.key.job_id for end in recorded):
            self._finish(
                self._jobs[job_id], max(end.ended_at for end in recorded if end.key.job_id == job_id)
            )
        return Recorded(recorded, {job_id: self._after(job_id, known[job_id]) for job_id in known})

    def _after(self, job_id: int, known_before: int) -> JobAfter:
        job = self._jobs[job_id]
        return JobAfter(job.order.kind, job.order.queue, job.status(), job.known() - known_before)

    def _believed(self, ends: Sequence[AttemptEnd]) -> list[AttemptEnd]:
        first: dict[AttemptKey, AttemptEnd] = {}
        for end in ends:
            if self._believes(end):
                first.setdefault(end.key, end)
        return list(first.values())

    def _believes(self, end: AttemptEnd) -> bool:
        lost = end.state is AttemptState.LOST
        return self._held(end.key, end.worker_id, end.generation, also_lost=lost) is not None

    def _record(self, end: AttemptEnd) -> AttemptEnd:
        job = self._jobs[end.key.job_id]
        if job.cancel_requested_at is not None:
            end = rules.cancelled_end(end)
        end = rules.grown_end(end, len(job.tasks), job.result_name, has_last=job.order.last is not None)
        if end.source is not None:
            key = end.source.key
            if key in self._sources or self._reserved.get(key, job.id) != job.id:
                end = rules.name_taken_end(end)
        if end.growths:
            end = self._grow(end)
        change = self._next_change() if end.next_state is TaskState.QUEUED else 0
        if end.new_tasks:
            digests = {order.digest for order in end.new_tasks if order.result is None}
            results = self._use_kept(job.order.owner, digests, end.ended_at)
            known = job.add_tasks(end.new_tasks, end.ended_at, self._next_change(), results)
            told = rules.grown_event(len(end.new_tasks), len(job.tasks), known)
            job.untold.append((end.key.number, end.ended_at, *told))
        job.apply(job.tasks[end.key.number - 1], end, change)
        if end.quarantined:
            task, order = end.key.task, job.order
            name = job.tasks[task.number - 1].name
            self._quarantine[task] = Quarantined(task, end.ended_at, order.kind, name, order.owner)
        end = self._give_back(end)
        if end.source is not None:
            self._reserved.pop(end.source.key, None)
            self._sources[end.source.key] = end.source
        kind, message, data = rules.ended_event(end)
        ends_job = end.next_state.final and len(job.tasks) == 1 and not job.last_due()
        self._tell(job.id, None if ends_job else end.key.number, end.ended_at, kind, message, data)
        return end

    def _give_back(self, end: AttemptEnd) -> AttemptEnd:
        held = self._ledger.live()
        head = held[end.key].head or end.key
        if not self._ledger.sharing(head):
            if end.release:
                self._release([end.key], end.ended_at)
            else:
                self._kept.add(end.key)
            return end
        released = self._release([end.key], end.ended_at, keep=not end.release)
        if head in held and not self._ledger.sharing(head):
            self._kept.add(head)
        return replace(end, released=released)

    def _release(
        self, keys: Collection[AttemptKey], at: datetime, *, keep: bool = False
    ) -> tuple[AttemptKey, ...]:
        released = tuple(one for key in keys for one in self._ledger.release(key, keep=keep))
        self._released |= dict.fromkeys(released, at)
        return released

    def _grow(self, end: AttemptEnd) -> AttemptEnd:
        keys = [growth.key for growth in end.growths]
        there = {key: self._sources.get(key) for key in keys}
        end, made = rules.grow(end, there, {key: self._reserved.get(key) for key in keys})
        self._sources |= made
        return end

    def _finish(self, job: MemoryJob, at: datetime) -> None:
        for told in job.untold:
            self._tell(job.id, *told)
        job.untold.clear()
        if job.last_due():
            assert job.order.last is not None
            job.add_tasks([job.order.last], at, self._next_change())
            job.last_number = len(job.tasks)
            self._tell(job.id, job.last_number, at, *rules.last_event(len(job.tasks)))
        job.finish(at)
        if not job.status().final:
            return
        self._free(job)
        if len(job.tasks) > 1:
            self._tell(job.id, None, at, *rules.job_ended_event(job.status(), job.counts()))

    @locked
    def release(self, keys: Sequence[AttemptKey], at: datetime) -> int:
        held = self._kept.intersection(keys)
        self._kept -= held
        return len(self._release(held, at))

    @locked
    def release_kept(self, worker_id: str, at: datetime) -> int:
        kept = {key for key in self._kept if self._ledger.live()[key].worker_id == worker_id}
        self._kept -= kept
        return len(self._release(kept, at))

    @locked
    def unclaimed(self, before: datetime, worker_id: str | None = None) -> list[Start]:
        starts = (
            Start(key, held.queue, held.worker_id, held.generation, held.resources, head=held.head)
            for attempt in self._live()
            if attempt.record.state is AttemptState.STARTING and attempt.record.started_at < before
            for key, held in [(attempt.record.key, self._ledger.live()[attempt.record.key])]
            if self._current(held.worker_id, held.generation) and worker_id in (None, held.worker_id)
        )
        return sorted(starts, key=lambda start: start.key)
