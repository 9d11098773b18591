"""What a worker does next: events in, instructions out. No clock, no chance, no I/O, so that a history can be played again.

                    registered                     beat: not yours any more
    out ───────────────────────────────► joined ─────────────────────────────► out: everything is killed, and the worker
     ▲                                   │    ▲                                registers anew once nothing runs
     └── nothing runs any more           │    │ a beat got through
                                         ▼    │
             no renewal for `fence_s`: fenced: everything is killed, nothing is begun

A stop is beside that: what waits is put back, what runs is killed when its grace is over. Until then the worker beats.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from tidegate.core.attempt import Assignment, AttemptEnd
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.retry import Losses
from tidegate.core.states import ExitReason
from tidegate.runtime import worker_events as events
from tidegate.runtime.evictor import Eviction

RETRIES = (1 / 30, 2 / 30, 4 / 30, 5 / 30)
"""When a failed beat is tried again, in beats: after 1, 2, 4, 5, 5, ... s of 30 s. About ten tries fit into a lease, so that
even a line that loses every second message does not lose a worker."""
JITTER = 0.1
"""Beats are spread by this share, so that the workers of a cluster do not beat in step."""
FENCE = 5 / 6
"""After this share of its lease without a renewal, 50 s of 60 s, a worker ends what it runs. It is declared dead after 90 s,
so the slowest kill has 40 s."""
GATHER_S = 0.25
"""Ends in a sandbox that goes on with the next of its batch may wait so long for others: they make no room for anybody. One
report of ten ends, with one pass of the scheduler after it, costs little more than that of a single end."""


@dataclass(frozen=True, slots=True)
class WorkerRules:
    """Times and limits of a worker; seconds on the monotonic clock."""

    beat_s: float
    lease_s: float
    max_losses: Losses
    interactive_queue: str
    report_within_s: float = 10.0
    """How long a stop goes on trying while the store refuses its reports; the rest is lost, for the next server to find."""
    fences: bool = True
    """Whether to end everything when the lease cannot be renewed. Not inside a server: nobody else could run it again."""

    @property
    def fence_s(self) -> float:
        return FENCE * self.lease_s if self.fences else float("inf")

    @property
    def retry_s(self) -> float:
        """After a failed registration, claim or report."""
        return RETRIES[0] * self.beat_s


@dataclass(frozen=True, slots=True)
class Running:
    """What runs, and the generation it was claimed under: its end is only believed from that one."""

    assignment: Assignment
    generation: int


@dataclass
class WorkerState:
    """All that a worker knows. `handle` is the only way to change it."""

    rules: WorkerRules
    generation: int = 0
    joined: bool = False
    """Whether `generation` is, as far as we know, the worker's present one."""
    fenced: bool = False
    stop_at_s: float | None = None
    _running: dict[AttemptKey, Running] = field(default_factory=dict)
    _unclaimed: list[Start] = field(default_factory=list)
    _unreported: list[AttemptEnd] = field(default_factory=list)
    _gone: dict[AttemptKey, None] = field(default_factory=dict)
    _cancelled: set[AttemptKey] = field(default_factory=set)
    """Cancels of what does not run here: of what has ended, or whose claimed start has not come yet. A beat tells all that
    is to be cancelled, so what was heard before it may be forgotten."""
    _missing: frozenset[AttemptKey] = frozenset()
    """What the last beat said we had claimed, and we do not know of. Missing twice, it is lost: the first time its start may
    have been on its way to us."""
    _dying: set[AttemptKey] = field(default_factory=set)
    """What was told to end for another reason than a cancel."""
    _renewed_s: float = 0.0
    _beat_s: float = 0.0
    _failed_beats: int = 0
    _register_s: float = 0.0
    _claim_s: float = 0.0
    _retry_report_s: float = 0.0
    _wanted_s: float = float("inf")
    """When what is not reported has waited long enough for more."""

    @property
    def running(self) -> Mapping[AttemptKey, Running]:
        return MappingProxyType(self._running)

    def evictable(self) -> list[Assignment]:
        """What may be ended for want of memory: of each sandbox the one whose turn it is, which is the first that is left. Not
        one that was told to end and takes its time, else it would be chosen again and again. Safe to call from any thread.
        """
        dying = frozenset(self._dying)
        first: dict[AttemptKey, Assignment] = {}
        for running in list(self._running.values()):
            first.setdefault(running.assignment.sandbox, running.assignment)
        return [assignment for assignment in first.values() if assignment.key not in dying]

    @property
    def unreported(self) -> Sequence[AttemptEnd]:
        return tuple(self._unreported)

    @property
    def stopping(self) -> bool:
        return self.stop_at_s is not None

    def over(self, now_s: float) -> bool:
        """Whether a stop has come to its end."""
        if self.stop_at_s is None or self._running:
            return False
        return not self._unreported or now_s >= self.stop_at_s + self.rules.report_within_s

    def due_s(self) -> float:
        """When there is something to do even if nothing happens."""
        times = [float("inf")]
        if self.joined:
            times.append(self._beat_s)
            times += [self._renewed_s + self.rules.fence_s] if not self.fenced else []
            times += [self._claim_s] if self._unclaimed and not self.fenced else []
        elif not self._running and not self.stopping:
            times.append(self._register_s)
        times.append(self._report_s)
        if self.stop_at_s is not None and self._running.keys() - self._dying:
            times.append(self.stop_at_s)
        if self.stop_at_s is not None and self._unreported and not self._running:
            times.append(self.stop_at_s + self.rules.report_within_s)
        return min(times)

    def handle(self, event: events.Event, now_s: float) -> list[events.Instruction]:
        """Take note of what happened; what is to be done about it, in order."""
        match event:
            case events.Launched():
                return self._launch(event.starts)
            case events.CancelAsked():
                return self._cancel(event.keys)
            case events.EvictAsked():
                return self._evict(event.eviction)
            case events.StopAsked():
                self.stop_at_s = min(now_s + event.grace_s, self.stop_at_s or float("inf"))
                return self._put_back_unclaimed()
            case events.HurryAsked():
                self.stop_at_s = None if self.stop_at_s is None else min(now_s, self.stop_at_s)
            case events.BeatAsked():
                self._beat_s = now_s
            case events.Ended():
                self._ended(event.end, now_s)
            case events.Gone():
                self._gone[event.key] = None
                self._wanted_s = min(self._wanted_s, now_s)
            case events.Registered():
                self._join(event, now_s)
            case events.RegisterFailed():
                self._register_s = now_s + self.rules.retry_s
            case events.Beaten():
                return self._beaten(event, now_s)
            case events.BeatFailed():
                self._beat_s = now_s + RETRIES[min(self._failed_beats, len(RETRIES) - 1)] * self.rules.beat_s
                self._failed_beats += 1
            case events.ClaimAnswered():
                return self._claimed(event)
            case events.ClaimFailed():
                self._claim_s = now_s + self.rules.retry_s
            case events.Reported():
                self._reported(event, now_s)
            case events.ReportFailed():
                self._retry_report_s = now_s + self.rules.retry_s
            case events.Ticked():
                return self._due(now_s)
        return []

    def _launch(self, starts: Sequence[Start]) -> list[events.Instruction]:
        mine = [start for start in starts if start.generation == self.generation and self.joined]
        todo: list[events.Instruction] = []
        if len(mine) < len(starts):
            known = {start.key for start in mine}
            todo.append(events.Refuse([start.key for start in starts if start.key not in known]))
        claimed: list[Assignment] = []
        for start in mine:
            if start.assignment is None:
                self._unclaimed.append(start)
            elif self.stopping:
                todo.append(events.DropUnbegun(start.key, put_back=True))
            elif self.fenced:
                todo.append(events.DropUnbegun(start.key, put_back=False))
            else:
                claimed.append(start.assignment)
        todo += self._begin_all(claimed)
        return todo + (self._put_back_unclaimed() if self.stopping else [])

    def _begin_all(self, claimed: Iterable[Assignment]) -> list[events.Instruction]:
        """Run what is claimed, in each sandbox what is to share it."""
        batches: dict[AttemptKey, dict[AttemptKey, Assignment]] = {}
        for assignment in claimed:
            batches.setdefault(assignment.sandbox, {})[assignment.key] = assignment
        return [step for batch in batches.values() for step in self._begin(list(batch.values()))]

    def _begin(self, batch: Sequence[Assignment]) -> list[events.Instruction]:
        """What runs already, or has run, came twice. A cancel is of the job, and so of all of a batch."""
        keys = {assignment.key for assignment in batch}
        if not keys.isdisjoint(self._running) or any(end.key in keys for end in self._unreported):
            return []
        self._running.update({each.key: Running(each, self.generation) for each in batch})
        self._missing -= keys
        if keys.isdisjoint(self._cancelled):
            return [events.Begin(batch)]
        return [events.DropCancelled(assignment) for assignment in batch]

    def _cancel(self, keys: Collection[AttemptKey]) -> list[events.Instruction]:
        here = [key for key in keys if key in self._running]
        self._cancelled.update(key for key in keys if key not in self._running)
        return [events.Kill(sandbox) for sandbox in self._sandboxes(here)]

    def _evict(self, eviction: Eviction) -> list[events.Instruction]:
        key = eviction.key
        if key not in self._running or key in self._dying:
            return []
        self._dying.add(key)
        sandbox = self._running[key].assignment.sandbox
        message, limit, observed = eviction.message, eviction.limit, eviction.observed
        return [events.Kill(sandbox, ExitReason.EVICTED, message, limit, observed)]

    def _sandboxes(self, keys: Iterable[AttemptKey]) -> Iterable[AttemptKey]:
        """Of what runs, each once."""
        return dict.fromkeys(self._running[key].assignment.sandbox for key in keys)

    def _put_back_unclaimed(self) -> list[events.Instruction]:
        starts, self._unclaimed = self._unclaimed, []
        if not starts:
            return []
        back = [
            events.DropUnbegun(start.key, put_back=True)
            for start in starts
            if start.generation == self.generation
        ]
        return [events.Refuse([start.key for start in starts]), *back]

    def _join(self, event: events.Registered, now_s: float) -> None:
        self.generation, self.joined, self.fenced = event.generation, True, False
        self._renewed_s, self._failed_beats = event.asked_s, 0
        self._beat_s = now_s + self.rules.beat_s
        self._cancelled.clear()
        self._missing = frozenset()

    def _beaten(self, event: events.Beaten, now_s: float) -> list[events.Instruction]:
        if event.answer is None:
            return self._fall_out()
        answer = event.answer
        self._renewed_s, self._failed_beats, self.fenced = event.asked_s, 0, False
        self._beat_s = now_s + self.rules.beat_s * (1 + JITTER * event.jitter)
        self._cancelled.clear()
        todo = self._cancel(answer.cancel)
        todo += self._kill(
            answer.stale, "The attempt was taken from this worker, which had not been heard of."
        )
        known = self._running.keys() | {end.key for end in self._unreported}
        missing = frozenset(answer.missing) - known
        todo += [events.DropUnbegun(key, put_back=False) for key in sorted(missing & self._missing)]
        self._missing = missing - self._missing
        return todo

    def _fall_out(self) -> list[events.Instruction]:
        """The generation is over: nothing of it may go on, and nothing is begun before all of it has ended."""
        self.joined = False
        refused, self._unclaimed = [start.key for start in self._unclaimed], []
        todo = self._kill(
            self._running, "The worker was declared dead, or another one registered in its name."
        )
        return [*([events.Refuse(refused)] if refused else []), *todo]

    def _fence(self, now_s: float) -> list[events.Instruction]:
        self.fenced = True  # what waits to be claimed waits on: it may still be ours
        message = (
            f"The worker could not renew its lease for {now_s - self._renewed_s:.0f} s, and ends what it runs before "
            "others may run it again."
        )
        return self._kill(self._running, message)

    def _kill(self, keys: Iterable[AttemptKey], message: str) -> list[events.Instruction]:
        fresh = [key for key in keys if key in self._running and key not in self._dying]
        self._dying.update(fresh)
        return [events.Kill(each, ExitReason.LEASE_EXPIRED, message) for each in self._sandboxes(fresh)]

    def _claimed(self, event: events.ClaimAnswered) -> list[events.Instruction]:
        asked = {start.key for start in event.starts} & {start.key for start in self._unclaimed}
        self._unclaimed = [start for start in self._unclaimed if start.key not in asked]
        self._claim_s = 0.0
        if event.claimed:
            self._renewed_s = max(self._renewed_s, event.asked_s)
        begun = self._begin_all(event.claimed)
        refused = sorted(asked - {assignment.key for assignment in event.claimed})
        return [*begun, *([events.Refuse(refused)] if refused else [])]

    @property
    def _report_s(self) -> float:
        return max(self._wanted_s, self._retry_report_s)

    def _ended(self, end: AttemptEnd, now_s: float) -> None:
        ended = self._running.pop(end.key, None)
        self._dying.discard(end.key)
        self._unreported.append(end)
        goes_on = ended is not None and any(
            other.assignment.sandbox == ended.assignment.sandbox for other in self._running.values()
        )
        self._wanted_s = min(self._wanted_s, now_s + GATHER_S * goes_on)

    def _reported(self, event: events.Reported, now_s: float) -> None:
        self._unreported = [end for end in self._unreported if end.key not in event.done]
        for key in event.gone:
            self._gone.pop(key, None)
        if self._unreported or self._gone:
            self._retry_report_s = now_s + self.rules.retry_s
        else:
            self._wanted_s = float("inf")

    def _due(self, now_s: float) -> list[events.Instruction]:
        """1. end what must not go on, 2. report, 3. beat or register, 4. claim."""
        todo: list[events.Instruction] = []
        if self.joined and not self.fenced and now_s >= self._renewed_s + self.rules.fence_s:
            todo += self._fence(now_s)
        if self.stop_at_s is not None and now_s >= self.stop_at_s:
            todo += self._kill(
                self._running, "The server stopped before the attempt had ended; it will run again."
            )
        if now_s >= self._report_s:
            todo.append(events.Report(tuple(self._unreported), tuple(self._gone)))
        if self.joined and now_s >= self._beat_s:
            todo.append(
                events.Beat(self.generation, [*self._running, *(end.key for end in self._unreported)])
            )
        if not self.joined and not self._running and not self.stopping and now_s >= self._register_s:
            todo.append(events.Register())
        if self._unclaimed and self.joined and not self.fenced and now_s >= self._claim_s:
            todo.append(events.Claim(self.generation, tuple(self._unclaimed)))
        return todo
