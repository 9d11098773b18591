"""What is going on: workers with what they run, queues, this machine, and whether work gets done. Every call blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tidegate.core.identity import Caller
from tidegate.errors import Unavailable
from tidegate.ports import Clock, Host, LiveAttempt, QueueRecord, Store, WorkerControl
from tidegate.server.workers import WorkerNow, Workers

STUCK_S = 60.0
"""How long tasks may wait while nothing runs, though there is a worker, before that is called unhealthy."""
_ONLINE = ("online", "draining")


class Line(Protocol):
    """What is asked of the scheduling cycle."""

    def waiting(self, queue: str | None = None) -> int: ...


@dataclass(frozen=True, slots=True)
class WorkerPicture:
    """A worker, how its process does (`stats`), and its attempts that run or are about to; those for the caller to see."""

    now: WorkerNow
    stats: Mapping[str, Any]
    active: int
    running: Sequence[LiveAttempt]
    starting: Sequence[LiveAttempt]

    @property
    def online(self) -> bool:
        return self.now.status in _ONLINE


@dataclass(frozen=True, slots=True)
class Check:
    """One answer of a health check."""

    healthy: bool
    message: str
    numbers: Mapping[str, int | float]


class Monitor:
    """Reads the store, and of the worker inside this server, if there is one, the worker itself."""

    def __init__(
        self,
        store: Store,
        workers: Workers,
        line: Line,
        clock: Clock,
        control: WorkerControl | None,
        host: Host | None,
    ) -> None:
        self._store = store
        self._workers = workers
        self._line = line
        self._clock = clock
        self._control = control
        self._host = host
        self._still_since_s: float | None = None

    def workers(self, caller: Caller) -> list[WorkerPicture]:
        """In order of name."""
        return self._pictures(caller, self._workers.all())

    def worker(self, caller: Caller, worker_id: str) -> WorkerPicture:
        """Raises NotFound."""
        return self._pictures(caller, [self._workers.get(worker_id)])[0]

    def queues(self) -> list[QueueRecord]:
        """In order of name."""
        return sorted(self._store.queues(), key=lambda queue: queue.name)

    def system(self) -> Mapping[str, Any]:
        """This server's machine; see `Host.system`."""
        if self._host is None:
            raise Unavailable("This server does not look at its machine.")
        return self._host.system()

    def health(self) -> Mapping[str, Check]:
        """`celery_workers`, `message_queues`, `task_processing`: the same names with and without Celery."""
        workers = self._workers.all()
        online = sum(worker.status in _ONLINE for worker in workers)
        return {
            "celery_workers": Check(
                online > 0,
                f"{online} of {len(workers)} workers are online."
                if online
                else "No worker is online: jobs wait.",
                {"online": online, "total": len(workers)},
            ),
            "message_queues": self._bell_works(),
            "task_processing": self._work_gets_done(online, sum(len(worker.attempts) for worker in workers)),
        }

    def _bell_works(self) -> Check:
        fault = self._control.fault() if self._control is not None else None
        return Check(fault is None, fault or "Workers can be told what to do.", {})

    def _work_gets_done(self, online: int, running: int) -> Check:
        """Waiting alone is no fault; waiting while nothing runs for long is, wherever something could run."""
        waiting = sum(self._line.waiting(queue.name) for queue in self._store.queues() if not queue.paused)
        now_s = self._clock.monotonic()
        if not waiting or running:
            self._still_since_s = None
        elif self._still_since_s is None:
            self._still_since_s = now_s
        still_s = 0.0 if self._still_since_s is None else now_s - self._still_since_s
        numbers = {"waiting": waiting, "running": running, "still_s": round(still_s, 1)}
        if waiting and not online:
            return Check(False, f"{waiting} tasks wait and no worker is online.", numbers)
        if still_s > STUCK_S:
            return Check(False, f"{waiting} tasks wait and none has run for {still_s:.0f} s.", numbers)
        return Check(True, f"{running} tasks run, {waiting} wait.", numbers)

    def _pictures(self, caller: Caller, workers: Iterable[WorkerNow]) -> list[WorkerPicture]:
        live: dict[str, list[LiveAttempt]] = {}
        for attempt in self._store.live():
            live.setdefault(attempt.worker_id, []).append(attempt)
        return [self._picture(caller, worker, live.get(worker.record.id, [])) for worker in workers]

    def _picture(self, caller: Caller, worker: WorkerNow, live: Sequence[LiveAttempt]) -> WorkerPicture:
        fresh = self._control.stats(worker.record.id) if self._control is not None else None
        seen = [attempt for attempt in live if caller.sees(attempt.owner)]
        return WorkerPicture(
            worker,
            worker.record.stats if fresh is None else fresh,
            sum(attempt.running for attempt in live),
            [attempt for attempt in seen if attempt.running],
            [attempt for attempt in seen if not attempt.running],
        )


__all__ = ["Check", "Monitor", "WorkerPicture"]
