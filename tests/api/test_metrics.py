"""`/metrics` of a server: what it says, to whom, and when the database says nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.support import World, service_in, serving, world_in
from tidegate.api import create_app
from tidegate.errors import Unavailable
from tidegate.server.metrics import StoreFigures
from tidegate.telemetry.catalogue import CATALOGUE
from tidegate.telemetry.meters import Sample
from tidegate.testing.fakes import FakeClock
from tidegate.testing.memory_store import MemoryStore


def scraped(world: World, accept: str = "") -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Values by name, and by labels."""
    answer = world.http.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        name: {tuple(sorted(s.labels.items())): s.value for s in family.samples if s.name == name}
        for family in text_string_to_metric_families(answer.text)
        for name in {s.name for s in family.samples}
    }


def test_requests_are_counted_by_what_they_are_and_how_they_went(world: World):
    world.http.get("/api/v1/jobs/999")
    world.http.get("/api/v1/jobs")
    world.http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1"})
    world.http.get("/health")
    found = scraped(world)
    requests = found["tidegate_http_requests_total"]
    assert requests[("status", "2xx"), ("work", "read")] == 1
    assert requests[("status", "4xx"), ("work", "read")] == 1
    assert requests[("status", "2xx"), ("work", "submit")] == 1
    assert (("status", "2xx"), ("work", "control")) not in requests
    took = found["sql_linting_request_duration_seconds_count"]
    assert took[("status", "2xx"), ("work", "submit")] == 1
    again = scraped(world)["tidegate_http_requests_total"]
    assert again[("status", "2xx"), ("work", "control")] == 1  # the scrape before


def test_a_stream_counts_and_its_length_does_not(world: World):
    job = world.http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1"}).json()["job_id"]
    world.http.get(f"/api/v1/jobs/{job}", params={"wait_s": 20})
    found = scraped(world)
    assert found["tidegate_http_requests_total"][("status", "2xx"), ("work", "stream")] == 1
    assert (("status", "2xx"), ("work", "stream")) not in found["sql_linting_request_duration_seconds_count"]


def test_queues_workers_and_gates_are_told(world: World):
    world.http.put("/api/v1/queues/etl", json={"paused": True})
    world.http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1", "queue": "etl"})
    found = scraped(world)
    etl = (("queue", "etl"),)
    assert found["tidegate_queue_waiting_tasks"][etl] == 1
    assert found["tidegate_queue_paused"][etl] == 1
    assert found["tidegate_workers"][(("state", "online"),)] == 1
    local = (("worker", "local"),)
    assert found["tidegate_worker_allocatable_cpus"][local] == 4
    assert found["tidegate_worker_allocated_memory_bytes"][local] == 0
    assert found["tidegate_http_requests_limit"][(("work", "submit"),)] >= 2
    assert found["sql_linting_active_jobs"][()] == 0


def test_alerts_are_told_by_rule_and_level(world: World):
    alert = world.raise_alert()
    found = scraped(world)["tidegate_alerts"]
    assert found == {(("level", alert.level.word), ("rule", alert.rule)): 1}


def test_ten_thousand_queues_make_a_page_of_a_hundred(world: World):
    for number in range(10_000):
        world.service.meters.count("tidegate_jobs_accepted_total", "sql", f"q{number}")
    world.service.meters.tell(
        "many", lambda: (Sample("tidegate_queue_waiting_tasks", n, (f"q{n}",)) for n in range(10_000))
    )
    found = scraped(world)
    assert len(found["tidegate_jobs_accepted_total"]) == 101
    assert len(found["tidegate_queue_waiting_tasks"]) == 101


@pytest.mark.parametrize(
    ("accept", "told"),
    [
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text"),
        ("text/plain", "text/plain"),
        ("*/*", "text/plain"),
        ("application/openmetrics-text;version=nonsense", "application/openmetrics-text"),
    ],
)
def test_the_format_is_the_one_that_is_asked_for(shared: World, accept: str, told: str):
    answer = shared.http.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(told)


def test_a_server_with_keys_tells_nothing_to_those_without(tmp_path: Path):
    with world_in(tmp_path, host="0.0.0.0") as world:
        assert world.http.get("/metrics").status_code == 401


def test_every_metric_that_is_told_is_in_the_catalogue(world: World):
    names = {s.name for s in world.service.meters.samples()}
    assert names <= set(CATALOGUE)


def test_while_the_database_does_not_answer_all_else_is_told(tmp_path: Path):
    answers = threading.Event()
    with service_in(tmp_path) as (service, _):
        store = service.store

        class Hanging:
            def queues(self):
                answers.wait()
                return store.queues()

            def __getattr__(self, name):
                return getattr(store, name)

        figures = StoreFigures(Hanging(), FakeClock(), patience_s=0.05)
        service.meters.tell("store", figures)
        try:
            with serving(create_app(service)) as url:
                page = httpx2.get(f"{url}/metrics").text
                assert 'tidegate_metrics_missing{part="store"} 1.0' in page
                assert "tidegate_http_requests_limit" in page
                threads = [t for t in threading.enumerate() if t.name == "tidegate-metrics-store"]
                httpx2.get(f"{url}/metrics")
                assert [t for t in threading.enumerate() if t.name == "tidegate-metrics-store"] == threads
        finally:
            answers.set()
        for thread in threads:
            thread.join()
        assert any(one.name == "tidegate_workers" for one in figures())


def test_a_read_that_failed_is_begun_anew():
    class Away:
        def queues(self):
            raise Unavailable("The database is away.")

    figures = StoreFigures(Away(), FakeClock())  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(Unavailable, match="away"):
            figures()


def test_a_read_is_begun_anew_after_no_thread_was_to_be_had(monkeypatch: pytest.MonkeyPatch):
    figures = StoreFigures(MemoryStore(), FakeClock())
    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError, match="thread"):
            figures()
    assert any(one.name == "tidegate_workers" for one in figures())


def no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_nobody_who_never_asks_pays_for_the_library():
    code = (
        "import sys, tidegate.app.server, tidegate.app.serving, tidegate.app.worker; "
        "print([name for name in ('prometheus_client', 'http.server') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
