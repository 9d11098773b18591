"""What the API speaks to: the verbs of Tidegate, each a few lines over the store, intake, cycle and launcher."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from tidegate.core.identity import Caller
from tidegate.core.job import AttemptKey, ExitReason, JobStatus, Source, SourceColumn, TaskKey, TaskState
from tidegate.core.names import CONVERTED_ENDINGS, files_folder, managed_file
from tidegate.errors import Conflict, InvalidInput, NotFound, TidegateError, Unavailable
from tidegate.ports import (
    Bell,
    Cancelled,
    Clock,
    Event,
    ExecutorStats,
    Host,
    JobRecord,
    Launcher,
    LedgerCache,
    PoolStats,
    QueueRecord,
    Rooms,
    Store,
    TaskRecord,
    WorkerControl,
    Workload,
)
from tidegate.server.cycle import Cycle, Waiting
from tidegate.server.doorkeeper import Doorkeeper
from tidegate.server.intake import Intake, Submitted
from tidegate.server.judge import Submission
from tidegate.server.monitor import Monitor
from tidegate.server.output import OutputFollower, Printed
from tidegate.server.progress import ProgressBoard
from tidegate.server.services.ledger import rooms_now
from tidegate.server.threads import CountedThreads
from tidegate.server.waiting import waiting_for_its_time
from tidegate.server.workers import Workers
from tidegate.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

PROGRESS_EVENT = "progress"
EVENTS_AT_ONCE = 1000
LOOK_S = 60.0
"""Longest time that looking at the files of a new source may take."""
CONVERT_S = 3600.0
"""Likewise where they become Parquet."""
LOOK_AGAIN_S = 5.0
"""A ring may be lost; whoever waits looks by himself after this."""


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
        look_again_s: float = LOOK_AGAIN_S,
    ) -> None:
        self.settings = settings
        self.data_dir = settings.data_dir.expanduser().resolve()
        self.store = store
        self.clock = clock
        self.workloads = workloads
        self.workers = Workers(store, bell, clock, control)
        self.monitor = Monitor(store, self.workers, cycle, clock, control, host)
        self._ledger = ledger
        self._look_again_s = look_again_s
        self._intake = intake
        self._cycle = cycle
        self._launcher = launcher
        self._bell = bell
        self._board = board
        self._logs = logs
        self._checks = checks
        self._executors = executors
        self.pools = pools
        self._readers = CountedThreads(4, name="tidegate-read")
        self.doorkeeper = Doorkeeper(store, clock, settings, self._readers)

    def close(self) -> None:
        self.doorkeeper.close()
        self._readers.shutdown(wait=True, cancel_futures=True)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A blocking call, such as one of the store's, in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, functools.partial(function, *args, **kwargs))

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
            job = await self.wait(submitted.job_id, limit_s)
        except asyncio.CancelledError:
            # The client went away: nobody reads the answer, so the work shall not go on.
            await asyncio.shield(self.cancel(submitted.job_id))
            raise
        if not job.status.final:
            await self.cancel(job.id)
            job = await self.wait(job.id, LOOK_AGAIN_S)
        return job

    def _own_folder(self, caller: Caller) -> str:
        """Files of others must not become somebody's source by their path: users register from their own folder only."""
        if caller.sees_all:
            return ""
        return str(self.data_dir / files_folder(caller.owner))

    def _own_path(self, caller: Caller, path: str) -> str:
        """Relative paths of those start in that folder, unless they name it themselves."""
        folder = files_folder(caller.owner)
        if caller.sees_all or path.startswith(("/", f"{folder}/")):
            return path
        return f"{folder}/{path}"

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

    async def wait(self, job_id: int, timeout_s: float) -> JobRecord:
        """The job once it is final, or as it is when the time is over. Raises NotFound."""
        deadline = self.clock.monotonic() + timeout_s
        changed, end = self._listen(job_id)
        try:
            while True:
                changed.clear()
                job = await self.run(self.store.job, job_id)
                left_s = deadline - self.clock.monotonic()
                if job.status.final or left_s <= 0:
                    return job
                await _set_within(changed, min(left_s, self._look_again_s))
        finally:
            end()

    async def follow(self, job_id: int, after: int = 0) -> AsyncIterator[Event]:
        """The job's events after the given id, then each new one as it comes; ends after the final one.

        Progress comes as events of type `progress` with the id 0: live only, not kept.
        """
        changed, end = self._listen(job_id)
        share: float | None = None
        try:
            while True:
                changed.clear()
                async for event in self._events(job_id, after):
                    after = event.id
                    yield event
                job = await self.run(self.store.job, job_id)
                if job.status.final:
                    async for event in self._events(job_id, after):
                        yield event
                    return
                if (now_at := self.progress(job)) is not None and now_at != share:
                    share = now_at
                    yield self._progress_event(job_id, share)
                await _set_within(changed, self._look_again_s)
        finally:
            end()

    async def _events(self, job_id: int, after: int) -> AsyncIterator[Event]:
        """All events behind the given id that are there by now, however many."""
        while found := await self.run(self.store.events, job_id, after=after, limit=EVENTS_AT_ONCE):
            for event in found:
                yield event
            if len(found) < EVENTS_AT_ONCE:
                return
            after = found[-1].id

    async def output(
        self, job_id: int, task: int, attempt: int | None = None, offset: int = 0, *, only: bool = False
    ) -> AsyncGenerator[Printed, None]:
        """What a task prints, live; see `OutputFollower.follow`."""
        changed, end = self._listen(job_id)
        follower = OutputFollower(self.store, self.run, self._log_path, changed)
        try:
            async with contextlib.aclosing(
                follower.follow(job_id, task, attempt, offset, only=only)
            ) as parts:
                async for part in parts:
                    yield part
        finally:
            end()

    def waiting(self, job: JobRecord) -> Waiting | None:
        """Why the job waits, its position, and when it may start; None when it does not wait."""
        if job.status not in (JobStatus.ACCEPTED, JobStatus.QUEUED):
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

    async def register_source(
        self,
        caller: Caller,
        name: str,
        path: str,
        *,
        format: str | None = None,
        options: Mapping[str, Any] | None = None,
        sheet: str | int | None = None,
        managed: bool = False,
        shared: bool = False,
    ) -> Source:
        """Look at a file, glob or folder in the sandbox and register it. Raises Conflict, InvalidInput."""
        await self.refuse_taken_name(caller, name)
        source = await self.look_at_source(
            caller, name, path, format=format, options=options, sheet=sheet, managed=managed, shared=shared
        )
        await self.run(self.store.add_source, source, caller)
        return source

    async def refuse_taken_name(self, caller: Caller, name: str) -> None:
        """Raise Conflict when the caller has a source of this name."""
        if existing := await self.own_source(caller.owner, name):
            raise Conflict(
                f"There is a source named {existing.name!r} already. Delete it or choose another name.",
                code="source_exists",
            )

    async def look_at_source(
        self,
        caller: Caller,
        name: str,
        path: str,
        *,
        format: str | None = None,
        options: Mapping[str, Any] | None = None,
        sheet: str | int | None = None,
        managed: bool = False,
        shared: bool = False,
    ) -> Source:
        """What a file, glob or folder would be as a source, as a job in the sandbox finds it. Raises InvalidInput.

        Of an Excel or Arrow file the job makes Parquet: that is then the source, managed, and its lineage names the file.
        """
        path = self._own_path(caller, path)
        fields: dict[str, Any] = {"kind": "inspect", "path": path, "name": f"look at {name}"}
        if format is not None:
            fields["format"] = format
        if options:
            fields["options"] = options
        if sheet is not None:
            fields["sheet"] = sheet
        converts = format in ("excel", "xlsx", "arrow", "feather") or path.lower().endswith(CONVERTED_ENDINGS)
        looked = await self.interactive(caller, fields, timeout_s=CONVERT_S if converts else LOOK_S)
        facts = result_of(looked)
        made = facts.get("path")
        return Source(
            name=name,
            format=str(facts["format"]),
            path=path if made is None else str(made),
            owner=caller.owner,
            created_at=self.clock.now(),
            columns=tuple(SourceColumn(c["name"], c["type"]) for c in facts["columns"]),
            row_count=facts.get("row_count"),
            size_bytes=facts.get("size_bytes"),
            file_count=facts.get("file_count", 1),
            options=facts.get("options", {}),
            managed=managed or made is not None,
            lineage=() if made is None else (path,),
            job_id=None if made is None else looked.id,
            shared=shared,
            roots=() if managed or made is not None else tuple(looked.spec.get("roots", ())),
        )

    async def find_source(self, caller: Caller, name: str, owner: str | None = None) -> Source:
        """What a name means to a caller: its own source, or the shared one, or that of the owner it names.

        For operators all sources are there: a name that only one other owner has means that one. Raises NotFound, also for
        what is not for the caller to see, and Conflict when several owners have it and none was named.
        """
        if owner is not None:
            found = await self.own_source(owner, name)
            if found is not None and (found.shared or caller.sees(owner)):
                return found
            raise NotFound(
                f"Owner {owner!r:.80} has no source named {name!r:.80} for you.", code="unknown_source"
            )
        try:
            return await self.run(self.store.source, name, caller.owner)
        except NotFound:
            others = await self.run(self.store.sources, name=name, limit=10) if caller.sees_all else []
            if not others:
                raise
        if len(others) > 1:
            owners = ", ".join(source.owner for source in others)
            raise Conflict(f"Several owners have a source named {name!r}: {owners}. Say whose by `owner`.")
        return others[0]

    async def own_source(self, owner: str, name: str) -> Source | None:
        """An owner's own source of that name."""
        found = await self.run(self.store.sources_named, [name], owner)
        return next((source for source in found if source.owner == owner), None)

    async def set_queue(self, name: str, by: Caller | None = None, **changes: Any) -> QueueRecord:
        """Create or change a queue; see `QueueStore.set_queue`."""
        record = await self.run(self.store.set_queue, name, by=by, **changes)
        self._bell.ring("schedule")
        return record

    def log_of(self, key: AttemptKey) -> Path | None:
        """The output of an attempt so far; None when it has printed nothing."""
        path = self._log_path(key)
        return path if path.is_file() else None

    def _log_path(self, key: AttemptKey) -> Path:
        return self._logs / str(key.job_id) / f"{key.number}.{key.attempt}.log"

    def path_of(self, source: Source) -> str:
        """The path of a source as it is called now."""
        return self.managed_path(source.path) if source.managed else source.path

    def managed_path(self, path: str) -> str:
        """Where a file that Tidegate made lies now."""
        return managed_file(path, str(self.data_dir))

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

        self._intake.offer(submissions, lambda answers: _tell(loop, resolve, answers))
        return await future

    def _listen(self, job_id: int) -> tuple[asyncio.Event, Callable[[], None]]:
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        return changed, self._bell.subscribe(f"job:{job_id}", lambda: _tell(loop, changed.set))

    def _progress_event(self, job_id: int, share: float) -> Event:
        return Event(
            0, job_id, None, self.clock.now(), PROGRESS_EVENT, f"{share:.0%} done.", {"progress": share}
        )


def result_of(job: JobRecord) -> dict[str, Any]:
    """The result of a finished job of the service's own. Raises InvalidInput or Unavailable with its reason instead."""
    if job.status is JobStatus.SUCCEEDED and job.result is not None:
        return dict(job.result)
    if job.exit is None:
        raise Unavailable("The work did not start in time: the machine is full. Try again later.")
    if job.exit.reason is ExitReason.ERROR:
        raise InvalidInput(job.exit.message, code=job.exit.code)
    raise Unavailable(job.exit.message, code=str(job.exit.reason))


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object) -> None:
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        return  # the loop has ended with its last request: nobody listens any more


async def _set_within(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return


__all__ = ["Checks", "Service", "Submitted", "Waiting", "result_of"]
