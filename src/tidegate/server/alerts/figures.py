"""What alerts are judged by: figures of this machine, of the store, and of parts of the service that tell them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from tidegate.core.alert_rules import SERVICE
from tidegate.core.alerts import Figure
from tidegate.core.readings import Readings
from tidegate.core.recovery import Cause, Crash, Mode
from tidegate.ports import Host, Store, WorkDone

WINDOW_S = 300.0
"""Failures and run times are those of the jobs that ended within the last five minutes."""
SETTLE_S = 5.0
"""So long after a job has ended its end is certainly stored; jobs are counted up to then, each once."""
LEAST_ENDED = 10
"""Of fewer jobs the share of failed ones says nothing, and counts as none."""
LEAST_RUN = 3
"""Likewise of their mean run time."""


CRASHES_S = 600.0
"""Crashes are counted over the last ten minutes."""


class FigureSource(Protocol):
    """Tells figures of some rules. When it fails, nothing changes for these rules."""

    @property
    def rules(self) -> Collection[str]: ...

    def figures(self, now: datetime) -> Iterable[Figure]: ...


class MachineFigures:
    """CPU, memory and disk of this server's machine. `name` is what people call it."""

    rules = ("cpu", "memory", "disk")

    def __init__(self, host: Host, name: str) -> None:
        self._host = host
        self._name = name

    def figures(self, now: datetime) -> Iterable[Figure]:
        system = self._host.system()
        for rule in ("cpu", "memory"):
            yield Figure(rule, self._name, float(system[rule]["percent"]))
        disk = system["disk"]
        yield Figure("disk", f"{self._name} {disk['path']}", float(disk["percent"]))


class QueueFigures:
    """How many tasks wait in each queue."""

    rules = ("queue_length",)

    def __init__(self, store: Store) -> None:
        self._store = store

    def figures(self, now: datetime) -> Iterable[Figure]:
        for queue in self._store.queues():
            note = "It is paused." if queue.paused else ""
            yield Figure("queue_length", queue.name, float(queue.waiting), note)


class WorkerFigures:
    """Whether any worker is online, and of each that is, how much pressure it feels and how full its machine is, as of its
    last beat. `machine` is the name of this server's, which is looked at more often by itself."""

    rules = ("no_worker", "pressure", "cpu", "memory", "disk")

    def __init__(self, store: Store, machine: str) -> None:
        self._store = store
        self._machine = machine

    def figures(self, now: datetime) -> Iterable[Figure]:
        workers = self._store.workers()
        online = [worker for worker in workers if worker.present and worker.lease_until > now]
        yield Figure("no_worker", SERVICE, float(not online), f"{len(workers)} are known.")
        for worker in online:
            yield Figure("pressure", worker.id, float(worker.level), f"It is {worker.level}.")
            if worker.hostname != self._machine:
                yield from _felt(worker.id, worker.readings)


def _felt(worker_id: str, readings: Readings) -> Iterable[Figure]:
    free = readings.disk_free_percent
    yield Figure("cpu", worker_id, readings.cpu_busy_percent)
    yield Figure("memory", worker_id, readings.memory_used_percent)
    yield Figure("disk", worker_id, None if free is None else 100.0 - free)


class _Span(NamedTuple):
    until: datetime
    done: WorkDone


class WorkFigures:
    """How many of the last jobs have failed, and how long they ran. Each job is read once: spans of the window are kept."""

    rules = ("failure_rate", "run_time")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._spans: deque[_Span] = deque()

    def figures(self, now: datetime) -> Iterable[Figure]:
        done = self._done(now)
        rate = 100 * done.failed / done.ended if done.ended >= LEAST_ENDED else 0.0
        mean_s = done.run_s / done.ran if done.ran >= LEAST_RUN else 0.0
        yield Figure("failure_rate", SERVICE, rate, f"{done.failed} of {done.ended} within five minutes.")
        yield Figure("run_time", SERVICE, mean_s, f"Of {done.ran} jobs within five minutes.")

    def _done(self, now: datetime) -> WorkDone:
        until = now - timedelta(seconds=SETTLE_S)
        begin = until - timedelta(seconds=WINDOW_S)
        while self._spans and self._spans[0].until <= begin:
            self._spans.popleft()
        since = self._spans[-1].until if self._spans else begin
        if until > since:
            self._spans.append(_Span(until, self._store.work_done(since, until)))
        spans = [span.done for span in self._spans]
        return WorkDone(
            sum(one.ended for one in spans),
            sum(one.failed for one in spans),
            sum(one.ran for one in spans),
            sum(one.run_s for one in spans),
        )


class ChannelFigures:
    """How many tries of each channel have failed in a row."""

    rules = ("channel_lost",)

    def __init__(self, store: Store, channels: Sequence[str]) -> None:
        self._store = store
        self._channels = channels

    def figures(self, now: datetime) -> Iterable[Figure]:
        states = {state.name: state for state in self._store.channel_states()}
        for name in self._channels:
            state = states.get(name)
            failures, error = (state.failures, state.error) if state is not None else (0, None)
            yield Figure("channel_lost", name, float(failures), error or "")


class RecoveryFigures:
    """Safe mode, and how often each process of the service has crashed within ten minutes, on whatever machine: as safe mode
    counts, all its parts together, so that one loop of crashes is one alert."""

    rules = ("safe_mode", "ledger", "crash_loop")

    def __init__(self, store: Store) -> None:
        self._store = store

    def figures(self, now: datetime) -> Iterable[Figure]:
        state = self._store.safe_mode()
        safe = state.mode is Mode.SAFE
        yield Figure("safe_mode", SERVICE, float(safe), state.message)
        yield Figure("ledger", SERVICE, float(safe and state.cause is Cause.LEDGER), state.message)
        crashes: dict[str, list[Crash]] = {}
        for crash in self._store.crashes(now - timedelta(seconds=CRASHES_S)):
            crashes.setdefault(crash.place, []).append(crash)
        for place, found in crashes.items():
            yield Figure(
                "crash_loop", place, float(len(found)), f"Last the {found[-1].part}: {found[-1].what}"
            )


class ToldFigures:
    """A board on which any part of the service puts what it knows, from any thread: `safe_mode`, `ledger`.

    A figure stays until it is told again. 0 says that all is well.
    """

    rules = ("safe_mode", "ledger")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], Figure] = {}

    def tell(self, rule: str, value: float, note: str = "", *, subject: str = SERVICE) -> None:
        """From now on the figure of this rule and subject is `value`."""
        with self._lock:
            self._told[rule, subject] = Figure(rule, subject, value, note)

    def figures(self, now: datetime) -> Iterable[Figure]:
        with self._lock:
            return list(self._told.values())
