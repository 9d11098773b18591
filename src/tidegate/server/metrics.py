"""What a server tells Prometheus about the service and itself, read when it is asked."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime

from tidegate.core.recovery import Mode
from tidegate.core.resources import Resources
from tidegate.errors import Unavailable
from tidegate.ports import Clock, PoolStats, Store, WorkerRecord
from tidegate.server.cycle import Cycle
from tidegate.server.leader import Leadership
from tidegate.server.supervisor import Supervisor
from tidegate.telemetry.meters import Sample

PATIENCE_S = 2.0
"""So long the page waits for the database. Prometheus gives up after 10 s, and shall then see all else."""


class StoreFigures:
    """Queues, workers and alerts, as the store has them. Blocks for `patience_s` at most, then raises Unavailable.

    A read that is late goes on, and no other is begun before it has ended: pages that nobody gets do not pile up in front of a
    database that hangs.
    """

    def __init__(self, store: Store, clock: Clock, patience_s: float = PATIENCE_S) -> None:
        self._store = store
        self._clock = clock
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._reading: Future[list[Sample]] | None = None

    def __call__(self) -> list[Sample]:
        with self._lock:
            if self._reading is None or self._reading.done():
                self._reading = self._begin()
            reading = self._reading
        try:
            return reading.result(self._patience_s)
        except TimeoutError:
            raise Unavailable(f"The database has not answered for {self._patience_s:g} s.") from None

    def _begin(self) -> Future[list[Sample]]:
        reading: Future[list[Sample]] = Future()
        # A daemon, since a read that hangs must not keep the process from ending.
        threading.Thread(
            target=self._read, args=(reading,), name="tidegate-metrics-store", daemon=True
        ).start()
        return reading

    def _read(self, reading: Future[list[Sample]]) -> None:
        try:
            reading.set_result(list(self._look()))
        except Exception as error:  # noqa: BLE001 - who waits is told
            reading.set_exception(error)

    def _look(self) -> Iterator[Sample]:
        yield from _queues(self._store)
        yield from _workers(self._store.workers(), self._clock.now())
        running = {attempt.key.job_id for attempt in self._store.live() if attempt.running}
        yield Sample("sql_linting_active_jobs", len(running))
        alerts = Counter((alert.rule, alert.level.word) for alert in self._store.open_alerts())
        for (rule, level), count in alerts.items():
            yield Sample("tidegate_alerts", count, (rule, level))


def _queues(store: Store) -> Iterator[Sample]:
    for queue in store.queues():
        labels = (queue.name,)
        yield Sample("tidegate_queue_waiting_tasks", queue.waiting, labels)
        yield Sample("tidegate_queue_running_tasks", queue.running, labels)
        yield Sample("tidegate_queue_paused", float(queue.paused), labels)


def _workers(workers: Sequence[WorkerRecord], now: datetime) -> Iterator[Sample]:
    states = Counter(_state(worker, now) for worker in workers if worker.present)
    for state in ("online", "draining", "silent"):
        yield Sample("tidegate_workers", states[state], (state,))
    for worker in workers:
        if worker.present:
            yield from _worker(worker, now)


def _state(worker: WorkerRecord, now: datetime) -> str:
    if worker.lease_until <= now:
        return "silent"
    return "draining" if worker.draining else "online"


def _worker(worker: WorkerRecord, now: datetime) -> Iterator[Sample]:
    labels = (worker.id,)
    for state, amounts in (
        ("allocatable", worker.allocatable),
        ("allocated", worker.allocated),
        ("available", _left(worker)),
    ):
        yield Sample(f"tidegate_worker_{state}_cpus", amounts.cpu_milli / 1000, labels)
        yield Sample(f"tidegate_worker_{state}_memory_bytes", amounts.memory_bytes, labels)
        yield Sample(f"tidegate_worker_{state}_disk_bytes", amounts.disk_bytes, labels)
    yield Sample("tidegate_worker_running_attempts", worker.running, labels)
    yield Sample("tidegate_worker_silent_seconds", max((now - worker.beat_at).total_seconds(), 0.0), labels)
    yield Sample("tidegate_worker_pressure_level", int(worker.level), labels)


def _left(worker: WorkerRecord) -> Resources:
    offered, held = worker.allocatable, worker.allocated
    return Resources(
        max(offered.cpu_milli - held.cpu_milli, 0),
        max(offered.memory_bytes - held.memory_bytes, 0),
        max(offered.disk_bytes - held.disk_bytes, 0),
    )


def of_the_server(
    cycle: Cycle,
    leader: Leadership,
    supervisor: Supervisor,
    clock: Clock,
    pools: Callable[[], Sequence[PoolStats]],
) -> Callable[[], Iterator[Sample]]:
    """What this process knows by itself: the line, who leads, its parts, its connections. Does not block."""

    def look() -> Iterator[Sample]:
        now = clock.now()
        for queue, since in cycle.oldest().items():
            waited_s = max((now - since).total_seconds(), 0.0)
            yield Sample("tidegate_queue_oldest_wait_seconds", waited_s, (queue,))
        yield Sample("tidegate_leader", float(leader.leads))
        yield Sample("tidegate_safe_mode", float(supervisor.state.mode is Mode.SAFE))
        for part in supervisor.parts():
            yield Sample("tidegate_part_up", float(part.fault is None), (part.name,))
        for pool in pools():
            most = pool.size + pool.max_overflow
            yield Sample("tidegate_store_connections", pool.checked_out, (pool.engine, "used"))
            yield Sample("tidegate_store_connections", max(most - pool.checked_out, 0), (pool.engine, "free"))

    return look


__all__ = ["StoreFigures", "of_the_server"]
