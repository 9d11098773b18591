"""Celery as a doorbell: how starts and cancels get from a server to the workers.

The database is the truth. A message names attempts and is acknowledged when it is received; the worker claims them in the
database, so that a message that comes twice or too late changes nothing, and one that got lost is sent again from there.
Celery's retries, results and canvas are not used. This file and `celery_worker` are the only ones that know Celery.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError

from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.resources import Resources
from tidegate.errors import Unavailable

log = logging.getLogger("tidegate.celery")

RUN_TASK = "tidegate.run"
CANCEL_COMMAND = "tidegate_cancel"
RESTART_COMMAND = "tidegate_restart_pool"
RESET_COMMAND = "tidegate_reset_stats"
MOST_IN_MESSAGE = 500
MOST_KEPT = 20_000
"""Starts or cancels that are kept while the broker is away. Starts beyond are sent again from the store, of cancels the
workers hear with their next beat."""
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 2.0
_QUEUE_EXPIRES_S = 3600
_VISIBILITY_S = 24 * 3600
"""Messages are acknowledged when they are received, so nothing should ever be given back for having taken long. With the
default of an hour Redis would."""
_SOCKET_S = 5.0

_Key = list[int]


def make_app(broker_url: str) -> Celery:
    """The Celery application of servers and workers."""
    app = Celery("tidegate", broker=broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=False,
        task_default_queue="tidegate",
        worker_pool="threads",
        worker_prefetch_multiplier=1,
        worker_disable_rate_limits=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=_SOCKET_S,
        broker_transport_options=_transport_options(broker_url),
    )
    return app


def _transport_options(broker_url: str) -> Mapping[str, Any]:
    if broker_url.startswith(("redis", "sentinel", "valkey", "socket")):
        return {
            "visibility_timeout": _VISIBILITY_S,
            "socket_connect_timeout": _SOCKET_S,
            "socket_keepalive": True,
            "health_check_interval": 10,
        }
    return {"confirm_publish": True}


def queue_name(worker_id: str) -> str:
    """The queue that only this worker listens to."""
    return f"tidegate.worker.{worker_id}"


def worker_queue(worker_id: str) -> Queue:
    """The same on both sides, since RabbitMQ refuses a queue that is declared in two ways. Goes an hour after its worker.

    Messages have no time to live: that would compare the clocks of two machines. A stale one is refused by the store.
    """
    name = queue_name(worker_id)
    return Queue(name, Exchange("tidegate", type="direct"), routing_key=name, expires=_QUEUE_EXPIRES_S)


def node_name(worker_id: str) -> str:
    """What Celery calls the worker."""
    return f"tidegate@{worker_id}"


def message_of(generation: int, keys: Iterable[AttemptKey]) -> tuple[int, list[_Key]]:
    """The arguments of `tidegate.run`: `[generation, [[job, task, attempt], ...]]`."""
    return generation, [list(key) for key in keys]


def starts_of(worker_id: str, generation: int, keys: Iterable[Sequence[int]]) -> list[Start]:
    """The starts that a message names. What they are and may use is told by the store when they are claimed."""
    return [Start(AttemptKey(*key), "", worker_id, generation, Resources()) for key in keys]


class CeleryLauncher:
    """Sends starts to the queues of their workers and cancels to all, on a thread of its own.

    Neither call waits for the broker. While it is away what came is kept, up to a bound, and tried again. `cluster` keeps
    cancels apart from those of another installation on the same broker.
    """

    def __init__(self, broker_url: str, *, cluster: str) -> None:
        self._app = make_app(broker_url)
        self._cluster = cluster
        self._lock = threading.Condition()
        self._starts: list[Start] = []
        self._cancels: dict[AttemptKey, None] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="tidegate-launcher", daemon=True)
        self._thread.start()

    def launch(self, starts: Sequence[Start]) -> None:
        with self._lock:
            self._starts += starts
            self._lock.notify()

    def cancel(self, keys: Sequence[AttemptKey]) -> None:
        with self._lock:
            self._cancels.update(dict.fromkeys(keys))
            self._lock.notify()

    def close(self) -> None:
        """Send what came, if the broker takes it, and end."""
        with self._lock:
            self._stopping = True
            self._lock.notify()
        self._thread.join()

    def _run(self) -> None:
        connection: Connection | None = None
        delay_s = 0.0
        while self._wait(delay_s):
            starts, cancels = self._take()
            try:
                connection = connection or self._app.connection_for_write()
                self._send(connection, starts, cancels)
                delay_s = 0.0
            except Exception as error:  # noqa: BLE001 - whatever a transport raises: it is tried again
                self._keep(starts, cancels)
                _discard(connection)
                connection = None
                # An idle connection may have been closed by the other side: the first try again follows at once.
                delay_s = min(max(2 * delay_s, FIRST_DELAY_S), LONGEST_DELAY_S)
                log.warning("The broker could not be reached: %s. Trying again in %g s.", error, delay_s)
                if self._stopping:
                    break
        _discard(connection)

    def _wait(self, delay_s: float) -> bool:
        """Until there is something to send, and `delay_s` have passed. False when it is time to end."""
        with self._lock:
            if delay_s:
                self._lock.wait_for(lambda: self._stopping, delay_s)
            self._lock.wait_for(lambda: self._starts or self._cancels or self._stopping)
            return bool(self._starts or self._cancels)

    def _take(self) -> tuple[list[Start], list[AttemptKey]]:
        with self._lock:
            starts, self._starts = self._starts, []
            cancels, self._cancels = list(self._cancels), {}
            return starts, cancels

    def _keep(self, starts: list[Start], cancels: list[AttemptKey]) -> None:
        with self._lock:
            self._starts = (starts + self._starts)[-MOST_KEPT:]
            self._cancels = dict.fromkeys([*cancels, *self._cancels][-MOST_KEPT:])

    def _send(self, connection: Connection, starts: list[Start], cancels: list[AttemptKey]) -> None:
        producer = self._app.amqp.Producer(connection)
        for (worker_id, generation), sandboxes in _by_worker(starts).items():
            for batch in _messages(sandboxes):
                self._app.send_task(
                    RUN_TASK,
                    message_of(generation, batch),
                    producer=producer,
                    queue=worker_queue(worker_id),
                    ignore_result=True,
                    retry=False,
                )
        for batch in _messages([key] for key in cancels):
            arguments = {"cluster": self._cluster, "keys": [list(key) for key in batch]}
            self._app.control.broadcast(CANCEL_COMMAND, arguments, connection=connection)


class CeleryControl:
    """What an operator asks of workers from afar."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._app = make_app(broker_url)

    def stop(self, worker_id: str) -> None:
        """Tell a worker to drain and end. Raises Unavailable when the broker does not answer."""
        self._tell(worker_id, "shutdown")

    def restart_pool(self, worker_id: str) -> None:
        """Celery's own `pool_restart` would restart the threads that only wait. Raises Unavailable."""
        self._tell(worker_id, RESTART_COMMAND)

    def reset_stats(self, worker_id: str) -> None:
        """Raises Unavailable."""
        self._tell(worker_id, RESET_COMMAND)

    def stats(self, worker_id: str) -> Mapping[str, Any] | None:
        """Known from its beats: to ask all workers and wait for their answers takes a second."""
        return None

    def fault(self) -> str | None:
        """Why the broker cannot be used; None when it answers."""
        return broker_fault(self._broker_url)

    def _tell(self, worker_id: str, command: str) -> None:
        try:
            with self._app.connection_for_write() as connection:
                self._app.control.broadcast(
                    command, destination=[node_name(worker_id)], connection=connection
                )
        except OperationalError as error:
            raise Unavailable(
                f"The broker does not answer, so worker {worker_id!r} was not told: {error}."
            ) from None

    def close(self) -> None:
        self._app.close()


def broker_fault(broker_url: str) -> str | None:
    """Why the broker cannot be used; None when it answers within five seconds."""
    started_s = time.monotonic()
    try:
        with make_app(broker_url).connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=_SOCKET_S)
            connection.default_channel.close()
    except Exception as error:  # noqa: BLE001 - whatever is wrong is the answer
        return f"{error} (after {time.monotonic() - started_s:.1f} s)"
    return None


def _by_worker(starts: Iterable[Start]) -> dict[tuple[str, int], list[list[AttemptKey]]]:
    """What each worker is to start, by sandbox: a batch is claimed whole, and so comes whole."""
    groups: dict[tuple[str, int], dict[AttemptKey, list[AttemptKey]]] = {}
    for start in starts:
        sandboxes = groups.setdefault((start.worker_id, start.generation), {})
        sandboxes.setdefault(start.head or start.key, []).append(start.key)
    return {worker: list(sandboxes.values()) for worker, sandboxes in groups.items()}


def _messages(sandboxes: Iterable[Sequence[AttemptKey]]) -> Iterator[list[AttemptKey]]:
    """The attempts of as many sandboxes as go into a message."""
    message: list[AttemptKey] = []
    for keys in sandboxes:
        if message and len(message) + len(keys) > MOST_IN_MESSAGE:
            yield message
            message = []
        message += keys
    if message:
        yield message


def _discard(connection: Connection | None) -> None:
    if connection is not None:
        with contextlib.suppress(Exception):
            connection.collect(socket_timeout=1.0)
