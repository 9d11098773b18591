"""The scheduling cycle: read what changed, decide, commit, and only then launch."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from tidegate.core import scheduler
from tidegate.core.job import Priority, TaskKey, WaitingTask
from tidegate.core.membership import marked
from tidegate.core.plan import Plan, Reason, ReasonCode, Snapshot, Start, WorkerView
from tidegate.core.queueing import Backlog
from tidegate.core.recovery import within
from tidegate.errors import NotLeader, Unavailable
from tidegate.ports import Bell, Changes, Clock, Launcher, ScheduleStore
from tidegate.server.drain import DrainMeter
from tidegate.server.holding import Holding
from tidegate.server.leader import TOPIC, Leadership
from tidegate.server.supervisor import Supervisor, kept
from tidegate.server.waiting import (
    Waiting,
    waiting,
    waiting_for_the_server,
    waiting_no_more,
    waiting_unseen,
)

__all__ = ["Cycle", "Waiting"]

_log = logging.getLogger("tidegate.cycle")

_STOPPING = Reason(
    ReasonCode.SERVER_STOPPING, "The server is stopping; it starts nothing more until it is back."
)

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 10.0
STANDBY_PATIENCE = 20
"""A server that stands by reads again after this many times what a reading took: 5 % of a CPU at most."""


@dataclass(frozen=True)
class _Picture:
    """What the last pass saw and did."""

    snapshot: Snapshot
    starts: Sequence[Start] = ()

    @cached_property
    def after(self) -> Snapshot:
        return self.snapshot.after(self.starts)


class Cycle:
    """Plans whenever there may be something to plan: when the bell rings `schedule`, and every `poll_s` seconds.

    Rings that come within `min_gap_s` of the last pass are answered by one pass. What it keeps in memory is a copy of
    what the store holds: after any trouble it is read again from the start. Safe to call from any thread.

    Only while this server leads does it start anything. Standing by it looks now and then, at all that waits, since nobody
    tells it what the leader started: users are told why their jobs wait by every server.

    `claim`: the launcher works in this process, so what starts is claimed by the commit that makes it true. `holding` says
    what pressure keeps from starting. `passed` hears how many seconds a pass took, `told` of
    each that starts something: what, when it decided, when that was committed and when it was handed over.
    """

    def __init__(
        self,
        store: ScheduleStore,
        launcher: Launcher,
        bell: Bell,
        clock: Clock,
        leader: Leadership,
        *,
        drain: DrainMeter | None = None,
        supervisor: Supervisor | None = None,
        claim: bool = False,
        min_gap_s: float = 0.002,
        poll_s: float = 1.0,
        budget: int = scheduler.BUDGET,
        holding: Holding | None = None,
        passed: Callable[[float], None] = lambda took_s: None,
        told: Callable[[Sequence[Start], datetime, datetime, datetime], None] | None = None,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._bell = bell
        self._clock = clock
        self._leader = leader
        self._drain = drain or DrainMeter(clock.monotonic())
        self._supervisor = supervisor
        self._claim = claim
        self._min_gap_s = min_gap_s
        self._poll_s = poll_s
        self._budget = budget
        self._holding = holding
        self._passed = passed
        self._told = told

        self._passing = threading.RLock()
        self._read_from = 0
        self._again = False
        self._fruitless = 0
        self._led = False
        """Whether the last pass was a leader's."""
        self._lock = threading.Lock()
        """Guards what is read from outside: backlog, picture and cursor. Never held while the store is asked."""
        self._backlog = Backlog()
        self._picture = _Picture(Snapshot((), {}, ()))
        self._cursor = 0

        self._rung = threading.Event()
        self._called = threading.Event()
        """Set when this server has begun to lead, or has ceased to."""
        self._stopped = threading.Event()
        self._subscriptions: list[Callable[[], None]] = []
        self._thread = kept("cycle", self._run, supervisor)

    def run_once(self) -> list[Start]:
        """One pass; the starts that were made. Raises what store and launcher raise, and then reads all again."""
        with self._passing:
            # 1. What has changed since the last pass. Until this one is through, the next would read all again.
            leads = self._leader.leads
            read_from, self._read_from = self._read_from if leads and self._led else 0, 0
            changes = self._store.changes(read_from)

            # 2. Bring the backlog up to it and look at the heads of its lines.
            snapshot = self._take_in(changes, fresh=read_from == 0)

            # 3. Decide.
            now = self._clock.now()
            plan = scheduler.plan(snapshot, now, self._budget)
            if self._supervisor is not None:
                plan = within(plan, snapshot.workers, self._supervisor.share())

            # 4. Make it true, as far as it still can be.
            started = self._commit(plan, now) if leads and plan.starts else []

            # 5. Remember what is true now; plan again at once when there may be more to start.
            self._settle(changes, snapshot, started)
            self._again = leads and (plan.more or len(started) < len(plan.starts))
            self._fruitless = self._fruitless + 1 if leads and plan.starts and not started else 0
            self._led = leads

            # 6. Bring what was committed to the workers.
            if started:
                committed_at = self._clock.now()
                self._launcher.launch(started)
                if self._told is not None:
                    self._told(started, now, committed_at, self._clock.now())
            return started

    def pass_here(self) -> None:
        """A pass on the calling thread, which has made room: waking another thread for it takes longer than the pass.

        It is left to the cycle's own thread when that is at it, or when everything has to be read. Never raises.
        """
        if self._read_from and self._led and self._passing.acquire(blocking=False):
            try:
                if self._stopped.is_set() or (self._pass_or_leave() and not self._again):
                    return
            finally:
                self._passing.release()
        self._rung.set()

    def start(self) -> None:
        """Begin; the first pass follows at once."""
        self._subscriptions = [
            self._bell.subscribe("schedule", self._rung.set),
            self._bell.subscribe(TOPIC, self._called.set),
        ]
        self._thread.start()

    def stop(self) -> None:
        """End after the pass under way. What still waits is explained by `server_stopping` from now on."""
        with self._passing:
            self._stopped.set()
        self._rung.set()
        self._called.set()
        self._thread.stop()
        for end in self._subscriptions:
            end()
        self._subscriptions = []

    @property
    def cursor(self) -> int:
        """The store's change number up to which everything has been judged."""
        with self._lock:
            return self._cursor

    def position(self, key: TaskKey) -> int | None:
        """The task's place in its queue; 1 is next. None when it does not wait."""
        with self._lock:
            return self._backlog.position(key)

    def ahead_of_new(self, queue: str, priority: Priority) -> int:
        """How many tasks a newcomer would stand behind."""
        with self._lock:
            return self._backlog.ahead_of_new(queue, priority)

    def waiting(self, queue: str | None = None) -> int:
        """How many tasks wait, in one queue or in all."""
        with self._lock:
            return self._backlog.waiting(queue)

    def oldest(self) -> dict[str, datetime]:
        """By queue, since when the task waits that waits for longest."""
        with self._lock:
            waiting = self._backlog.by_queue()
        return {queue: min(task.queued_at for task in tasks) for queue, tasks in waiting.items() if tasks}

    def workers(self) -> tuple[WorkerView, ...]:
        """The workers as of the last pass, its starts not yet counted."""
        return self._picture.snapshot.workers

    def explain(self, key: TaskKey) -> Waiting | None:
        """Why a task waits; None when it does not, or has not been seen yet."""
        with self._lock:
            task = self._backlog.find(key)
            position = self._backlog.position(key)
            picture = self._picture
        if task is None:
            return None
        now = self._clock.now()
        reason = _STOPPING if self._stopped.is_set() else self._reason(picture, task, now)
        return waiting(
            task, reason, position, self._drain.per_second(self._clock.monotonic(), task.queue), now
        )

    def _reason(self, picture: _Picture, task: WaitingTask, now: datetime) -> Reason:
        """Safe mode holds back all; once it is over, and starts come back in steps, what would start otherwise."""
        held_back = self._supervisor.reason() if self._supervisor is not None else None
        if held_back is not None and held_back.numbers["share"] == 0.0:
            return held_back
        reason = scheduler.explain(picture.after, task, now)
        could_start = reason.code in (ReasonCode.BEHIND, ReasonCode.NOT_JUDGED)
        return held_back if held_back is not None and could_start else reason

    def explain_job(self, job_id: int) -> Waiting | None:
        """Why the first waiting task of a job waits; None when none does, or it has not been seen yet."""
        with self._lock:
            task = self._backlog.first_of(job_id)
        return None if task is None else self.explain(task.key)

    def explain_absent(self, job_id: int, *, seen: bool) -> Waiting:
        """Why a job waits that is queued in the store and not in the backlog. `seen`: its change was behind the cursor
        before the backlog was asked for it."""
        if self._stopped.is_set():
            return waiting_for_the_server(_STOPPING)
        return waiting_no_more(job_id) if seen else waiting_unseen(job_id)

    def _commit(self, plan: Plan, now: datetime) -> list[Start]:
        return self._store.commit(plan, now, self._leader.epoch, claim=self._claim)

    def _take_in(self, changes: Changes, *, fresh: bool) -> Snapshot:
        if fresh:
            backlog = Backlog()
            backlog.apply(changes.waiting, ())
            with self._lock:
                self._backlog = backlog
        with self._lock:
            if not fresh:
                self._backlog.apply(changes.waiting, changes.gone)
            lines = self._backlog.lines(self._budget)
        workers, queues = marked(changes.workers, self._clock.now()), changes.queues
        if self._holding is not None:
            workers, queues = self._holding.workers(workers), self._holding.queues(queues)
        return Snapshot(workers, queues, lines)

    def _settle(self, changes: Changes, snapshot: Snapshot, started: Sequence[Start]) -> None:
        with self._lock:
            self._backlog.started(start.task for start in started)
            self._picture = _Picture(snapshot, started)
            self._cursor = max(self._cursor, changes.cursor)
        self._read_from = changes.cursor
        if started and self._holding is not None:
            self._holding.started(started)
        if started:
            self._drain.started(Counter(start.queue for start in started), self._clock.monotonic())

    def _run(self) -> None:
        troubles = 0
        while not self._stopped.is_set():
            self._rung.clear()
            self._called.clear()
            began = self._clock.monotonic()
            with self._thread.working(self._clock.monotonic):
                troubles = 0 if self._pass() else troubles + 1
            if troubles:
                self._stopped.wait(min(FIRST_DELAY_S * 2 ** (troubles - 1), LONGEST_DELAY_S))
            elif not self._led:
                took_s = self._clock.monotonic() - began
                self._called.wait(max(self._poll_s, STANDBY_PATIENCE * took_s))
            elif not self._again:
                ended = self._clock.monotonic()
                self._rung.wait(self._poll_s)
                self._stopped.wait(self._min_gap_s - (self._clock.monotonic() - ended))

    def _pass_or_leave(self) -> bool:
        """A pass that never raises: the cycle's own thread meets what is wrong again, and is where it is counted."""
        try:
            return self._pass()
        except Exception:  # noqa: BLE001 - see above
            return False

    def _pass(self) -> bool:
        """A pass. False when the store did not answer, or refuses whatever is planned. Raises whatever else went wrong."""
        began_s = self._clock.monotonic()
        try:
            self.run_once()
        except NotLeader as error:
            _log.warning("A plan was left to another server: %s", error.message)
            self._leader.doubt()
            return True
        except Unavailable as error:
            _log.warning("A scheduling pass failed, the next one reads everything again: %s", error)
            return False
        except Exception:
            _log.error("A scheduling pass failed; the next one reads everything again.")
            raise
        if self._fruitless > 1:
            _log.warning(
                "The store refused every start of %d plans in a row; reading everything again.",
                self._fruitless,
            )
            self._read_from = 0
            return False
        self._passed(self._clock.monotonic() - began_s)
        return True
