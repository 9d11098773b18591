"""The server: store, scheduler and API in one process, with the worker inside."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from tidegate.api import create_app
from tidegate.app.alerts import Alerting, make_alerting
from tidegate.app.database import open_database
from tidegate.app.duties import make_janitor, make_rescue
from tidegate.app.folders import database_of, hold, instance_of, open_folders, root_of
from tidegate.app.leading import make_leader, wait_to_lead
from tidegate.app.metrics import (
    metrics_port,
    process_meters,
    siblings_of_port,
    tell_pressure,
    tell_worker,
)
from tidegate.app.pressure import PressureWatch
from tidegate.app.readiness import check_readiness
from tidegate.app.rules import make_rules
from tidegate.app.wiring import rate_limiter, wire
from tidegate.app.wiring import tracing as make_tracing
from tidegate.app.worker import make_worker
from tidegate.cache.feed import fed
from tidegate.cache.local import LocalLedgerCache
from tidegate.core.names import DEFAULT_QUEUE
from tidegate.core.plan import Start
from tidegate.core.readings import Readings
from tidegate.errors import Unavailable
from tidegate.ports import Clock, ExecutorStats, Launcher, LedgerCache, Sensor, Store, WorkerControl, Workload
from tidegate.runtime.bell import LocalBell
from tidegate.runtime.clock import DatabaseClock, SystemClock
from tidegate.runtime.executors.manager import ExecutorManager
from tidegate.runtime.host import MachineHost
from tidegate.runtime.local import LocalControl, LocalLauncher
from tidegate.runtime.probe import MachineProbe
from tidegate.runtime.publish import DataFolders
from tidegate.runtime.readings.loop_lag import LoopLag
from tidegate.runtime.worker import Worker
from tidegate.server.cycle import Cycle
from tidegate.server.doorkeeper import check_door
from tidegate.server.drain import DrainMeter
from tidegate.server.following import LOOK_AGAIN_S
from tidegate.server.holding import Holding
from tidegate.server.intake import Intake
from tidegate.server.kept import PartHealth
from tidegate.server.leader import Leader, led
from tidegate.server.metrics import of_the_server
from tidegate.server.pressure import Pressure, Shed
from tidegate.server.progress import ProgressBoard
from tidegate.server.service import Service
from tidegate.server.services.audit import AuditLedger
from tidegate.server.services.duty import Duty, DutyRunner
from tidegate.server.services.ledger import KeepLedger
from tidegate.server.services.resend import Resend
from tidegate.server.services.usage import CountUsage
from tidegate.server.services.wake import Wake
from tidegate.server.sojourn import Sojourns
from tidegate.server.supervisor import Supervisor
from tidegate.server.tracing import PlanSpans
from tidegate.settings import Settings
from tidegate.store import SqlStore
from tidegate.telemetry.counted import counted
from tidegate.telemetry.pages import Pages
from tidegate.telemetry.tracing import Tracing
from tidegate.workloads.registry import load_workloads

if TYPE_CHECKING:
    from tidegate.telemetry.siblings import Siblings

LOCAL_WORKER = "local"
LOOK_AGAIN_UNTOLD_S = 1.0
"""How often those who wait look in a cluster without Redis, where nobody can tell them."""
GC_THRESHOLDS = (20_000, 50, 100)
"""A full collection with 100,000 waiting tasks takes 80 ms, in which no request is answered. Python's defaults begin one
every few seconds under load; the program makes few cycles, so they may be rarer."""


class Server:
    """A server: store, scheduler and API in one process.

    Embedded, its worker is inside and its sandboxes beside it. In a cluster (`broker_url`) workers are on other machines, and
    any number of servers share database, folder and workers. `launcher` replaces the worker inside, for tests and
    benchmarks of the machinery without the work. `sensors` replace those of this machine.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        launcher: Callable[[Any], Launcher] | None = None,
        sensors: Sequence[Sensor] | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.settings = settings
        self.tracing = make_tracing(settings, "server") if tracing is None else tracing
        self.folders = DataFolders(root_of(settings))
        self.clock: Clock = SystemClock()
        self.clustered = settings.broker_url is not None and launcher is None
        self.meters = process_meters("server", settings)
        self._closing = contextlib.ExitStack()
        self._make_launcher = launcher
        self._wires = wire(settings) if self.clustered else None
        self.bell = self._wires.bell if self._wires else LocalBell()
        self.worker: Worker | None = None
        self.ledger: LedgerCache | None = None
        self._sensors = sensors
        self._hurried = False

    def start(self) -> FastAPI:
        """Open the data directory, recover what an earlier server left, begin to schedule; the API's application.

        Raises Unavailable when another server uses the data directory.
        """
        try:
            return self._start()
        except BaseException:
            self._closing.close()
            raise

    def stop(self) -> None:
        """Refuse new work, give running attempts their grace, put back what did not finish, close everything."""
        self._closing.close()

    def hurry(self) -> None:
        """End the grace that `stop` gives, or will give, to running attempts. Safe in a signal handler."""
        self._hurried = True
        if self.worker is not None:
            self.worker.hurry()

    def _stop_worker(self, worker: Worker) -> None:
        worker.stop(0.0 if self._hurried else self.settings.grace_s)

    def _start(self) -> FastAPI:
        self._closing.callback(self.tracing.close)
        if self._wires is not None:
            self._closing.callback(self._wires.close)
        self._open_folders()
        workloads = load_workloads()
        store = open_database(self.settings, allow_newer=True)
        self._closing.callback(store.close)
        self.store = counted(self._feed_ledger(store), self.meters)
        self._follow_time()
        check_door(self.settings, self.store, self.clock.now())
        self.store.set_queue(DEFAULT_QUEUE)  # so that it can be paused before its first job comes
        self._siblings = self._join_siblings()
        self.supervisor = self._start_supervising(store)
        drain = DrainMeter(self.clock.monotonic())
        self._watch_pressure()
        board = ProgressBoard(self.bell)
        leader = self._start_leading()
        launcher = self._join_cluster(board) if self._wires else self._start_worker(board, workloads)
        host = MachineHost(
            self.folders.root, MachineProbe(self.folders.root), shared=self.settings.broker_url is not None
        )
        alerting = make_alerting(self.settings, self.store, self.clock, leader, host)
        self._start_duties(launcher, leader, alerting)
        self._start_cycle(launcher, leader, drain)
        intake = self._start_intake(workloads, drain)
        self.service = Service(
            settings=self.settings,
            store=self.store,
            intake=intake,
            cycle=self.cycle,
            launcher=launcher,
            bell=self.bell,
            clock=self.clock,
            board=board,
            workloads=workloads,
            logs=self.folders.logs,
            checks=functools.partial(
                check_readiness, self.store, self.supervisor, self.worker, self.folders.root
            ),
            supervisor=self.supervisor,
            control=self._control(),
            host=host,
            alerts=alerting.desk,
            executors=self._executors,
            pools=store.pools,
            ledger=self.ledger,
            rates=rate_limiter(self.settings),
            look_again_s=LOOK_AGAIN_S if self._rings_everywhere else LOOK_AGAIN_UNTOLD_S,
            pressure=Pressure(
                self.pressure.meter.service,
                self.store,
                self.clock,
                self.pressure.base,
                self.pressure.meter.use,
            ),
            meters=self.meters,
            pages=Pages(self.meters, self._siblings),
            tracing=self.tracing,
            sojourns=self.sojourns,
        )
        self._closing.callback(self.service.close)
        self._tell_metrics(leader)
        app = create_app(self.service)
        self.pressure.start()
        _collect_garbage_rarely()
        return app

    def _start_cycle(self, launcher: Launcher, leader: Leader, drain: DrainMeter) -> None:
        """The first pass is over when the API opens."""
        self.cycle = Cycle(
            self.store,
            launcher,
            self.bell,
            self.clock,
            leader,
            drain=drain,
            claim=not self.clustered,
            holding=self._holding(),
            supervisor=self.supervisor,
            passed=functools.partial(self.meters.observe, "tidegate_cycle_pass_seconds"),
            told=self._plan_spans(),
        )
        self.cycle.run_once()
        self.cycle.start()
        self._closing.callback(self.cycle.stop)
        if self.worker is not None:
            self.worker.when_room(self.cycle.pass_here)

    def _start_intake(self, workloads: Mapping[str, Workload], drain: DrainMeter) -> Intake:
        rules = make_rules(self.settings, workloads, self.folders.root, self.store)
        intake = Intake(
            self.store,
            self.cycle,
            rules,
            self.bell,
            self.clock,
            drain,
            self.settings.max_waiting,
            shed=Shed(self.pressure.meter.service, self._expected_wait(drain)),
            supervisor=self.supervisor,
            refused=functools.partial(self.meters.count, "tidegate_submissions_refused_total"),
            sojourn=self.sojourns.intake,
        )
        intake.start()
        self._closing.callback(intake.stop)
        return intake

    def _plan_spans(self) -> Callable[[Sequence[Start], datetime, datetime, datetime], None] | None:
        if not self.tracing.on:
            return None
        spans = PlanSpans(self.tracing, self.store)
        self._closing.callback(spans.close)
        return spans.started

    def _join_siblings(self) -> Siblings | None:
        if not self.settings.share_port:
            return None
        siblings = siblings_of_port(self.settings.port, self.meters)
        self._closing.callback(siblings.close)
        return siblings

    @property
    def _number(self) -> str:
        """What tells this server from those it shares a port with, at the end of a name."""
        return "" if self._siblings is None else f"/{self._siblings.number}"

    def _tell_metrics(self, leader: Leader) -> None:
        own = of_the_server(self.cycle, leader, self.supervisor, self.clock, self.service.pools)
        self.meters.tell("server", own)
        tell_pressure(self.meters, self.pressure)
        if self.worker is not None:
            tell_worker(self.meters, self.worker)
        self._closing.enter_context(metrics_port(self.settings, self.meters, "server"))

    def _watch_pressure(self) -> None:
        self.loop_lag, self.sojourns = LoopLag(), Sojourns()
        redis = None if self._wires is None else self._wires.redis_ping()
        self.pressure = PressureWatch(
            self.settings,
            self.folders.root,
            self.store,
            self.clock,
            f"server:{socket.gethostname()}{self._number}",
            sensors=self._sensors,
            redis=redis,
        )
        self._closing.callback(self.pressure.close)
        if self._sensors is None:
            self.pressure.meter.add_sensor(self.loop_lag)
            self.pressure.meter.add_sensor(self.sojourns)

    def _holding(self) -> Holding:
        machine = self.pressure.meter.machine

        def felt() -> Mapping[str, Readings]:
            return {record.id: record.readings for record in self.store.workers()}

        return Holding(machine, machine.rules, self.clock, felt, watch_only=machine.watch_only)

    def _expected_wait(self, drain: DrainMeter) -> Callable[[], float]:
        """Seconds until what waits now has begun, at the rate of the last minute; asked when something is refused."""
        return lambda: drain.retry_after_s(max(self.cycle.waiting(), 1), self.clock.monotonic())

    def _open_folders(self) -> None:
        open_folders(self.folders)
        if not self.clustered:
            self._closing.callback(hold(self.folders.root).close)

    def _feed_ledger(self, store: Store) -> Store:
        """The store, whose commits are told to the ledger's cache: in this process, or that of the cluster, if any."""
        if self._wires is not None:
            self.ledger = self._wires.ledger
            return self._wires.fed(store)
        self.ledger = cache = LocalLedgerCache()
        return fed(store, cache)

    @property
    def _rings_everywhere(self) -> bool:
        """Whether the bell is heard by all who have to hear it."""
        return not self.clustered or self.settings.redis_url is not None

    def _join_cluster(self, board: ProgressBoard) -> Launcher:
        assert self._wires is not None
        self._wires.show_progress(board)
        return self._wires.launcher()

    def _start_worker(self, board: ProgressBoard, workloads: Mapping[str, Workload]) -> Launcher:
        if self._make_launcher is not None:
            return self._make_launcher(self)
        self.worker = make_worker(
            self.settings,
            LOCAL_WORKER,
            instance=instance_of(self.folders.root),
            store=self.store,
            folders=self.folders,
            bell=self.bell,
            clock=self.clock,
            watcher=board,
            workloads=workloads,
            pressure=self.pressure,
        )
        self.worker.when_crashed(self.supervisor.crashed)
        self.worker.trace_by(self.tracing)
        self.supervisor.watch("worker", self._worker_health)
        self.worker.start()
        self._closing.callback(self._stop_worker, self.worker)
        return LocalLauncher(self.worker)

    def _worker_health(self) -> PartHealth:
        assert self.worker is not None
        return PartHealth("worker", self.worker.alive or not self.worker.began)

    def _control(self) -> WorkerControl | None:
        if self._wires is not None:
            return self._wires.control()
        return LocalControl(self.worker, self.settings.grace_s) if self.worker is not None else None

    def _follow_time(self) -> None:
        """Who shares a database shares its clock."""
        if not database_of(self.settings).startswith("sqlite"):
            self.clock = clock = DatabaseClock(self.store.time, resync_s=self.settings.beat_s)
            clock.start()
            self._closing.callback(clock.stop)

    def _start_supervising(self, store: SqlStore) -> Supervisor:
        """A server that was killed and started again knows so by its place: of a cluster's servers by host and port, and of
        those that share a port by their number, too, or each would take the one beside it for its own last run."""
        port = f":{self.settings.port or os.getpid()}" if self.clustered else ""
        supervisor = Supervisor(
            self.store,
            self.bell,
            self.clock,
            f"server {socket.gethostname()}{port}{self._number}",
            most_crashes=self.settings.max_crashes,
            count=functools.partial(self.meters.count, "tidegate_crashes_total"),
        )
        supervisor.start()
        self._closing.callback(supervisor.stop)
        if store.mismatch is not None:
            supervisor.mismatched(store.mismatch)
        return supervisor

    def _start_leading(self) -> Leader:
        leader = make_leader(
            self.settings, self.store, self.bell, self.clock, self.supervisor, clustered=self.clustered
        )
        leader.start()
        self._closing.callback(leader.stop)
        if not self.clustered:
            wait_to_lead(leader, self.settings.leader_lease_s)
        return leader

    def _start_duties(self, launcher: Launcher, leader: Leader, alerting: Alerting) -> None:
        """Recover from an earlier end first."""
        rescue = make_rescue(self.settings, self.store, self.bell, self.clock, leader)
        janitor = make_janitor(self.settings, self.store, self.folders)
        audit = AuditLedger(self.store, self.supervisor)
        if not self.clustered and leader.leads:
            rescue.run_once(self.clock.now())  # nothing runs yet, so whatever is left over is nobody's
            janitor.at_start(self.clock.now())
            audit.run_once(self.clock.now())
        self.supervisor.tell_to(alerting.told.tell)
        alerting.post.start()
        self._closing.callback(alerting.post.stop)
        duties: list[Duty] = [
            rescue,
            Wake(self.store, self.bell, leader),
            alerting.watch,
            audit,
            janitor,
            CountUsage(self.store),
        ]
        if self.ledger is not None:
            duties.append(KeepLedger(self.store, self.ledger, self.clock))
        if self.clustered:
            duties.append(Resend(self.store, launcher, after_s=self.settings.resend_after_s))
        runner = DutyRunner(led(duties, leader), self.clock, self.supervisor)
        runner.start()
        self._closing.callback(runner.stop)

    def _executors(self) -> Mapping[str, ExecutorStats]:
        """The sandboxes of the worker inside, and the executors that the program around the server has open."""
        found = {} if self.worker is None else {"sandboxes": self.worker.executor_stats()}
        with contextlib.suppress(Unavailable):
            found |= ExecutorManager.current().stats()
        return found


def _collect_garbage_rarely() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
