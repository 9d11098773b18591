"""What the API speaks to: the verbs of Tidegate, each a few lines over the store, intake, cycle and launcher."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from tidegate.core.identity import Caller
from tidegate.core.job import TaskKey
from tidegate.core.names import files_folder
from tidegate.core.states import JobStatus, TaskState
from tidegate.errors import NotFound, TidegateError
from tidegate.ports import (
    Bell,
    Cancelled,
    Clock,
    ExecutorStats,
    Host,
    JobRecord,
    Launcher,
    LedgerCache,
    PoolStats,
    QueueRecord,
    RateLimiter,
    Rooms,
    Store,
    TaskRecord,
    WorkerControl,
    Workload,
)
from tidegate.server.alerts.desk import AlertDesk
from tidegate.server.cycle import Cycle, Waiting
from tidegate.server.doorkeeper import Doorkeeper
from tidegate.server.following import LOOK_AGAIN_S, Following
from tidegate.server.intake import Intake, Submitted
from tidegate.server.judge import Submission
from tidegate.server.loops import tell
from tidegate.server.metrics import StoreFigures
from tidegate.server.monitor import Monitor
from tidegate.server.pressure import NoPressure, Pressure
from tidegate.server.progress import ProgressBoard
from tidegate.server.services.ledger import rooms_now
from tidegate.server.sojourn import Sojourns
from tidegate.server.sources import Sources
from tidegate.server.statistics import Statistics
from tidegate.server.supervisor import Supervisor
from tidegate.server.threads import CountedThreads
from tidegate.server.usage import UsageDesk
from tidegate.server.waiting import waiting_for_its_time
from tidegate.server.workers import Workers
from tidegate.settings import Settings
from tidegate.telemetry.figures import of_executors
from tidegate.telemetry.meters import Meters
from tidegate.telemetry.pages import Pages
from tidegate.telemetry.tracing import NO_TRACING, Tracing

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Checks:
    """Answers to "can this server work?": each a name and None, or what is wrong."""

    results: Mapping[str, str | None]


class Service:
    """The running server as the API sees it."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        intake: Intake,
        cycle: Cycle,
        launcher: Launcher,
        bell: Bell,
        clock: Clock,
        board: ProgressBoard,
        workloads: Mapping[str, Workload],
        logs: Path,
        checks: Callable[[], Mapping[str, str | None]] = dict,
        control: WorkerControl | None = None,
        host: Host | None = None,
        executors: Callable[[], Mapping[str, ExecutorStats]] = dict,
        pools: Callable[[], Sequence[PoolStats]] = tuple,
        ledger: LedgerCache | None = None,
        alerts: AlertDesk,
        rates: RateLimiter | None = None,
        supervisor: Supervisor | None = None,
        look_again_s: float = LOOK_AGAIN_S,
        pressure: Pressure | None = None,
        meters: Meters | None = None,
        pages: Pages | None = None,
        tracing: Tracing = NO_TRACING,
        sojourns: Sojourns | None = None,
    ) -> None:
        self.settings = settings
        self.data_dir = settings.data_dir.expanduser().resolve()
        self.store = store
        self.clock = clock
        self.workloads = workloads
        self.workers = Workers(store, bell, clock, control)
        self.usage = UsageDesk(store, clock)
        self.statistics = Statistics(store, clock)
        self.monitor = Monitor(store, self.workers, cycle, clock, control, host)
        self.alerts = alerts
        self.rates = rates
        self.pressure = pressure or Pressure(NoPressure(), store, clock)
        self.meters = meters or Meters()
        self.pages = pages or Pages(self.meters)
        self.tracing = tracing
        self._ledger = ledger
        self.supervisor = supervisor or Supervisor(store, bell, clock, "server")
        self._intake = intake
        self._cycle = cycle
        self._launcher = launcher
        self._bell = bell
        self._board = board
        self._checks = checks
        self._executors = executors
        self.pools = pools
        self.sojourns = sojourns or Sojourns()
        self._readers = CountedThreads(4, name="tidegate-read", sojourn=self.sojourns.threads)
        self.doorkeeper = Doorkeeper(store, clock, settings, self._readers)
        self.sources = Sources(store, clock, self.run, self.data_dir, self.interactive)
        self.following = Following(
            store, bell, clock, self.run, logs=logs, progress=self.progress, look_again_s=look_again_s
        )

        self.meters.tell("store", StoreFigures(store, clock))
        self.meters.tell("executors", lambda: of_executors(self.executors()))

    def close(self) -> None:
        self.pages.close()
        self.doorkeeper.close()
        self._readers.shutdown(wait=True, cancel_futures=True)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """A blocking call, such as one of the store's, in a thread."""
        loop = asyncio.get_running_loop()
        call = functools.partial(function, *args, **kwargs)
        # What the call logs belongs to the request that it is made for.
        return await loop.run_in_executor(self._readers, contextvars.copy_context().run, call)

    def executors(self) -> dict[str, ExecutorStats]:
        """What does the server's blocking work, and its jobs: by name. Does not block."""
        return {"read": self._readers.stats(), "look": self._intake.look_stats(), **self._executors()}

    async def submit(
        self, caller: Caller, fields: Mapping[str, Any], idempotency_key: str | None = None
    ) -> Submitted:
        """Judge and store one job; answers after the commit. Raises what `judge` and the store refuse with."""
        own_folder = self._own_folder(caller)
        submission = Submission(caller.owner, fields, idempotency_key, by=caller, own_folder=own_folder)
        return await self._submit_one(submission)

    async def submit_many(
        self, caller: Caller, items: Sequence[Mapping[str, Any]]
    ) -> list[Submitted | TidegateError]:
        """Judge and store many jobs; each is accepted or refused by itself."""
        own_folder = self._own_folder(caller)
        return await self._offer(
            [Submission(caller.owner, fields, by=caller, own_folder=own_folder) for fields in items]
        )

    async def interactive(
        self,
        caller: Caller,
        fields: Mapping[str, Any],
        timeout_s: float | None = None,
        *,
        reads_as: str | None = None,
    ) -> JobRecord:
        """Run the service's own small work as a job and wait for its end.

        When it has not ended after its time it is cancelled and answered as it is then. The wait for room counts.
        `reads_as` is the owner whose sources the names of a query mean; default: the caller.
        """
        limit_s = timeout_s or self.settings.query_timeout_s
        fields = {"timeout_s": limit_s, **fields}
        submission = Submission(
            caller.owner, fields, internal=True, reads_as=reads_as, own_folder=self._own_folder(caller)
        )
        submitted = await self._submit_one(submission)
        try:
            job = await self.following.wait(submitted.job_id, limit_s)
        except asyncio.CancelledError:
            # The client went away: nobody reads the answer, so the work shall not go on.
            await asyncio.shield(self.cancel(submitted.job_id))
            raise
        if not job.status.final:
            await self.cancel(job.id)
            job = await self.following.wait(job.id, LOOK_AGAIN_S)
        return job

    def _own_folder(self, caller: Caller) -> str:
        """Files of others must not become somebody's source by their path: users register from their own folder only."""
        if caller.sees_all:
            return ""
        return str(self.data_dir / files_folder(caller.owner))

    def release_task(self, key: TaskKey, by: Caller) -> int:
        """Run a task of the quarantine again, as a job of its own; its id. Raises NotFound, Conflict, InSafeMode. Blocks."""
        if (refusal := self.supervisor.refusal()) is not None:
            raise refusal
        job_id = self.store.release_task(key, self.clock.now(), by)
        self._bell.ring("schedule")
        return job_id

    async def cancel(self, job_id: int, by: Caller | None = None) -> Cancelled:
        """Cancel a job: flagged in the store, then its attempts are told. From the answer on it cannot succeed."""
        cancelled = await self.run(self.store.request_cancel, job_id, self.clock.now(), by)
        if cancelled.live_attempts:
            self._launcher.cancel(cancelled.live_attempts)
        self._bell.ring("schedule")
        self._bell.ring(f"job:{job_id}")
        return cancelled

    async def check_owner(self, caller: Caller, job_id: int) -> None:
        """Raises NotFound, as for a job that is not there, when it is not for this caller to see."""
        if caller.sees_all:
            return
        if not caller.sees(await self.run(self.store.owner_of, job_id)):
            raise NotFound(f"There is no job {job_id}.")

    def waiting(self, job: JobRecord) -> Waiting | None:
        """Why the job waits, its position, and when it may start; None when it does not wait.

        One that has begun waits while none of its tasks runs, as files of an archive may for room on the disk.
        """
        if job.status not in (JobStatus.ACCEPTED, JobStatus.QUEUED) and not _only_waits(job):
            return None
        seen = job.change <= self._cycle.cursor
        told = self._cycle.explain_job(job.id)
        if told is None and job.not_before is not None:
            return waiting_for_its_time(job.id, job.not_before)
        return told or self._cycle.explain_absent(job.id, seen=seen)

    def status(self, job: JobRecord) -> JobStatus:
        """The job's status: ACCEPTED until the scheduler has seen it, then as stored."""
        if job.status is JobStatus.QUEUED and job.change > self._cycle.cursor:
            return JobStatus.ACCEPTED
        return job.status

    def progress(self, job: JobRecord) -> float | None:
        """The share of the job that is done, 0 to 1; None when nobody knows."""
        counts = job.task_counts
        tasks = sum(counts.values())
        if job.status.final:
            return 1.0 if job.status is JobStatus.SUCCEEDED else None
        if tasks == 1:
            return self._board.share(TaskKey(job.id, 1))
        done = sum(count for state, count in counts.items() if state.final)
        return min((done + self._board.shares(job.id)) / tasks, 1.0) if tasks else None

    def task_progress(self, task: TaskRecord) -> float | None:
        """The share of a task that is done, 0 to 1; None when nobody knows."""
        return self._board.share(task.key) if task.state is TaskState.RUNNING else None

    def peak_memory_bytes(self, job: JobRecord) -> int | None:
        """The highest memory of the job so far: of its ended attempts and of what runs now."""
        running = None if job.status.final else self._board.peak_memory_bytes(job.id)
        return max((peak for peak in (job.usage.peak_memory_bytes, running) if peak), default=None)

    async def set_queue(self, name: str, by: Caller | None = None, **changes: Any) -> QueueRecord:
        """Create or change a queue; see `QueueStore.set_queue`."""
        record = await self.run(self.store.set_queue, name, by=by, **changes)
        self._bell.ring("schedule")
        return record

    def rooms(self) -> tuple[Rooms, str]:
        """What workers offer and what of it is taken, and whether `cache` or `store` says so. Blocks."""
        return rooms_now(self._ledger, self.store)

    def ready(self) -> Checks:
        """Whether the server can work: every check with None or what is wrong."""
        return Checks(self._checks())

    async def _submit_one(self, submission: Submission) -> Submitted:
        answer = (await self._offer([submission]))[0]
        if isinstance(answer, TidegateError):
            raise answer
        return answer

    async def _offer(self, submissions: Sequence[Submission]) -> list[Submitted | TidegateError]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Submitted | TidegateError]] = loop.create_future()

        def resolve(answers: list[Submitted | TidegateError]) -> None:
            if not future.done():  # the client may have gone
                future.set_result(answers)

        by = submissions[0].by if submissions else None
        span = self.tracing.begin("intake", by.traceparent) if by is not None and self.tracing.on else None
        self._intake.offer(submissions, lambda answers: tell(loop, resolve, answers))
        try:
            return await future
        finally:
            if span is not None:
                span.end(attributes={"tidegate.jobs": len(submissions)})


def _only_waits(job: JobRecord) -> bool:
    counts = job.task_counts
    return (
        job.status is JobStatus.RUNNING
        and not counts.get(TaskState.RUNNING)
        and bool(counts.get(TaskState.QUEUED))
    )


__all__ = ["Checks", "Service", "Submitted", "Waiting"]
