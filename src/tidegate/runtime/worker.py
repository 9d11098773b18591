"""The worker: one per machine. It registers, beats, claims what was planned for it, runs it in sandboxes, reports the ends.

One thread owns everything here: it waits on the sandboxes' sockets and on its own wake-up pipe, tells `WorkerState` what
happened, and does what that says. Other threads only put events into its box.
"""

from __future__ import annotations

import logging
import os
import queue
import random
import resource
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from tidegate.core.criticality import of_priority
from tidegate.core.job import Assignment, AttemptEnd, AttemptKey, AttemptState, Exit, ExitReason, TaskState
from tidegate.core.plan import Start
from tidegate.core.victim import Candidate
from tidegate.errors import Unavailable
from tidegate.ports import AttemptStore, Bell, Clock, ExecutorStats, WorkerInfo
from tidegate.runtime.attempt_folders import WorkFolders
from tidegate.runtime.evictor import Eviction
from tidegate.runtime.publish import DataFolders
from tidegate.runtime.sandbox import (
    SandboxEnd,
    Sandboxes,
    SandboxEvent,
    SandboxGone,
    SandboxOrder,
    SandboxProgress,
)
from tidegate.runtime.task_file import INPUT_FOLDER
from tidegate.runtime.wakeup import WakeUp
from tidegate.runtime.worker_ends import CANCELLED_UNSTARTED, Ends, Outcome, Results, plain
from tidegate.runtime.worker_events import (
    Beat,
    BeatAsked,
    Beaten,
    BeatFailed,
    Begin,
    CancelAsked,
    Claim,
    ClaimAnswered,
    ClaimFailed,
    DropCancelled,
    DropUnbegun,
    Ended,
    Event,
    EvictAsked,
    Gone,
    HurryAsked,
    Instruction,
    Kill,
    Launched,
    Refuse,
    Register,
    Registered,
    RegisterFailed,
    Report,
    Reported,
    ReportFailed,
    StopAsked,
    Ticked,
)  # fmt: skip
from tidegate.runtime.worker_state import WorkerRules, WorkerState

log = logging.getLogger("tidegate.worker")

POOL = "tidegate.runtime.sandbox:Sandboxes"
"""What runs the attempts, named as Celery names its pools."""
_RUSAGE = (
    "utime", "stime", "maxrss", "ixrss", "idrss", "isrss", "minflt", "majflt", "nswap", "inblock", "oublock", "msgsnd",
    "msgrcv", "nsignals", "nvcsw", "nivcsw",
)  # fmt: skip


@dataclass(slots=True)
class _Live:
    """Of an attempt that runs: since when, and its highest memory so far."""

    began_at: datetime
    peak_bytes: int = 0


class AttemptWatcher(Protocol):
    """Hears, on the worker's thread and so quickly, of the attempts that were handed to it."""

    def moved(self, key: AttemptKey, share: float | None, peak_memory_bytes: int) -> None: ...

    def ended(self, key: AttemptKey) -> None:
        """Its processes have ended; the report follows."""
        ...

    def refused(self, keys: Sequence[AttemptKey]) -> None:
        """These were not claimed: cancelled, taken back, or of an older registration."""
        ...


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
        watcher: AttemptWatcher,
        runners: Mapping[str, str],
        rules: WorkerRules,
        target_url: Callable[[str], str | None] = lambda name: None,
        expanding: Collection[str] = (),
        scratch: Path | None = None,
    ) -> None:
        """`runners` by kind; the kinds in `expanding` may add tasks to their jobs. Attempts work in `scratch`, which is this
        worker's alone, or else below the data directory.

        `target_url` gives the URL of a target of the settings: such a secret is in no database and in no other spec.
        """
        self._target_url = target_url
        self._store = store
        self._sandboxes = sandboxes
        self._folders = folders
        self._private = WorkFolders(folders.attempts, scratch)
        self._results = Results(folders, expanding)
        self._expanding = frozenset(expanding)
        self._describe = describe
        self._bell = bell
        self._clock = clock
        self._watcher = watcher
        self._runners = runners
        self._rules = rules
        self._state = WorkerState(rules)
        self._box: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._wake_up = WakeUp()
        self._made_room: Callable[[], None] = lambda: bell.ring("schedule")
        self._jitter = random.Random()  # spreads beats only
        self._cleaner = ThreadPoolExecutor(1, thread_name_prefix="tidegate-clean")
        self._thread: threading.Thread | None = None
        self._pool_restart = threading.Event()
        self._live: dict[AttemptKey, _Live] = {}
        self._begun: Counter[str] = Counter()
        self._ended_attempts: Counter[bool] = Counter()
        self._since = clock.now()
        self.info = describe()
        self._ends = Ends(self.info.id, rules.max_losses, lambda: self.info.allocatable.memory_bytes)

    # Called from other threads

    def start(self) -> None:
        """End what an earlier server of this data directory left running, register, and begin to work."""
        self._sandboxes.sweep_leftovers()
        self._private.clear_scratch()
        self._sandboxes.open()
        self._sandboxes.selector.register(self._wake_up.fileno(), 1, None)
        self._tell(self._register())
        self._store.release_kept(self.info.id, self._clock.now())  # the sweep has proven that nothing is left
        self._thread = threading.Thread(target=self._run, name="tidegate-worker", daemon=True)
        self._thread.start()

    def launch(self, starts: Sequence[Start]) -> None:
        self._put(Launched(starts))

    def cancel(self, keys: Sequence[AttemptKey]) -> None:
        self._put(CancelAsked(keys))

    def evict(self, eviction: Eviction) -> None:
        """End a running attempt for the machine's sake."""
        self._put(EvictAsked(eviction))

    def candidates(self) -> list[Candidate]:
        """What runs and holds memory, as the choice of a victim sees it. Safe to call from any thread."""
        return [
            Candidate(
                key,
                of_priority(running.assignment.priority),
                running.assignment.losses < self._rules.max_losses,
                live.peak_bytes,
                running.assignment.resources.memory_bytes,
                live.began_at,
            )
            for key, running in list(self._state.running.items())
            if (live := self._live.get(key)) is not None and running.assignment.resources.memory_bytes
        ]

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call this, on the worker's own thread, when ends were recorded, instead of ringing `schedule`."""
        self._made_room = callback

    def stop(self, grace_s: float) -> None:
        """Take no more starts, give running attempts their grace, put back what did not finish, and end."""
        self._put(StopAsked(grace_s))
        if self._thread is not None:
            self._thread.join()
        self._cleaner.shutdown(wait=True)

    def hurry(self) -> None:
        """End the grace of a stop that is under way; without one, nothing changes."""
        self._put(HurryAsked())

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def running(self) -> int:
        return len(self._state.running)

    @property
    def generation(self) -> int:
        return self._state.generation

    def beat_now(self) -> None:
        """Beat at the next turn instead of when it is due."""
        self._put(BeatAsked())

    def restart_pool(self) -> None:
        """Once nothing runs here: a fresh zygote, fresh keepers, and a new registration."""
        self._pool_restart.set()
        self._wake_up.set()

    def reset_stats(self) -> None:
        """Count what is begun from 0 again."""
        self._begun, self._since = Counter(), self._clock.now()
        self.beat_now()

    def stats(self) -> dict[str, Any]:
        """How this process does; see `WorkerInfo.stats`."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "pid": os.getpid(),
            "pool": POOL,
            "processes": self._sandboxes.processes(),
            "kinds": sorted(self._runners),
            "begun": dict(self._begun),
            "since": self._since.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "rusage": {name: getattr(used, f"ru_{name}") for name in _RUSAGE},
        }

    def executor_stats(self) -> ExecutorStats:
        """Of the sandboxes: attempts that run, and that ended. As many run as there is room for."""
        ended = self._ended_attempts
        return ExecutorStats(None, len(self._sandboxes.running), 0, ended[True], ended[False])

    def clean_now(self) -> None:
        """Return once the folders of all attempts that have ended so far are gone."""
        self._cleaner.submit(lambda: None).result()

    def _put(self, event: Event) -> None:
        self._box.put(event)
        if threading.current_thread() is not self._thread:  # which looks into its box before it waits
            self._wake_up.set()

    # The worker's own thread

    def _run(self) -> None:
        while not self._state.over(self._clock.monotonic()):
            try:
                self._turn()
            except Exception:
                log.exception("A turn of the worker failed; it goes on.")
        self._leave()

    def _turn(self) -> None:
        """Wait for something, take all that has happened, and do what is due."""
        happened = self._sandboxes.poll(self._patience_s())
        self._wake_up.clear()
        for event in happened:
            self._heard(event)
        self._results.sync()
        while not self._box.empty():
            self._tell(self._box.get())
        self._tell(Ticked())
        if self._pool_restart.is_set():
            self._restart_if_idle()

    def _restart_if_idle(self) -> None:
        """What still has to be reported belongs to the present registration, so it comes first."""
        if self._state.running or self._state.unreported or self._state.stopping:
            return
        self._pool_restart.clear()
        self._sandboxes.restart()
        self._tell(self._register_again())
        self._bell.ring("schedule")
        log.info("The processes of worker %r were started anew.", self.info.id)

    def _patience_s(self) -> float | None:
        if not self._box.empty():
            return 0.0
        due_s = self._state.due_s()
        return None if due_s == float("inf") else max(due_s - self._clock.monotonic(), 0.0)

    def _heard(self, event: SandboxEvent) -> None:
        match event:
            case SandboxProgress():
                if event.key in self._live:
                    self._live[event.key].peak_bytes = event.peak_memory_bytes
                self._watcher.moved(event.key, event.progress, event.peak_memory_bytes)
            case SandboxGone():
                self._tell(Gone(event.key))
            case SandboxEnd() if event.key in self._state.running:
                self._ended_attempts[event.succeeded] += 1
                assignment = self._state.running[event.key].assignment
                outcome = self._results.outcome(event, assignment, self._clock.now())
                self._tell(self._ended(event.key, outcome, event))

    def _tell(self, event: Event) -> None:
        """Let the state decide, and do what it says, until it says no more."""
        todo = deque(self._state.handle(event, self._clock.monotonic()))
        while todo:
            instruction = todo.popleft()
            try:
                answer = self._do(instruction)
            except Exception:
                log.exception("The worker could not do %s; it goes on.", type(instruction).__name__)
                continue
            if answer is not None:
                todo.extend(self._state.handle(answer, self._clock.monotonic()))

    def _do(self, instruction: Instruction) -> Event | None:
        match instruction:
            case Begin():
                return self._begin(instruction.assignment)
            case Kill():
                self._sandboxes.cancel(
                    instruction.key,
                    instruction.reason,
                    instruction.message,
                    limit=instruction.limit,
                    observed=instruction.observed,
                )
            case Report():
                return self._report(instruction.ends, instruction.gone)
            case Beat():
                return self._beat(instruction.generation, instruction.running)
            case Claim():
                return self._claim(instruction.generation, instruction.starts)
            case Register():
                return self._register_again()
            case DropCancelled():
                outcome = Outcome(AttemptState.FAILED, CANCELLED_UNSTARTED)
                return self._ended(instruction.assignment.key, outcome)
            case DropUnbegun():
                now = self._clock.now()
                end = self._ends.of_unbegun(
                    instruction.key, self.generation, now, put_back=instruction.put_back
                )
                return Ended(end)
            case Refuse():
                self._watcher.refused(instruction.keys)
                self._ring({key.job_id for key in instruction.keys})
        return None

    def _begin(self, assignment: Assignment) -> Event | None:
        key = assignment.key
        try:
            self._live[key] = _Live(self._clock.now())
            self._sandboxes.start(self._order(assignment))
            self._begun[assignment.kind] += 1
        except Exception as error:
            log.exception("Attempt %s could not be started.", key)
            message = f"The attempt could not be started: {type(error).__name__}: {error}."
            exit_ = Exit(ExitReason.ERROR, message, code="not_started")
            return self._ended(key, Outcome(AttemptState.FAILED, exit_))
        return None

    def _order(self, assignment: Assignment) -> SandboxOrder:
        folder, hand_over = self._private.take(assignment.key)
        return SandboxOrder(
            key=assignment.key,
            runner=self._runners[assignment.kind],
            spec=self._with_target(self._with_input(assignment)),
            expands=assignment.kind in self._expanding,
            resources=assignment.resources,
            timeout_s=assignment.timeout_s,
            folder=folder,
            hand_over=hand_over,
            interactive=assignment.queue == self._rules.interactive_queue,
            log_path=str(self._folders.log(assignment.key)),
        )

    def _with_target(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """The spec with the URL of the target that it names, if it names one. No user can write that field."""
        target = spec.get("target")
        if not isinstance(target, Mapping) or "name" not in target:
            return spec
        return {**spec, "target": {**target, "url": self._target_url(str(target["name"]))}}

    def _with_input(self, assignment: Assignment) -> Mapping[str, Any]:
        """With the folder that the task which added this one has left behind, to be read."""
        folder = self._results.input_folder(assignment)
        if folder is None or assignment.kind not in self._expanding:
            return assignment.spec
        readable = [*assignment.spec.get("readable_paths", ()), folder]
        return {**assignment.spec, INPUT_FOLDER: folder, "readable_paths": readable}

    def _ended(self, key: AttemptKey, outcome: Outcome, end: SandboxEnd | None = None) -> Event:
        running = self._state.running[key]
        self._live.pop(key, None)
        stopping = self._state.stopping
        made = self._ends.of_running(running, outcome, end, self._clock.now(), stopping=stopping)
        self._watcher.ended(key)
        if not (made.release and self._private.keep(key)):
            self._cleaner.submit(self._private.remove, key)
        return Ended(made)

    def _report(self, ends: Sequence[AttemptEnd], gone: Collection[AttemptKey]) -> Event:
        try:
            done = self._record_all(ends)
            if gone:
                self._store.release(list(gone), self._clock.now())
        except Exception as error:  # noqa: BLE001 - whatever the store raises, it is tried again
            log.warning("%d ends could not be reported: %s", len(ends), error)
            return ReportFailed()
        return Reported(done, gone)

    def _record_all(self, ends: Sequence[AttemptEnd]) -> Collection[AttemptKey]:
        """Of which attempts the end needs no more reports."""
        try:
            self._record(ends)
        except Unavailable:
            self._results.doubt({end.key for end in ends})
            raise
        except Exception:
            log.exception("%d ends could not be recorded together; trying them one by one.", len(ends))
            return {end.key for end in ends if self._record_alone(end)}
        return {end.key for end in ends}

    def _record(self, ends: Sequence[AttemptEnd]) -> None:
        recorded = self._store.report(ends) if ends else []
        named = {end.key for end in recorded if end.next_state is TaskState.SUCCEEDED}
        self._results.settle({end.key for end in ends}, named)
        self._ring({end.key.job_id for end in recorded})

    def _record_alone(self, end: AttemptEnd) -> bool:
        """Whether the end is recorded, as a plain failure if the store cannot take it as it is. The others go on."""
        for attempt_end in (end, plain(end)):
            try:
                self._record([attempt_end])
            except Unavailable:
                self._results.doubt({end.key})
                return False
            except Exception:
                log.exception("The end of attempt %s could not be recorded.", end.key)
            else:
                return True
        return False

    def _beat(self, generation: int, running: Collection[AttemptKey]) -> Event:
        asked_s = self._clock.monotonic()
        try:
            self.info = self._offer()
            now = self._clock.now()
            answer = self._store.beat(self.info, generation, now, self._rules.lease_s, running)
        except Exception as error:  # noqa: BLE001 - whatever the store raises, it is tried again
            log.warning("A beat of worker %r failed: %s", self.info.id, error)
            return BeatFailed()
        if answer is None:
            log.warning(
                "Generation %s of worker %r is over; what it runs is ended.", generation, self.info.id
            )
        return Beaten(answer, asked_s, self._jitter.uniform(-1.0, 1.0))

    def _claim(self, generation: int, starts: Sequence[Start]) -> Event:
        asked_s = self._clock.monotonic()
        keys = [start.key for start in starts if start.generation == generation]
        try:
            claimed = self._store.claim(self.info.id, generation, keys, self._clock.now())
        except Exception as error:  # noqa: BLE001 - whatever the store raises, it is tried again
            log.warning("%d starts could not be claimed: %s", len(keys), error)
            return ClaimFailed()
        return ClaimAnswered(starts, claimed, asked_s)

    def _register(self) -> Registered:
        asked_s = self._clock.monotonic()
        self.info = self._offer()
        generation = self._store.register(self.info, self._clock.now(), self._rules.lease_s)
        return Registered(generation, asked_s)

    def _register_again(self) -> Event:
        try:
            return self._register()
        except Exception as error:  # noqa: BLE001 - whatever the store raises, it is tried again
            log.warning("Worker %r could not register: %s", self.info.id, error)
            return RegisterFailed()

    def _offer(self) -> WorkerInfo:
        return replace(self._describe(), rungs=(self._sandboxes.rungs.in_use,), stats=self.stats())

    def _ring(self, jobs: set[int]) -> None:
        for job_id in jobs:
            self._bell.ring(f"job:{job_id}")
        self._made_room()

    def _leave(self) -> None:
        if unreported := len(self._state.unreported):
            log.error("The ends of %d attempts could not be recorded; they will run again.", unreported)
        self._sandboxes.close(0.0)
        try:
            self._store.unregister(self.info.id, self.generation, self._clock.now())
        except Unavailable as error:
            log.warning("The worker could not be unregistered: %s", error)  # the next server takes its place
        self._wake_up.close()


__all__ = ["AttemptWatcher", "Worker", "WorkerRules"]
