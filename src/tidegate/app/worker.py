"""The worker of this machine, put together from settings."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.metadata import version

from tidegate.app.database import open_database
from tidegate.app.folders import folder_id, hold_name, instance_of, open_folders, open_scratch, root_of
from tidegate.app.kinds import function_modules, target_urls
from tidegate.app.metrics import counting, metrics_port, process_meters, tell_pressure, tell_worker
from tidegate.app.pressure import PressureWatch
from tidegate.app.wiring import tracing, wire
from tidegate.core.names import FUNCTION_MODULES_VARIABLE, INTERACTIVE_QUEUE
from tidegate.core.plan import Start
from tidegate.errors import SettingError
from tidegate.ports import (
    NO_PRESSURE,
    TAKES_BATCHES,
    AttemptStore,
    Bell,
    Clock,
    Draining,
    Probe,
    WorkerInfo,
    Workload,
)
from tidegate.runtime import heap
from tidegate.runtime.bounded import ANSWER_SHARE, LEAST_ANSWER_S, BoundedStore
from tidegate.runtime.clock import DatabaseClock
from tidegate.runtime.lookout import Lookout
from tidegate.runtime.probe import MachineProbe
from tidegate.runtime.publish import DataFolders
from tidegate.runtime.sandbox import Sandboxes
from tidegate.runtime.worker import AttemptWatcher, Worker, WorkerRules
from tidegate.server.resting import OneWorker
from tidegate.server.supervisor import Supervisor
from tidegate.settings import Settings
from tidegate.telemetry.counted import counted
from tidegate.telemetry.logs import configure_logging
from tidegate.workloads.registry import load_workloads

LOOKOUT_EVERY = 3.0
"""How many times `resend_after_s` a start may be old before its worker looks for it by itself."""
_WORKER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def make_worker(
    settings: Settings,
    worker_id: str,
    *,
    instance: str,
    store: AttemptStore,
    folders: DataFolders,
    bell: Bell,
    clock: Clock,
    watcher: AttemptWatcher,
    workloads: Mapping[str, Workload],
    fences: bool = False,
    pressure: PressureWatch | None = None,
) -> Worker:
    """A worker with its sandboxes, not started yet. `fences`: others can run again what it lost contact about.

    `pressure` is what it tells with its beats, and what it is guarded by.
    """
    modules = function_modules(settings)
    scratch = open_scratch(settings, instance)
    sandboxes = Sandboxes(
        instance=instance,
        rung=settings.enforcement,
        yield_cpu=settings.yield_cpu,
        preload=_modules(workloads, on_demand=False),
        on_demand=_modules(workloads, on_demand=True),
        python_path=modules.path,
        modules=modules.warm,
        environment={FUNCTION_MODULES_VARIABLE: ",".join(modules.names)} if modules.names else {},
    )
    rules = WorkerRules(
        beat_s=settings.beat_s,
        lease_s=settings.lease_s,
        max_losses=settings.losses,
        interactive_queue=INTERACTIVE_QUEUE,
        fences=fences,
    )
    worker = Worker(
        store,
        sandboxes,
        folders,
        _describer(settings, worker_id, MachineProbe(folders.root, scratch=scratch), pressure),
        bell,
        clock,
        watcher,
        {kind: workload.runner for kind, workload in workloads.items()},
        rules,
        target_urls(settings).get,
        [kind for kind, workload in workloads.items() if getattr(workload, "expands", False)],
        scratch,
    )
    if pressure is not None:
        pressure.guard(worker)
    return worker


def _modules(workloads: Mapping[str, Workload], *, on_demand: bool) -> list[str]:
    """The runners' modules, of those kinds that are loaded when they are needed or of the others."""
    return sorted(
        {
            workload.runner.partition(":")[0]
            for workload in workloads.values()
            if (getattr(workload, "preload", "") == "on_demand") == on_demand
        }
    )


def work(settings: Settings, name: str | None, *, announce: Callable[[str], None] = print) -> int:
    """Run the worker of this machine in a cluster until it is told to stop; the exit status.

    `announce` gets its name once it is registered and hears the broker. `name` defaults to the host's.
    """
    configure_logging(settings.log_level, settings.log_file, json=None, to=settings.log_to)
    heap.share_arenas()
    if settings.broker_url is None:
        raise SettingError(
            "A worker needs a broker to hear of its jobs: set CELERY_BROKER_URL, DATABASE_URL and NFS_SHARE_ROOT_PATH as its "
            "servers have them. Without a broker `tidegate serve` has its worker inside."
        )
    worker_id = check_worker_name(name or socket.gethostname().lower())
    folders = DataFolders(root_of(settings))
    open_folders(folders)
    with contextlib.ExitStack() as closing:
        closing.callback(hold_name(folders.root, worker_id).close)
        store = open_database(settings)
        closing.callback(store.close)
        clock = DatabaseClock(store.time, resync_s=settings.beat_s)
        clock.start()
        closing.callback(clock.stop)
        wires = wire(settings)
        closing.callback(wires.close)
        meters = process_meters("worker", settings)
        traces = tracing(settings, "worker")
        closing.callback(traces.close)
        bounded = BoundedStore(
            counted(wires.fed(store), meters), max(ANSWER_SHARE * settings.lease_s, LEAST_ANSWER_S)
        )
        closing.callback(bounded.close)

        place = f"worker:{worker_id}"
        pressure = PressureWatch(settings, folders.root, store, clock, place, keeps_samples=False)
        closing.callback(pressure.close)

        own = OneWorker(store, worker_id, clock, wires.bell)
        supervisor = Supervisor(
            own, wires.bell, clock, own.place, most_crashes=settings.max_crashes, subject="This worker"
        )

        def make(watcher: AttemptWatcher) -> Worker:
            made = make_worker(
                settings,
                worker_id,
                instance=instance_of(folders.root, worker_id),
                store=bounded,
                folders=folders,
                bell=wires.bell,
                clock=clock,
                watcher=watcher,
                workloads=load_workloads(),
                fences=True,
                pressure=pressure,
            )
            made.when_crashed(counting(meters, supervisor.crashed))
            tell_worker(meters, made)
            made.trace_by(traces)
            return made

        def leave() -> None:
            store.drain(worker_id, Draining.LEAVING)
            wires.bell.ring("schedule")

        def look() -> list[Start]:
            return store.unclaimed(clock.now() - timedelta(seconds=every_s), worker_id)

        worker = wires.worker(make, leave, lambda: announce(worker_id))
        every_s = LOOKOUT_EVERY * settings.resend_after_s
        lookout = Lookout(look, worker.worker.launch, every_s=every_s)
        lookout.start()
        closing.callback(lookout.close)
        supervisor.start()
        closing.callback(supervisor.stop)
        pressure.start()
        tell_pressure(meters, pressure)
        closing.enter_context(metrics_port(settings, meters, "worker"))
        return worker.run()


def check_worker_name(name: str) -> str:
    """The name, if a worker may have it. Raises SettingError."""
    if not _WORKER_NAME.fullmatch(name):
        raise SettingError(
            f"A worker cannot be named {name!r:.80}: a name has 1 to 63 letters, digits, `-`, `_` and `.`, and begins with "
            "a letter or digit. Choose another --name."
        )
    return name


def _describer(
    settings: Settings, worker_id: str, probe: Probe, pressure: PressureWatch | None
) -> Callable[[], WorkerInfo]:
    shared_path = folder_id(root_of(settings))

    def describe() -> WorkerInfo:
        capacity = probe.capacity()
        return WorkerInfo(
            id=worker_id,
            hostname=socket.gethostname(),
            capacity=capacity,
            allocatable=settings.allocatable(capacity),
            labels=frozenset(settings.labels.items()),
            versions={
                "tidegate": version("tidegate"),
                "python": sys.version.split()[0],
                "shared_path": shared_path,
                **TAKES_BATCHES,
            },
            pressure=NO_PRESSURE if pressure is None else pressure.of_worker(),
        )

    return describe
