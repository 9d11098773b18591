"""The worker: one per machine. It registers, beats, claims what was planned for it, runs it in sandboxes, reports the ends.

One thread owns everything here: it waits on the sandboxes' sockets and on its own wake-up pipe, and writes what gathered in
one transaction a turn. Other threads only put commands into its box.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tidegate.core.job import (
    Assignment,
    AttemptEnd,
    AttemptKey,
    AttemptState,
    Exit,
    ExitReason,
    Source,
    SourceColumn,
    TaskState,
    Usage,
)
from tidegate.core.plan import Start
from tidegate.core.retry import decide
from tidegate.errors import Unavailable
from tidegate.ports import AttemptStore, Bell, Clock, WorkerInfo
from tidegate.runtime.publish import (
    DataFolders,
    keep_log,
    publish_file,
    remove_attempt,
    sync_folder,
)
from tidegate.runtime.sandbox import SandboxEnd, Sandboxes, SandboxGone, SandboxOrder, SandboxProgress
from tidegate.runtime.wakeup import WakeUp

log = logging.getLogger("tidegate.worker")

KEEPER_DIED = "keeper_died"
FIRST_RETRY_S = 1.0
"""After a failed claim, beat or report: retried once a second, not a beat later, so that a lease survives a short outage."""


class ProgressSink(Protocol):
    def moved(self, key: AttemptKey, share: float | None, peak_memory_bytes: int) -> None: ...

    def ended(self, key: AttemptKey) -> None: ...


@dataclass(frozen=True, slots=True)
class WorkerRules:
    """Times and limits of a worker; seconds on the monotonic clock."""

    beat_s: float
    lease_s: float
    max_losses: int
    interactive_queue: str
    report_within_s: float = 10.0
    """How long a stop goes on trying while the store refuses its reports; the rest is lost, for the next server to find."""


@dataclass(frozen=True, slots=True)
class _Launch:
    starts: Sequence[Start]


@dataclass(frozen=True, slots=True)
class _Cancel:
    keys: Sequence[AttemptKey]


@dataclass(frozen=True, slots=True)
class _Stop:
    grace_s: float


_Command = _Launch | _Cancel | _Stop


@dataclass(frozen=True, slots=True)
class _Running:
    """What runs, and the generation it was claimed under: its end is only believed from that one."""

    assignment: Assignment
    generation: int


class Worker:
    """Runs attempts on this machine.

    `describe` gives the present capacity; it is called at registration and at each beat, since capacity can change.
    """

    def __init__(
        self,
        store: AttemptStore,
        sandboxes: Sandboxes,
        folders: DataFolders,
        describe: Callable[[], WorkerInfo],
        bell: Bell,
        clock: Clock,
        progress: ProgressSink,
        runners: Mapping[str, str],
        rules: WorkerRules,
    ) -> None:
        self._store = store
        self._sandboxes = sandboxes
        self._folders = folders
        self._describe = describe
        self._bell = bell
        self._clock = clock
        self._progress = progress
        self._runners = runners
        self._rules = rules
        self._box: queue.SimpleQueue[_Command] = queue.SimpleQueue()
        self._wake_up = WakeUp()
        self._running: dict[AttemptKey, _Running] = {}
        self._unclaimed: list[Start] = []
        """Starts that were handed over and are still to be claimed."""
        self._unreported: list[AttemptEnd] = []
        self._gone: list[AttemptKey] = []
        """Attempts whose last process went after their end was taken: their allocations are to be released."""
        self._published: dict[AttemptKey, Path] = {}
        """Files that are in place but not yet named by a commit."""
        self._jitter = random.Random()  # spreads retries only
        self._cleaner = ThreadPoolExecutor(1, thread_name_prefix="tidegate-clean")
        self._thread: threading.Thread | None = None
        self._next_beat_s = 0.0
        self._next_report_s = 0.0
        self._next_claim_s = 0.0
        self._stop_at_s: float | None = None
        self.info = describe()
        self.generation = 0

    # Called from other threads

    def start(self) -> None:
        """End what an earlier server of this data directory left running, register, and begin to work."""
        self._sandboxes.sweep_leftovers()
        self._sandboxes.open()
        self._sandboxes.selector.register(self._wake_up.fileno(), 1, None)
        self._register()
        self._store.release_kept(self.info.id, self._clock.now())  # the sweep has proven that nothing is left
        self._thread = threading.Thread(target=self._run, name="tidegate-worker", daemon=True)
        self._thread.start()

    def launch(self, starts: Sequence[Start]) -> None:
        self._put(_Launch(starts))

    def cancel(self, keys: Sequence[AttemptKey]) -> None:
        self._put(_Cancel(keys))

    def stop(self, grace_s: float) -> None:
        """Take no more starts, give running attempts their grace, put back what did not finish, and end."""
        self._put(_Stop(grace_s))
        if self._thread is not None:
            self._thread.join()
        self._cleaner.shutdown(wait=True)

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def running(self) -> int:
        return len(self._running)

    def beat_now(self) -> None:
        """Beat at the next turn instead of when it is due."""
        self._next_beat_s = 0.0
        self._wake_up.set()

    def clean_now(self) -> None:
        """Return once the folders of all attempts that have ended so far are gone."""
        self._cleaner.submit(lambda: None).result()

    def _put(self, command: _Command) -> None:
        self._box.put(command)
        self._wake_up.set()

    # The worker's own thread

    def _run(self) -> None:
        while not self._finished():
            try:
                self._turn()
            except Exception:
                log.exception("A turn of the worker failed; it goes on.")
                self._next_report_s = self._clock.monotonic() + FIRST_RETRY_S
        self._leave()

    def _turn(self) -> None:
        """1. wait for something, 2. take ends, 3. take commands, 4. report, 5. beat, 6. claim and start."""
        happened = self._sandboxes.poll(self._patience_s())
        self._wake_up.clear()
        # What was heard is not told again, so all of it is noted before anything that may fail.
        self._gone += [event.key for event in happened if isinstance(event, SandboxGone)]
        self._take_ends([event for event in happened if isinstance(event, SandboxEnd)])
        for event in happened:
            if isinstance(event, SandboxProgress):
                self._progress.moved(event.key, event.progress, event.peak_memory_bytes)
        self._take_commands()
        self._report()
        self._beat_if_due()
        self._claim_if_due()

    def _patience_s(self) -> float:
        if not self._box.empty():
            return 0.0
        now = self._clock.monotonic()
        waits = [self._next_beat_s - now]
        if self._unreported or self._gone:
            waits.append(self._next_report_s - now)
        if self._unclaimed:
            waits.append(self._next_claim_s - now)
        if self._stop_at_s is not None:
            waits.append(self._stop_at_s - now)
        return max(min(waits), 0.0)

    def _take_commands(self) -> None:
        cancels: list[AttemptKey] = []
        while not self._box.empty():
            command = self._box.get()
            if isinstance(command, _Launch):
                self._unclaimed.extend(command.starts)
            elif isinstance(command, _Cancel):
                cancels.extend(command.keys)
            else:
                self._stop_at_s = self._clock.monotonic() + command.grace_s
        self._cancel_running(cancels)
        if self._stop_at_s is not None and self._clock.monotonic() >= self._stop_at_s:
            self._evict_all()

    def _claim_if_due(self) -> None:
        """Starts stay until the store has answered: nobody else hands them over again while the lease is renewed.

        After the cancels, since a start whose job is to be cancelled is not claimed.
        """
        if self._stop_at_s is not None:
            self._unclaimed = []
        now_s = self._clock.monotonic()
        if not self._unclaimed or now_s < self._next_claim_s:
            return
        self._next_claim_s = now_s + FIRST_RETRY_S  # for the case that it fails
        self._claim(self._unclaimed)
        self._unclaimed = []
        self._next_claim_s = 0.0

    def _claim(self, starts: Sequence[Start]) -> None:
        """Claim what is this generation's and run it. What is not claimed was cancelled or taken back meanwhile."""
        keys = [start.key for start in starts if start.generation == self.generation]
        claimed = self._store.claim(self.info.id, self.generation, keys, self._clock.now())
        for assignment in claimed:
            self._begin(assignment)
        if len(claimed) < len(keys):
            self._ring({key.job_id for key in keys} - {a.key.job_id for a in claimed})

    def _begin(self, assignment: Assignment) -> None:
        key = assignment.key
        self._running[key] = _Running(assignment, self.generation)
        try:
            folder = self._folders.attempt(key)
            (folder / "staging").mkdir(parents=True, mode=0o700)
            self._sandboxes.start(
                SandboxOrder(
                    key=key,
                    runner=self._runners[assignment.kind],
                    spec=assignment.spec,
                    resources=assignment.resources,
                    timeout_s=assignment.timeout_s,
                    folder=str(folder),
                    interactive=assignment.queue == self._rules.interactive_queue,
                )
            )
        except Exception as error:
            log.exception("Attempt %s could not be started.", key)
            message = f"The attempt could not be started: {type(error).__name__}: {error}."
            self._finish(key, AttemptState.FAILED, Exit(ExitReason.ERROR, message, code="not_started"))

    def _cancel_running(self, keys: Sequence[AttemptKey]) -> None:
        for key in keys:
            if key in self._running:
                self._sandboxes.cancel(key)

    def _take_ends(self, ends: Sequence[SandboxEnd]) -> None:
        published = False
        for end in ends:
            if end.key not in self._running:
                continue
            published |= self._take_end(end)
        if published:
            sync_folder(self._folders.results)

    def _take_end(self, end: SandboxEnd) -> bool:
        """Publish and note one end; whether a file was published."""
        try:
            result, source = self._publish(end) if end.succeeded else (None, None)
        except Exception as error:  # noqa: BLE001 - what a job reports may be anything; the other ends must not suffer
            refusal = Exit(ExitReason.ERROR, f"The result could not be published: {error}", code="bad_result")
            self._finish(end.key, AttemptState.FAILED, refusal, end)
            return False
        state = AttemptState.SUCCEEDED if end.succeeded else AttemptState.FAILED
        if end.exit is not None and end.exit.reason is ExitReason.LEASE_EXPIRED:
            state = AttemptState.LOST
        self._finish(end.key, state, end.exit, end, result, source)
        return result is not None

    def _publish(self, end: SandboxEnd) -> tuple[Mapping[str, object], Source | None]:
        facts = dict(end.result or {})
        file = facts.pop("file", None)
        if file is None:
            return facts, None
        path = publish_file(self._folders, end.key, str(file))
        self._published[end.key] = path
        facts["path"] = str(path)
        facts.setdefault("size_bytes", path.stat().st_size)
        assignment = self._running[end.key].assignment
        if not assignment.result_name:
            return facts, None
        facts["source"] = assignment.result_name
        return facts, _result_source(assignment, facts, self._clock.now())

    def _finish(
        self,
        key: AttemptKey,
        state: AttemptState,
        exit: Exit | None,
        end: SandboxEnd | None = None,
        result: Mapping[str, object] | None = None,
        source: Source | None = None,
    ) -> None:
        running = self._running.pop(key)
        now = self._clock.now()
        next_state, not_before = self._next(running.assignment, exit, now)
        attempt_end = AttemptEnd(
            key=key,
            worker_id=self.info.id,
            generation=running.generation,
            state=state,
            ended_at=now,
            next_state=next_state,
            not_before=not_before,
            exit=exit,
            result=result,
            source=source,
        )
        if end is not None:
            usage = replace(end.usage, enforced_by=end.enforced_by)
            attempt_end = replace(attempt_end, usage=usage, release=end.tree_gone)
        self._unreported.append(attempt_end)
        self._progress.ended(key)
        try:
            keep_log(self._folders, key)
        except OSError as error:
            log.warning("The output of attempt %s could not be kept: %s.", key, error)
        self._cleaner.submit(remove_attempt, self._folders, key)

    def _next(
        self, assignment: Assignment, exit: Exit | None, now: datetime
    ) -> tuple[TaskState, datetime | None]:
        if exit is not None and exit.reason is ExitReason.LEASE_EXPIRED:
            return TaskState.QUEUED, None  # the server stops in order: nothing speaks against the task
        reason = exit.reason if exit else None
        if exit is not None and exit.code == KEEPER_DIED:
            reason = (
                ExitReason.EVICTED
            )  # our own process went, not the task's: the machine's fault, not a failure of it
        return decide(
            reason,
            attempt=assignment.key.attempt,
            losses=assignment.losses,
            max_attempts=assignment.max_attempts,
            max_losses=self._rules.max_losses,
            now=now,
            jitter=self._jitter.uniform(-1.0, 1.0),
        )

    def _report(self) -> None:
        if not (self._unreported or self._gone) or self._clock.monotonic() < self._next_report_s:
            return
        try:
            self._record(self._unreported)
            self._unreported = []
        except Unavailable:
            raise
        except Exception:
            log.exception(
                "%d ends could not be recorded together; trying them one by one.", len(self._unreported)
            )
            self._unreported = [end for end in self._unreported if not self._record_alone(end)]
        if self._gone:
            self._store.release(self._gone, self._clock.now())
            self._gone = []
        if self._unreported:
            self._next_report_s = self._clock.monotonic() + FIRST_RETRY_S

    def _record(self, ends: Sequence[AttemptEnd]) -> None:
        recorded = self._store.report(ends) if ends else []
        named = {end.key for end in recorded if end.next_state is TaskState.SUCCEEDED}
        self._settle_published({end.key for end in ends}, named)
        self._ring({end.key.job_id for end in recorded})

    def _record_alone(self, end: AttemptEnd) -> bool:
        """Whether the end is recorded, as a plain failure if the store cannot take it as it is. The others go on."""
        for attempt_end in (end, _plain(end)):
            try:
                self._record([attempt_end])
            except Unavailable:
                return False
            except Exception:
                log.exception("The end of attempt %s could not be recorded.", end.key)
            else:
                return True
        return False

    def _settle_published(self, reported: set[AttemptKey], named: set[AttemptKey]) -> None:
        """Forget files that a commit named; remove the others, since a cancel or a newer attempt came first."""
        for key in reported & self._published.keys():
            path = self._published.pop(key)
            if key not in named:
                with contextlib.suppress(OSError):  # then the janitor removes it
                    path.unlink()

    def _ring(self, jobs: set[int]) -> None:
        self._bell.ring("schedule")
        for job_id in jobs:
            self._bell.ring(f"job:{job_id}")

    def _beat_if_due(self) -> None:
        now_s = self._clock.monotonic()
        if now_s < self._next_beat_s or self._stop_at_s is not None:
            return
        self._next_beat_s = now_s + FIRST_RETRY_S  # for the case that the beat fails
        self.info = self._offer()
        cancels = self._store.beat(self.info, self.generation, self._clock.now(), self._rules.lease_s)
        if cancels is None:
            self._lose_everything()
            return
        self._next_beat_s = now_s + self._rules.beat_s
        self._cancel_running(cancels)

    def _lose_everything(self) -> None:
        """The registration is no longer ours: come back under a new one, and end what was claimed before as lost."""
        log.warning(
            "Generation %s of worker %s was taken over; registering anew.", self.generation, self.info.id
        )
        for key in list(self._running):
            self._sandboxes.cancel(key, ExitReason.LEASE_EXPIRED, "The worker's lease ended.")
        self._register()

    def _evict_all(self) -> None:
        for key in list(self._running):
            self._sandboxes.cancel(
                key,
                ExitReason.LEASE_EXPIRED,
                "The server stopped before the attempt had ended; it will run again.",
            )

    def _offer(self) -> WorkerInfo:
        return replace(self._describe(), rungs=(self._sandboxes.rungs.in_use,))

    def _register(self) -> None:
        self.info = self._offer()
        self.generation = self._store.register(self.info, self._clock.now(), self._rules.lease_s)
        self._next_beat_s = self._clock.monotonic() + self._rules.beat_s

    def _finished(self) -> bool:
        if self._stop_at_s is None or self._running:
            return False
        return (
            not self._unreported or self._clock.monotonic() >= self._stop_at_s + self._rules.report_within_s
        )

    def _leave(self) -> None:
        if self._unreported:
            log.error(
                "The ends of %d attempts could not be recorded; they will run again.", len(self._unreported)
            )
        self._sandboxes.close(0.0)
        try:
            self._store.unregister(self.info.id, self.generation, self._clock.now())
        except Unavailable as error:
            log.warning("The worker could not be unregistered: %s", error)  # the next server takes its place
        self._wake_up.close()


def _plain(end: AttemptEnd) -> AttemptEnd:
    """The end without anything that a job had a hand in."""
    exit_ = Exit(
        ExitReason.ERROR,
        "How the attempt ended could not be recorded; the server's log says why.",
        code="bad_report",
    )
    state = AttemptState.LOST if end.state is AttemptState.LOST else AttemptState.FAILED
    return replace(
        end, state=state, next_state=TaskState.FAILED, not_before=None, exit=exit_, usage=Usage(), result=None, source=None
    )  # fmt: skip


def _result_source(assignment: Assignment, facts: Mapping[str, object], now: datetime) -> Source:
    """The data source that a task's Parquet result becomes."""
    columns = facts.get("columns")
    inputs = assignment.spec.get("inputs") or ()
    return Source(
        name=str(assignment.result_name),
        format="parquet",
        path=str(facts["path"]),
        owner=assignment.owner,
        created_at=now,
        columns=tuple(SourceColumn(c["name"], c["type"]) for c in columns)
        if isinstance(columns, list)
        else (),
        row_count=_whole(facts.get("row_count")),
        size_bytes=_whole(facts.get("size_bytes")),
        job_id=assignment.key.job_id,
        lineage=tuple(str(each["name"]) for each in inputs),
        sql=assignment.spec.get("sql"),
        managed=True,
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
