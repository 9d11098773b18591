"""Monitoring of a real server with the worker inside it."""

from __future__ import annotations

from typing import Any

import httpx2

from tests.e2e.server import Running, final, started, submit, until
from tests.e2e.test_sql_jobs import ENDLESS

WORKERS = "/api/v1/monitoring/workers"


def local(http: httpx2.Client) -> dict[str, Any]:
    return dict(http.get(f"{WORKERS}/local").json())


def control(http: httpx2.Client, action: str) -> None:
    answer = http.post(f"{WORKERS}/local/control?action={action}")
    assert answer.status_code == 200, answer.text


def test_figures_of_the_worker_inside_are_fresh(http: httpx2.Client):
    before = local(http)
    assert final(http, submit(http, "select 42 as answer"))["job_status"] == "SUCCEEDED"
    after = local(http)
    assert after["total_tasks"] >= before["total_tasks"] + 1
    assert after["total_tasks_by_kind"]["sql"] >= 1
    assert after["pool_processes"]
    assert after["rusage"]["maxrss"] > 0
    assert {"sql", "command", "function"} <= set(after["registered_tasks"])
    running = submit(http, ENDLESS)
    started(http, running)
    assert running in {task["job_id"] for task in local(http)["active"]}
    http.post(f"/api/v1/jobs/{running}/cancel")
    final(http, running)


def test_health_and_system(http: httpx2.Client):
    health = http.get("/api/v1/health/workers")
    assert (health.status_code, health.json()["status"]) == (200, "healthy")
    assert "count" in http.get("/api/v1/monitoring/system").json()["cpu"]


def test_the_pool_is_restarted_after_what_runs_and_then_works_on(own_server: Running):
    own_server.start()
    with own_server.client() as http:
        assert final(http, submit(http, "select 1"))["job_status"] == "SUCCEEDED"
        assert local(http)["total_tasks"] == 1
        control(http, "reset_stats")
        assert local(http)["total_tasks"] == 0
        old = local(http)["pool_processes"][0]
        running = submit(http, ENDLESS)
        started(http, running)
        control(http, "pool_restart")
        waiting = submit(http, "select 2")
        assert local(http)["pool_processes"][0] == old
        http.post(f"/api/v1/jobs/{running}/cancel")
        assert final(http, running)["job_status"] == "CANCELLED"
        assert final(http, waiting)["job_status"] == "SUCCEEDED"
        assert local(http)["pool_processes"][0] != old
        assert local(http)["status"] == "online"


def test_a_server_goes_on_without_the_worker_that_was_shut_down(own_server: Running):
    own_server.start(grace_s=0.5)
    with own_server.client() as http:
        until(lambda: http.get("/api/v1/health/workers").status_code == 200)
        control(http, "shutdown")
        until(lambda: http.get("/api/v1/health/workers").status_code == 503)
        assert http.get("/api/v1/health/ready").status_code == 503
        assert http.get("/health").status_code == 200
        waiting = submit(http, "select 1")
        explained = until(lambda: http.get(f"/api/v1/jobs/{waiting}").json()["waiting"])
        assert explained["code"] in ("no_worker", "not_judged")
    assert own_server.stop() == 0
    own_server.start()
    with own_server.client() as http:
        assert final(http, waiting)["job_status"] == "SUCCEEDED"
