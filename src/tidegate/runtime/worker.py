"""The worker: one per machine. It registers, beats, claims what was planned for it, runs it in sandboxes, reports the ends.

One thread owns everything here: it waits on the sandboxes' sockets and on its own wake-up pipe, tells `WorkerState` what
happened, and does what that says. Other threads only put events into its box.
"""

from __future__ import annotations

import logging
import os
import queue
import resource
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from tidegate.core.attempt import Assignment, Exit, whose
from tidegate.core.criticality import of_priority
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.states import AttemptState, ExitReason
from tidegate.core.victim import Candidate
from tidegate.ports import AttemptStore, Bell, Clock, ExecutorStats, WorkerInfo
from tidegate.runtime import worker_events as events
from tidegate.runtime.attempt_spans import AttemptSpans
from tidegate.runtime.evictor import Eviction
from tidegate.runtime.publish import DataFolders
from tidegate.runtime.rebirth import Crashed, Rebirth
from tidegate.runtime.sandbox import SandboxEnd, Sandboxes, SandboxEvent, SandboxGone, SandboxProgress
from tidegate.runtime.wakeup import WakeUp
from tidegate.runtime.worker_ends import CANCELLED_UNSTARTED, Ends, Outcome, Results
from tidegate.runtime.worker_orders import Orders
from tidegate.runtime.worker_state import WorkerRules, WorkerState
from tidegate.runtime.worker_store import Desk
from tidegate.telemetry.tracing import Tracing

log = logging.getLogger("tidegate.worker")

POOL = "tidegate.runtime.sandbox:Sandboxes"
"""What runs the attempts, named as Celery names its pools."""
_RUSAGE = (
    "utime", "stime", "maxrss", "ixrss", "idrss", "isrss", "minflt", "majflt", "nswap", "inblock", "oublock", "msgsnd",
    "msgrcv", "nsignals", "nvcsw", "nivcsw",
)  # fmt: skip


@dataclass(slots=True)
class _Live:
    """Of a sandbox in which an attempt runs: since when, and its highest memory so far."""

    began_at: datetime
    peak_bytes: int = 0


LONGEST_PAUSE_S = 5.0
"""The worker's thread pauses no longer than this after a turn that failed: it has to beat, and to hear of ends."""


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
        self._store = store
        self._sandboxes = sandboxes
        self._orders = Orders(folders, runners, expanding, target_url, rules.interactive_queue, scratch)
        self._results = Results(folders, expanding)
        self._describe = describe
        self._bell = bell
        self._clock = clock
        self._watcher = watcher
        self._kinds = sorted(runners)
        self._rules = rules
        self._state = WorkerState(rules)
        self._box: queue.SimpleQueue[events.Event] = queue.SimpleQueue()
        self._heard_of: deque[SandboxEvent] = deque()
        """What the sandboxes have told and was not looked at: a turn that crashes over one leaves the others to the next."""
        self._wake_up = WakeUp()
        self._made_room: Callable[[], None] = lambda: bell.ring("schedule")
        self._thread: threading.Thread | None = None
        self._pool_restart = threading.Event()
        self._pause = threading.Event()
        self._rebirth = Rebirth(sandboxes.open, clock.monotonic)
        sandboxes.when_zygote_died = self._rebirth.died
        self._live: dict[AttemptKey, _Live] = {}
        self._spans = AttemptSpans()
        self._begun: Counter[str] = Counter()
        self._ended_attempts: Counter[bool] = Counter()
        self._since = clock.now()
        self._desk = Desk(store, clock, self._results, self._offer, self._ring, rules.lease_s)
        self._ends = Ends(self.info.id, rules.max_losses, lambda: self.info.allocatable.memory_bytes)

    # Called from other threads

    def start(self) -> None:
        """End what an earlier server of this data directory left running, register, and begin to work."""
        self._sandboxes.sweep_leftovers()
        self._orders.clear_scratch()
        self._sandboxes.open()
        self._sandboxes.selector.register(self._wake_up.fileno(), 1, None)
        self._tell(self._desk.register())
        self._store.release_kept(self.info.id, self._clock.now())  # the sweep has proven that nothing is left
        self._thread = threading.Thread(target=self._run, name="tidegate-worker", daemon=True)
        self._thread.start()

    def launch(self, starts: Sequence[Start]) -> None:
        self._put(events.Launched(starts))

    def cancel(self, keys: Sequence[AttemptKey]) -> None:
        self._put(events.CancelAsked(keys))

    def evict(self, eviction: Eviction) -> None:
        """End a running attempt for the machine's sake."""
        self._put(events.EvictAsked(eviction))

    def candidates(self) -> list[Candidate]:
        """What runs and holds memory, as the choice of a victim sees it. Safe to call from any thread."""
        return [
            Candidate(
                assignment.key,
                of_priority(assignment.priority),
                assignment.losses < self._rules.max_losses.of(assignment.kind),
                live.peak_bytes,
                assignment.resources.memory_bytes,
                live.began_at,
            )
            for assignment in self._state.evictable()
            if (live := self._live.get(assignment.sandbox)) is not None and assignment.resources.memory_bytes
        ]

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call this, on the worker's own thread, when ends were recorded, instead of ringing `schedule`."""
        self._made_room = callback

    def trace_by(self, tracing: Tracing) -> None:
        """Tell the spans of attempts to this."""
        self._spans.tracing = tracing

    def when_crashed(self, callback: Crashed) -> None:
        """Call this when the zygote has crashed, or a turn of the worker itself."""
        self._rebirth.crashed = callback

    def stop(self, grace_s: float) -> None:
        """Take no more starts, give running attempts their grace, put back what did not finish, and end."""
        self._put(events.StopAsked(grace_s))
        if self._thread is not None:
            self._thread.join()
        self._orders.close()

    def hurry(self) -> None:
        """End the grace of a stop that is under way; without one, nothing changes."""
        self._put(events.HurryAsked())

    @property
    def info(self) -> WorkerInfo:
        """What was offered last."""
        return self._desk.info

    @property
    def began(self) -> bool:
        """Whether it was started."""
        return self._thread is not None

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
        self._put(events.BeatAsked())

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
            "kinds": self._kinds,
            "begun": dict(self._begun),
            "since": self._since.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "rusage": {name: getattr(used, f"ru_{name}") for name in _RUSAGE},
        }

    def sandbox_processes(self) -> list[int]:
        """The ids of the zygote, if it lives, and of its keepers. Safe to call from any thread."""
        return self._sandboxes.processes()

    def memory_bytes(self) -> int:
        """The highest memory so far of what runs, added up. Safe to call from any thread."""
        return sum(live.peak_bytes for live in list(self._live.values()))

    def executor_stats(self) -> ExecutorStats:
        """Of the sandboxes: attempts that run, and that ended. As many run as there is room for."""
        ended = self._ended_attempts
        return ExecutorStats(None, len(self._sandboxes.running), 0, ended[True], ended[False])

    def clean_now(self) -> None:
        """Return once the folders of all attempts that have ended so far are gone."""
        self._orders.clean_now()

    def _put(self, event: events.Event) -> None:
        self._box.put(event)
        if threading.current_thread() is not self._thread:  # which looks into its box before it waits
            self._wake_up.set()

    # The worker's own thread

    def _run(self) -> None:
        while not self._state.over(self._clock.monotonic()):
            try:
                self._turn()
            except BaseException as error:
                log.exception("A turn of the worker failed; it goes on.")
                delay_s = self._rebirth.crashed("worker", f"{type(error).__name__}: {error}")
                self._pause.wait(min(delay_s, LONGEST_PAUSE_S))
        self._leave()

    def _turn(self) -> None:
        """Wait for something, take all that has happened, and do what is due."""
        self._heard_of.extend(self._sandboxes.poll(self._patience_s()))
        self._wake_up.clear()
        while self._heard_of:
            self._heard(self._heard_of.popleft())
        self._results.sync()
        while not self._box.empty():
            self._tell(self._box.get())
        self._tell(events.Ticked())
        for batch in self._rebirth.tend():
            for answer in self._begin(batch):
                self._tell(answer)
        if self._pool_restart.is_set():
            self._restart_if_idle()

    def _restart_if_idle(self) -> None:
        """What still has to be reported belongs to the present registration, so it comes first."""
        if self._state.running or self._state.unreported or self._state.stopping:
            return
        self._pool_restart.clear()
        self._sandboxes.restart()
        self._tell(self._desk.register_again())
        self._bell.ring("schedule")
        log.info("The processes of worker %r were started anew.", self.info.id)

    def _patience_s(self) -> float | None:
        if self._heard_of or not self._box.empty():
            return 0.0
        due_s = min(self._state.due_s(), self._rebirth.due_s)
        return None if due_s == float("inf") else max(due_s - self._clock.monotonic(), 0.0)

    def _heard(self, event: SandboxEvent) -> None:
        match event:
            case SandboxProgress():
                self._rose(event)
                self._watcher.moved(event.key, event.progress, event.peak_memory_bytes)
            case SandboxGone():
                self._tell(events.Gone(event.key))
            case SandboxEnd():
                self._heard_end(event)

    def _rose(self, progress: SandboxProgress) -> None:
        running = self._state.running.get(progress.key)
        live = self._live.get(running.assignment.sandbox) if running is not None else None
        if live is not None:
            live.peak_bytes = progress.peak_memory_bytes

    def _heard_end(self, end: SandboxEnd) -> None:
        sandbox = end.key
        if end.key in self._state.running:
            self._ended_attempts[end.succeeded] += 1
            assignment = self._state.running[end.key].assignment
            sandbox = assignment.sandbox
            outcome = self._results.outcome(end, assignment, self._clock.now())
            _log_end(assignment, outcome.exit)
            self._spans.end(end.key, self._clock.now(), outcome.exit, end.usage)
            self._tell(self._ended(end.key, outcome, end))
        for key in self._state.running.keys() & set(end.unbegun):
            self._tell(self._unbegun(key, gone=end.tree_gone))
        if end.over:
            self._live.pop(sandbox, None)
            self._orders.clear(sandbox, gone=end.tree_gone)

    def _tell(self, event: events.Event) -> None:
        """Let the state decide, and do what it says, until it says no more."""
        todo = deque(self._state.handle(event, self._clock.monotonic()))
        while todo:
            instruction = todo.popleft()
            try:
                answers = self._do(instruction)
            except Exception:
                log.exception("The worker could not do %s; it goes on.", type(instruction).__name__)
                continue
            for answer in answers:
                todo.extend(self._state.handle(answer, self._clock.monotonic()))

    def _do(self, instruction: events.Instruction) -> Sequence[events.Event]:
        match instruction:
            case events.Begin():
                return self._begin(instruction.batch)
            case events.Kill() if waiting := self._rebirth.drop(instruction.sandbox):
                return self._unstarted(waiting, instruction)
            case events.Kill():
                self._sandboxes.cancel(
                    instruction.sandbox,
                    instruction.reason,
                    instruction.message,
                    limit=instruction.limit,
                    observed=instruction.observed,
                )
            case events.Report():
                return [self._desk.report(instruction.ends, instruction.gone)]
            case events.Beat():
                return [self._desk.beat(instruction.generation, instruction.running)]
            case events.Claim():
                return [self._desk.claim(instruction.generation, instruction.starts)]
            case events.Register():
                return [self._desk.register_again()]
            case events.DropCancelled():
                outcome = Outcome(AttemptState.FAILED, CANCELLED_UNSTARTED)
                return [self._ended(instruction.assignment.key, outcome)]
            case events.DropUnbegun():
                now, put_back = self._clock.now(), instruction.put_back
                return [
                    events.Ended(
                        self._ends.of_unbegun(instruction.key, self.generation, now, put_back=put_back)
                    )
                ]
            case events.Refuse():
                self._watcher.refused(instruction.keys)
                self._ring({key.job_id for key in instruction.keys})
        return []

    def _begin(self, batch: Sequence[Assignment]) -> Sequence[events.Event]:
        if self._rebirth.away:
            self._rebirth.wait(batch)
            return []
        try:
            self._live[batch[0].key] = _Live(self._clock.now())
            batch = self._spans.begin(batch, self._live[batch[0].key].began_at)
            self._sandboxes.start(self._orders.order(batch))
            self._begun[batch[0].kind] += len(batch)
        except Exception as error:
            first, *others = [each.key for each in batch]
            self._live.pop(first, None)
            self._orders.clear(first, gone=True)
            if self._has_no_zygote():  # it died of it
                self._rebirth.wait(batch)
                return []
            log.exception("Attempt %s could not be started.", first)
            message = f"The attempt could not be started: {type(error).__name__}: {error}."
            exit_ = Exit(ExitReason.ERROR, message, code="not_started")
            self._spans.end(first, self._clock.now(), exit_)
            ended = self._ended(first, Outcome(AttemptState.FAILED, exit_))
            return [ended, *(self._unbegun(key, gone=True) for key in others)]
        return []

    def _has_no_zygote(self) -> bool:
        return self._rebirth.away

    def _unstarted(self, batch: Sequence[Assignment], kill: events.Kill) -> Sequence[events.Event]:
        """The ends of what waited for a zygote, when it is told to end."""
        state = AttemptState.LOST if kill.reason is ExitReason.LEASE_EXPIRED else AttemptState.FAILED
        exit_ = Exit(kill.reason, kill.message or CANCELLED_UNSTARTED.message)
        first, *others = [each.key for each in batch]
        return [self._ended(first, Outcome(state, exit_)), *(self._unbegun(key, gone=True) for key in others)]

    def _ended(self, key: AttemptKey, outcome: Outcome, end: SandboxEnd | None = None) -> events.Event:
        running = self._state.running[key]
        stopping = self._state.stopping
        made = self._ends.of_running(running, outcome, end, self._clock.now(), stopping=stopping)
        self._watcher.ended(key)
        return events.Ended(made)

    def _unbegun(self, key: AttemptKey, *, gone: bool) -> events.Event:
        """Of one whose batch ended before its turn."""
        made = self._ends.of_batch(self._state.running[key], self._clock.now(), gone=gone)
        self._spans.end(key, self._clock.now(), made.exit)
        self._watcher.ended(key)
        return events.Ended(made)

    def _offer(self) -> WorkerInfo:
        """What is offered at a registration and a beat; before the sandboxes are open, what is there."""
        if not self._sandboxes.is_open:
            return self._describe()
        return replace(self._describe(), rungs=(self._sandboxes.rungs.in_use,), stats=self.stats())

    def _ring(self, jobs: set[int]) -> None:
        for job_id in jobs:
            self._bell.ring(f"job:{job_id}")
        self._made_room()

    def _leave(self) -> None:
        if unreported := len(self._state.unreported):
            log.error("The ends of %d attempts could not be recorded; they will run again.", unreported)
        self._sandboxes.close(0.0)
        self._desk.leave(self.generation)
        self._wake_up.close()


def _log_end(assignment: Assignment, exit: Exit | None) -> None:
    """Failures are told; that an attempt went well is said at debug level only: a thousand of them end in a second."""
    level = logging.DEBUG if exit is None else logging.INFO
    if log.isEnabledFor(level):
        key = assignment.key
        how = "succeeded" if exit is None else f"ended with {exit.reason}: {exit.message}"
        log.log(level, "Attempt %s %s", key, how, extra=whose(key, assignment.owner, assignment.spec))


__all__ = ["AttemptWatcher", "Worker", "WorkerRules"]
