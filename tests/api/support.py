"""The real application over a real server socket, with a store and a worker that only plays."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from tidegate.api import create_app
from tidegate.api.admission import Admission
from tidegate.app.alerts import make_alerting
from tidegate.core.alert_rules import Level
from tidegate.core.alerts import Alert, Change, Happening
from tidegate.core.attempt import Assignment, AttemptEnd, Exit, Usage
from tidegate.core.job import TaskOrder
from tidegate.core.resources import GIB, Resources
from tidegate.core.source import Source, SourceColumn
from tidegate.core.states import AttemptState, TaskState
from tidegate.ports import AttemptStore, Bell, Clock, RateLimiter, WorkerInfo
from tidegate.runtime.bell import LocalBell
from tidegate.runtime.clock import SystemClock
from tidegate.runtime.host import MachineHost
from tidegate.runtime.probe import MachineProbe
from tidegate.server.cycle import Cycle
from tidegate.server.drain import DrainMeter
from tidegate.server.intake import Intake
from tidegate.server.judge import Rules
from tidegate.server.progress import ProgressBoard
from tidegate.server.service import Service
from tidegate.settings import Settings
from tidegate.store import open_store
from tidegate.testing.conformance.store_alerts import new_alert
from tidegate.testing.fakes import FakeLauncher, SoleLeader
from tidegate.workloads.registry import load_workloads

WORKER = "local"
OFFERED = Resources(4000, 8 * GIB, 100 * GIB)


@dataclass
class Played:
    """How an attempt ends: with a result (and the source made of it), or with an exit."""

    result: Mapping[str, Any] | None = None
    exit: Exit | None = None
    source: Source | None = None
    new_tasks: Sequence[TaskOrder] = ()


Play = Callable[[Assignment], Played]


class PlayingLauncher(FakeLauncher):
    """A fake launcher whose attempts end as the newest of `plays` says."""

    def __init__(self, store: AttemptStore, clock: Clock, bell: Bell, plays: list[Play]) -> None:
        self._plays = plays
        super().__init__(store, clock, bell, finish=True)

    def _end(self, assignment: Assignment, worker_id: str, generation: int) -> AttemptEnd:
        assert self._clock is not None
        played = self._plays[-1](assignment)
        worked = played.exit is None
        return AttemptEnd(
            assignment.key,
            worker_id,
            generation,
            AttemptState.SUCCEEDED if worked else AttemptState.FAILED,
            self._clock.now(),
            TaskState.SUCCEEDED if worked else TaskState.FAILED,
            exit=played.exit,
            usage=Usage(peak_memory_bytes=1 << 20, cpu_seconds=0.01, wall_seconds=0.02),
            result=played.result,
            source=played.source if worked else None,
            new_tasks=played.new_tasks,
        )


@dataclass
class World:
    """A running API: `url`, a client that speaks to it, and what stands behind."""

    url: str
    http: httpx2.Client
    service: Service
    data_dir: Path
    admission: Admission
    plays: list[Play] = field(default_factory=list)

    def play(self, play: Play) -> None:
        """From now on attempts end like this."""
        self.plays[:] = [play]

    def pause(self, queue: str = "default") -> None:
        """Nothing of the queue starts."""
        assert self.http.put(f"/api/v1/queues/{queue}", json={"paused": True}).status_code == 200

    @contextlib.contextmanager
    def no_pass(self) -> Iterator[None]:
        """The scheduler makes no pass but those that this thread makes."""
        with self.service._cycle._passing:
            yield

    def raise_alert(self, **changes: Any) -> Alert:
        """An alert that is told to all channels."""
        store, now = self.service.store, self.service.clock.now()
        change = Change(new_alert(now, **changes), Happening.RAISED)
        (made,) = store.record_alerts([change], self.channels, store.seize("test", now, 3600.0))
        return made

    @property
    def channels(self) -> dict[str, Level]:
        """From which level on each channel wants to hear."""
        return {channel.name: least for channel, least, _ in self.service.alerts.channels()}

    def submit(self, **fields: Any) -> str:
        answer = self.http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1", **fields})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def finished(self, job_id: str) -> dict[str, Any]:
        job = self.http.get(f"/api/v1/jobs/{job_id}", params={"wait_s": 20}).json()
        assert job["finished_at"], job
        return dict(job)


def as_the_runner_would(data_dir: Path) -> Play:
    """Results as the sql and inspect runners leave them, with made-up content."""

    def play(assignment: Assignment) -> Played:
        columns = [{"name": "answer", "type": "INTEGER"}]
        facts: dict[str, Any] = {"row_count": 1, "column_count": 1, "columns": columns}
        if assignment.kind == "inspect":
            spec = assignment.spec
            return Played({"format": spec["format"], "file_count": 1, "options": spec["options"], **facts})
        output = assignment.spec["output"]
        kind = {"source": "parquet", "inline": "json"}.get(output["kind"], output.get("format"))
        path = data_dir / "results" / f"{assignment.key}.{kind}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"[[42]]" if kind == "json" else f"PAR1 {kind} of {assignment.key}".encode())
        facts |= {"path": str(path), "size_bytes": path.stat().st_size}
        if output["kind"] == "inline":
            return Played({**facts, "truncated": output["max_rows"] == 1})
        if not assignment.result_name:
            return Played(facts)
        return Played({**facts, "source": assignment.result_name}, source=_source(assignment, path))

    return play


def fails_with(exit: Exit) -> Play:
    return lambda assignment: Played(exit=exit)


def _source(assignment: Assignment, path: Path) -> Source:
    return Source(
        name=str(assignment.result_name),
        format="parquet",
        path=str(path),
        owner=assignment.owner,
        created_at=SystemClock().now(),
        columns=(SourceColumn("answer", "INTEGER"),),
        row_count=1,
        size_bytes=path.stat().st_size,
        job_id=assignment.key.job_id,
        sql=assignment.spec.get("sql"),
        managed=True,
    )


@contextlib.contextmanager
def service_in(
    data_dir: Path, rates: RateLimiter | None = None, **settings: Any
) -> Iterator[tuple[Service, list[Play]]]:
    """A service over a real store and scheduler, its attempts ended by the newest of the plays."""
    given = Settings(data_dir=data_dir, **settings)
    data_dir.mkdir(parents=True, exist_ok=True)
    store = open_store(f"sqlite:///{data_dir / 'tidegate.db'}")
    clock, bell = SystemClock(), LocalBell()
    store.register(WorkerInfo(WORKER, "here", OFFERED, OFFERED), clock.now(), 3600.0)
    plays: list[Play] = [as_the_runner_would(data_dir)]
    launcher = PlayingLauncher(store, clock, bell, plays)
    drain = DrainMeter(clock.monotonic())
    cycle = Cycle(store, launcher, bell, clock, SoleLeader(store, clock), drain=drain)
    workloads = load_workloads()
    roots = tuple(map(str, given.source_roots))
    rules = Rules(workloads, str(data_dir), roots, given.default_timeout_s, store.sources_named)
    intake = Intake(store, cycle, rules, bell, clock, drain, given.max_waiting)
    host = MachineHost(data_dir, MachineProbe(data_dir))
    alerting = make_alerting(given, store, clock, SoleLeader(store, clock), host)
    service = Service(
        settings=given, store=store, intake=intake, cycle=cycle, launcher=launcher, bell=bell, clock=clock,
        board=ProgressBoard(bell), host=host, workloads=workloads, logs=data_dir / "logs", checks=lambda: {"store": None},
        pools=store.pools, alerts=alerting.desk, rates=rates,
    )  # fmt: skip
    cycle.run_once()
    cycle.start()
    intake.start()
    alerting.post.start()
    try:
        yield service, plays
    finally:
        alerting.post.stop()
        intake.stop()
        cycle.stop()
        launcher.close()
        service.close()
        store.close()


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """The application behind a real HTTP server on a free port of loopback; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    ready = threading.Event()
    server = _Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False), ready)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        assert ready.wait(10)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()


@contextlib.contextmanager
def world_in(data_dir: Path, **settings: Any) -> Iterator[World]:
    with service_in(data_dir, **settings) as (service, plays):
        app = create_app(service)
        with serving(app) as url, httpx2.Client(base_url=url, timeout=30) as http:
            yield World(url, http, service, data_dir, app.state.admission, plays)


def logged(world: World, caplog: pytest.LogCaptureFixture, text: str) -> str:
    """The access log's line with this text. It is written after the answer: the server is asked other things until then."""
    for _ in range(1000):
        for record in caplog.records:
            if record.name == "tidegate.access" and text in record.getMessage():
                return record.getMessage()
        world.http.get("/api/v1/queues")
    raise AssertionError(f"no line with {text}")


def assert_problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The one shape of every error; gives it back for closer looks."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["type"] == f"urn:tidegate:problem:{code}"
    assert problem["title"]
    assert problem["detail"].endswith((".", ">", "?", "!")), problem["detail"]
    assert isinstance(problem["numbers"], dict)
    for name in ("field", "asked", "limit", "retry_after_s"):
        assert problem.get(name) == problem["numbers"].get(name)
    assert answer.headers["x-request-id"]
    return problem
