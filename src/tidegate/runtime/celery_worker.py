"""`tidegate worker`: a Celery worker around the worker of this machine.

Celery brings messages, shows what runs and carries control commands. The attempts run in sandboxes that the `Worker` starts;
the thread of a Celery task only waits until those of its message have ended, so that `celery inspect active` and Flower show
real work. Sandboxes are forked from the zygote, which is started by exec: threads here do not matter to them.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from celery import bootsteps, signals
from celery.apps.worker import Worker as CeleryProgram
from celery.exceptions import SecurityWarning
from celery.worker import state as celery_state
from celery.worker.control import control_command, inspect_command

from tidegate.core.job import AttemptKey
from tidegate.runtime.celery import (
    CANCEL_COMMAND,
    RESET_COMMAND,
    RESTART_COMMAND,
    RUN_TASK,
    make_app,
    node_name,
    starts_of,
    worker_queue,
)
from tidegate.runtime.worker import AttemptWatcher, Worker

log = logging.getLogger("tidegate.celery")

MOST_MESSAGES = 2000
"""Messages whose attempts may run at a time. A thread that waits costs little; messages beyond wait in the broker."""
LOOK_AGAIN_S = 30.0
"""How often a waiting thread looks whether its generation is still the worker's: of an older one nobody tells any more."""
FORCED_AFTER_S = 10.0
"""A second signal ends the process after this long, even where a dead connection holds it."""


class _Batch:
    """The attempts of one message that have not ended."""

    def __init__(self, keys: Iterable[AttemptKey]) -> None:
        self.open = set(keys)
        self.over = threading.Event()
        if not self.open:
            self.over.set()


class Batches:
    """Lets the thread of each message wait for its attempts. Stands between the worker and whoever else watches it."""

    def __init__(self, watcher: AttemptWatcher) -> None:
        self._watcher = watcher
        self._lock = threading.Lock()
        self._of: dict[AttemptKey, _Batch] = {}
        self._closed = False

    def moved(self, key: AttemptKey, share: float | None, peak_memory_bytes: int) -> None:
        self._watcher.moved(key, share, peak_memory_bytes)

    def ended(self, key: AttemptKey) -> None:
        self._watcher.ended(key)
        self._settle([key])

    def refused(self, keys: Sequence[AttemptKey]) -> None:
        self._watcher.refused(keys)
        self._settle(keys)

    def open(self, keys: Iterable[AttemptKey]) -> _Batch:
        """A batch of those that no other open batch has: a message may come twice."""
        with self._lock:
            batch = _Batch(() if self._closed else (key for key in keys if key not in self._of))
            self._of.update(dict.fromkeys(batch.open, batch))
            return batch

    def wait(self, batch: _Batch, still_valid: Callable[[], bool]) -> None:
        """Until all of it has ended, or nobody will tell any more."""
        while not batch.over.wait(LOOK_AGAIN_S):
            if not still_valid():
                self._settle(list(batch.open))

    def close(self) -> None:
        """Let everyone go who waits."""
        with self._lock:
            self._closed = True
            keys = list(self._of)
        self._settle(keys)

    def _settle(self, keys: Iterable[AttemptKey]) -> None:
        with self._lock:
            for key in keys:
                batch = self._of.pop(key, None)
                if batch is not None:
                    batch.open.discard(key)
                    if not batch.open:
                        batch.over.set()


class _Program(CeleryProgram):
    """Celery's worker program, but for signals and output, which are ours."""

    tidegate: CeleryWorker

    def install_platform_tweaks(self, worker: Any) -> None:
        """Signals are handled by `CeleryWorker`."""

    def set_process_status(self, info: str) -> None:
        """The process keeps its name."""

    def on_consumer_ready(self, consumer: Any) -> None:
        super().on_consumer_ready(consumer)
        self.tidegate.ready()


class _WorkerStep(bootsteps.StartStopStep):
    """Starts the worker when the pool is there, and drains it before the pool is waited for."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        parent.tidegate.begin()

    def stop(self, parent: Any) -> None:
        parent.tidegate.drain()

    terminate = stop


class CeleryWorker:
    """Runs a worker under Celery until it is told to stop.

    `make_worker` is given the watcher it has to tell of attempts. `before_drain` is called when the stop begins, so that
    nothing more is placed here. `cluster` is the name by which cancels of this installation are known.
    """

    def __init__(
        self,
        broker_url: str,
        make_worker: Callable[[AttemptWatcher], Worker],
        watcher: AttemptWatcher,
        *,
        cluster: str,
        grace_s: float,
        before_drain: Callable[[], None],
        announce: Callable[[], None],
    ) -> None:
        self.cluster = cluster
        self.ready = announce
        self._batches = Batches(watcher)
        self.worker = make_worker(self._batches)
        self._app = make_app(broker_url)
        self._grace_s = grace_s
        self._before_drain = before_drain
        self._failure: Exception | None = None
        self._asked = 0

    def run(self) -> int:
        """Work until SIGINT, SIGTERM or `celery control shutdown`; the exit status. Raises what kept it from starting."""
        signals.setup_logging.connect(_keep_logging)
        program = self._program()
        earlier = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            program.start()
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)
        if self._failure is not None:
            raise self._failure
        return int(program.exitcode or 0)

    def begin(self) -> None:
        try:
            self.worker.start()
        except Exception as failure:  # noqa: BLE001 - `run` raises it; Celery would only log it
            self._failure = failure
            raise SystemExit(1) from None

    def drain(self) -> None:
        """Give running attempts their grace, put back what did not finish, let the waiting threads go."""
        if not self.worker.alive:
            return
        try:
            self._before_drain()
        except Exception:
            log.exception(
                "The store could not be told of the drain; what is still placed here is found by its lease."
            )
        self.worker.stop(self._grace_s if self._asked < 2 else 0.0)
        self._batches.close()

    def run_batch(self, generation: int, keys: Sequence[Sequence[int]]) -> None:
        """The body of `tidegate.run`."""
        starts = starts_of(self.worker.info.id, generation, keys)
        batch = self._batches.open(start.key for start in starts)
        self.worker.launch([start for start in starts if start.key in batch.open])
        self._batches.wait(batch, lambda: generation == self.worker.generation)

    def _program(self) -> _Program:
        app = self._app
        app.steps["worker"].add(_WorkerStep)
        app.task(self.run_batch, name=RUN_TASK, ignore_result=True, acks_late=False)
        worker_id = self.worker.info.id
        app.conf.task_queues = [worker_queue(worker_id)]
        _Program.tidegate = self
        # Nothing but JSON is accepted, so what a message says cannot run as code, whoever runs this.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        return _Program(
            app=app,
            hostname=node_name(worker_id),
            concurrency=MOST_MESSAGES,
            quiet=True,
            without_gossip=True,
            without_mingle=True,
        )

    def _ask(self, number: int, frame: object) -> None:
        self._asked += 1
        if self._asked == 1:
            celery_state.should_stop = 0
        else:
            # Not here: the thread that was interrupted may hold what is needed.
            threading.Thread(target=self._hurry, name="tidegate-hurry", daemon=True).start()

    def _hurry(self) -> None:
        forced = threading.Timer(FORCED_AFTER_S, os._exit, (1,))
        forced.daemon = True
        forced.start()
        self.worker.hurry()


@control_command(name=CANCEL_COMMAND, signature="cluster [[job, task, attempt], ...]")
def cancel(state: Any, cluster: str, keys: Sequence[Sequence[int]], **_: Any) -> dict[str, str]:
    """End attempts that run here."""
    ours = state.consumer.controller.tidegate
    if cluster == ours.cluster:
        ours.worker.cancel([AttemptKey(*key) for key in keys])
    return {"ok": "told"}


@control_command(name=RESTART_COMMAND)
def restart_pool(state: Any, **_: Any) -> dict[str, str]:
    """Start the processes of the sandboxes anew, once nothing runs."""
    state.consumer.controller.tidegate.worker.restart_pool()
    return {"ok": "told"}


@control_command(name=RESET_COMMAND)
def reset_stats(state: Any, **_: Any) -> dict[str, str]:
    """Count tasks from 0 again."""
    state.consumer.controller.tidegate.worker.reset_stats()
    return {"ok": "told"}


@inspect_command(name="tidegate_worker")
def describe(state: Any, **_: Any) -> dict[str, Any]:
    """What the worker offers and how many attempts it runs."""
    worker = state.consumer.controller.tidegate.worker
    offered = worker.info.allocatable
    return {
        "worker": worker.info.id,
        "generation": worker.generation,
        "running": worker.running,
        "cpu_milli": offered.cpu_milli,
        "memory_bytes": offered.memory_bytes,
        "disk_bytes": offered.disk_bytes,
    }


def _keep_logging(**_: Any) -> None:
    """To be connected is enough: Celery then leaves the logging as it is."""


__all__ = ["Batches", "CeleryWorker"]
