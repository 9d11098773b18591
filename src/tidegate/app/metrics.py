"""What is counted and told by a process, put together from settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tidegate.app.pressure import PressureWatch
from tidegate.runtime.rebirth import Crashed
from tidegate.runtime.worker import Worker
from tidegate.settings import Settings
from tidegate.telemetry.figures import of_pressure
from tidegate.telemetry.meters import Meters, Sample
from tidegate.telemetry.process import of_this_process

if TYPE_CHECKING:
    from tidegate.telemetry.listener import MetricsPort
    from tidegate.telemetry.siblings import Siblings


def process_meters(role: str, settings: Settings) -> Meters:
    """Those of a new process; `role` is `server` or `worker`."""
    meters = Meters(exemplars=settings.metrics_exemplars)
    meters.tell("process", of_this_process(role))
    return meters


def tell_pressure(meters: Meters, watch: PressureWatch) -> None:
    """Levels and readings of this process."""
    machine, service = watch.meter.machine, watch.meter.service
    dials = {"machine": machine.level, "service": service.level}
    meters.tell("pressure", lambda: of_pressure(dials, service.readings()))


def tell_worker(meters: Meters, worker: Worker) -> None:
    """What the worker of this process runs."""

    def look() -> Iterator[Sample]:
        keepers = len(processes) - 1 if (processes := worker.sandbox_processes()) else 0
        yield Sample("tidegate_zygotes", float(bool(processes)))
        yield Sample("tidegate_keepers", keepers)
        yield Sample("tidegate_attempts_running", worker.executor_stats().active)
        yield Sample("tidegate_attempts_memory_bytes", worker.memory_bytes())

    meters.tell("sandboxes", look)


def counting(meters: Meters, crashed: Crashed) -> Crashed:
    """Also count what has crashed."""

    def hear(part: str, what: str) -> float:
        meters.count("tidegate_crashes_total", part)
        return crashed(part, what)

    return hear


def siblings_of_port(port: int, meters: Meters) -> Siblings:
    """The servers that share this port. Raises Unavailable when there are too many."""
    # What a server that has its port to itself does not need.
    from tidegate.telemetry.siblings import Siblings  # noqa: PLC0415

    return Siblings(str(port), "server", meters.samples)


def metrics_port(settings: Settings, meters: Meters, role: str) -> contextlib.AbstractContextManager[object]:
    """Shows them on the port of the settings, if there is one. Raises Unavailable when that cannot be listened on."""
    if settings.metrics_port is None:
        return contextlib.nullcontext()
    return contextlib.closing(_listen(settings.metrics_host, settings.metrics_port, meters, role))


def _listen(host: str, port: int, meters: Meters, role: str) -> MetricsPort:
    # An HTTP server of its own, which a process without that setting does not need.
    from tidegate.telemetry.listener import MetricsPort  # noqa: PLC0415

    return MetricsPort(host, port, meters, role)
