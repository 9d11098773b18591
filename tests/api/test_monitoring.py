"""Monitoring and health: the names that others rely on, and what they mean."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import tidegate
from tests.api.support import WORKER, Played, World, assert_problem, world_in
from tidegate.core.identity import Action
from tidegate.errors import Unavailable
from tidegate.ports import AuditFilter, WorkerInfo
from tidegate.server import monitor
from tidegate.testing.fakes import FakeClock

WORKERS = "/api/v1/monitoring/workers"
WORKER_FIELDS = {
    "worker_name", "status", "active_tasks", "current_tasks", "total_tasks", "pool_implementation", "pool_processes",
    "rusage", "registered_tasks",
}  # fmt: skip


class Told:
    """A control that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.away = False
        self.wrong: str | None = None

    def stop(self, worker_id: str) -> None:
        self._tell("stop", worker_id)

    def restart_pool(self, worker_id: str) -> None:
        self._tell("restart_pool", worker_id)

    def reset_stats(self, worker_id: str) -> None:
        self._tell("reset_stats", worker_id)

    def stats(self, worker_id: str) -> Mapping[str, Any] | None:
        return None

    def fault(self) -> str | None:
        return self.wrong

    def _tell(self, what: str, worker_id: str) -> None:
        if self.away:
            raise Unavailable("The broker does not answer.")
        self.told.append((what, worker_id))


def with_control(world: World) -> Told:
    told = Told()
    world.service.workers._control = told
    world.service.monitor._control = told
    return told


def test_the_overview_has_the_names_of_the_contract(world: World):
    body = world.http.get(WORKERS).json()
    assert {"timestamp", "total_workers", "online_workers", "workers", "queues"} <= set(body)
    assert (body["total_workers"], body["online_workers"]) == (1, 1)
    (worker,) = body["workers"]
    assert set(worker) >= WORKER_FIELDS
    assert (worker["worker_name"], worker["status"], worker["active_tasks"]) == (WORKER, "online", 0)
    world.http.put("/api/v1/queues/etl", json={"paused": True})
    for queues in (
        world.http.get(WORKERS).json()["queues"],
        world.http.get("/api/v1/monitoring/queues").json()["queues"],
    ):
        assert {"name": "etl", "length": 0, "status": "paused", "running": 0} in queues


def test_what_runs_is_shown_while_it_runs(world: World):
    runs, go_on = threading.Event(), threading.Event()

    def slow(assignment: Any) -> Played:
        runs.set()
        assert go_on.wait(20)
        return Played({"row_count": 1})

    world.play(slow)
    job_id = world.submit()
    try:
        assert runs.wait(20)
        (worker,) = world.http.get(WORKERS).json()["workers"]
        one = world.http.get(f"{WORKERS}/{WORKER}").json()
        queues = {
            queue["name"]: queue for queue in world.http.get("/api/v1/monitoring/queues").json()["queues"]
        }
    finally:
        go_on.set()
    assert worker["active_tasks"] == 1
    assert [task["task_id"] for task in worker["current_tasks"]] == [f"{job_id}.1"]
    assert [(task["job_id"], task["kind"]) for task in one["active"]] == [(job_id, "sql")]
    assert (one["scheduled"], one["reserved"]) == ([], [])
    assert queues["default"]["running"] == 1
    world.finished(job_id)
    (worker,) = world.http.get(WORKERS).json()["workers"]
    assert (worker["active_tasks"], worker["current_tasks"]) == (0, [])


def test_what_a_worker_said_with_its_beat_is_shown(world: World):
    known = world.service.store.workers()[0]
    stats = {
        "pid": 7,
        "pool": "a:B",
        "processes": [7, 8],
        "kinds": ["sql"],
        "begun": {"sql": 3, "lint": 2},
        "rusage": {"utime": 1.5},
    }
    info = WorkerInfo(WORKER, "here", known.capacity, known.allocatable, stats=stats)
    assert world.service.store.beat(info, known.generation, world.service.clock.now(), 3600.0, []) is not None
    worker = world.http.get(f"{WORKERS}/{WORKER}").json()
    assert (worker["total_tasks"], worker["total_tasks_by_kind"]) == (5, {"sql": 3, "lint": 2})
    assert (worker["pool_implementation"], worker["pool_processes"]) == ("a:B", [7, 8])
    assert (worker["registered_tasks"], worker["rusage"], worker["stats"]) == (["sql"], {"utime": 1.5}, stats)


def test_an_unknown_worker_is_not_found_and_an_unknown_action_is_refused(world: World):
    with_control(world)
    assert_problem(world.http.get(f"{WORKERS}/nobody"), 404, "not_found")
    assert_problem(world.http.post(f"{WORKERS}/nobody/control?action=shutdown"), 404, "not_found")
    for action in ("?action=dance", "?action=", "", "?action=SHUTDOWN"):
        refused = assert_problem(
            world.http.post(f"{WORKERS}/{WORKER}/control{action}"), 400, "unknown_action"
        )
        assert "pool_restart" in refused["detail"]


@pytest.mark.parametrize(
    ("action", "told", "status"),
    [
        ("shutdown", "stop", "draining"),
        ("pool_restart", "restart_pool", "draining"),
        ("reset_stats", "reset_stats", "online"),
    ],
)
def test_a_worker_is_told_and_the_trail_has_it(world: World, action: str, told: str, status: str):
    control = with_control(world)
    answer = world.http.post(f"{WORKERS}/{WORKER}/control?action={action}")
    assert (answer.status_code, answer.json()["action"]) == (200, action)
    assert control.told == [(told, WORKER)]
    assert world.http.get(f"{WORKERS}/{WORKER}").json()["status"] == status
    (row,) = world.service.store.audit(AuditFilter(action=Action.CONTROL_WORKER))
    assert (row.object, row.detail["order"]) == (f"worker {WORKER}", {"shutdown": "stop"}.get(action, action))


def test_a_worker_that_cannot_be_told_goes_on_as_before(world: World):
    with_control(world).away = True
    assert_problem(world.http.post(f"{WORKERS}/{WORKER}/control?action=pool_restart"), 503, "unavailable")
    assert world.http.get(f"{WORKERS}/{WORKER}").json()["status"] == "online"


def test_the_machine_is_told(shared: World):
    body = shared.http.get("/api/v1/monitoring/system").json()
    assert {"cpu", "memory", "disk", "nfs_storage", "network", "process"} <= set(body)
    assert 0 <= body["cpu"]["percent"] <= 100
    assert 0 < body["memory"]["used_bytes"] < body["memory"]["total_bytes"]
    assert 0 <= body["disk"]["percent"] <= 100
    assert body["process"]["pid"] > 0
    assert body["process"]["version"] == tidegate.__version__


def test_health_of_workers(world: World):
    answer = world.http.get("/api/v1/health/workers")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "healthy"
    assert set(body["checks"]) == {"celery_workers", "message_queues", "task_processing"}
    assert {check["status"] for check in body["checks"].values()} == {"healthy"}


def test_no_worker_and_no_broker_are_unhealthy(world: World):
    with_control(world).wrong = "The broker is away."
    known = world.service.store.workers()[0]
    world.service.store.unregister(WORKER, known.generation, world.service.clock.now())
    answer = world.http.get("/api/v1/health/workers")
    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert answer.json()["status"] == "unhealthy"
    assert checks["celery_workers"]["status"] == "unhealthy"
    assert checks["message_queues"] == {
        "status": "unhealthy",
        "message": "The broker is away.",
        "numbers": {},
    }
    assert world.http.get("/health").json() == {"status": "healthy"}


def test_tasks_that_wait_for_long_while_nothing_runs_are_unhealthy(world: World):
    clock = FakeClock()

    class Line:
        def waiting(self, queue: str | None = None) -> int:
            return 3 if queue == "default" else 0

    store = world.service.store
    store.set_queue("default")
    looks = monitor.Monitor(store, world.service.workers, Line(), clock, None, None)
    assert looks.health()["task_processing"].healthy
    clock.advance(monitor.STUCK_S + 1)
    stuck = looks.health()["task_processing"]
    assert not stuck.healthy
    assert "3 tasks wait" in stuck.message
    store.set_queue("default", paused=True)  # that is somebody's wish, and no fault
    assert looks.health()["task_processing"].healthy


def test_a_stranger_hears_that_a_check_fails_but_not_why(tmp_path: Path):
    with world_in(tmp_path, allowed_hosts=["localhost"]) as world:
        world.service._checks = lambda: {"store": None, "disk": "Only 7 bytes are free in /secret."}
        answer = world.http.get("/api/v1/health/ready")
        assert answer.status_code == 503
        assert answer.json()["checks"]["store"] is None
        assert answer.json()["checks"]["disk"]
        assert "secret" not in answer.text
