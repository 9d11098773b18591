from __future__ import annotations

import asyncio
import json
import logging
import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.support import World, assert_problem, logged, service_in, serving
from tidegate.api import create_app
from tidegate.api.budget import BodyBudget
from tidegate.api.guard import HEALTH_BODY, Guard, allowed_hosts
from tidegate.settings import Settings


def test_liveness_needs_neither_the_service_nor_a_known_host():
    async def never(*_: object) -> Any:
        raise AssertionError("liveness went on to the application")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/health", "method": "GET", "headers": []}
    asyncio.run(Guard(never, frozenset(), BodyBudget(), None, None)(scope, never, send))
    assert sent[0]["status"] == 200
    assert sent[1]["body"] == HEALTH_BODY


def test_both_liveness_routes_answer_alike(shared: World):
    for path in ("/health", "/api/v1/health"):
        answer = shared.http.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})
        assert shared.http.head(path).status_code == 200


def test_a_foreign_host_name_is_refused(shared: World):
    for host in ("evil.example", "evil.example:80", "localhost.evil.example", ""):
        answer = shared.http.get("/api/v1/jobs", headers={"Host": host})
        assert_problem(answer, 421, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8420", "127.0.0.1:1", "[::1]", "[::1]:8420"])
def test_the_names_of_loopback_are_answered(shared: World, host: str):
    assert shared.http.get("/api/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({}, {"localhost", "127.0.0.1", "[::1]"}),
        ({"host": "127.0.0.7"}, {"localhost", "127.0.0.1", "[::1]", "127.0.0.7"}),
        ({"host": "::1"}, {"localhost", "127.0.0.1", "[::1]"}),
        ({"allowed_hosts": ["Jobs.Example"]}, {"localhost", "127.0.0.1", "[::1]", "jobs.example"}),
        ({"allowed_hosts": ["*"]}, None),
        ({"host": "0.0.0.0"}, None),
        (
            {"host": "10.0.0.5", "allowed_hosts": ["a.example"]},
            {"localhost", "127.0.0.1", "[::1]", "10.0.0.5", "a.example"},
        ),
    ],
)
def test_a_server_beyond_loopback_answers_to_any_name_unless_told(
    settings: dict[str, Any], allowed: set[str] | None
):
    assert allowed_hosts(Settings(**settings)) == allowed


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_a_page_of_another_site_changes_nothing(shared: World, headers: dict[str, str]):
    http = shared.http
    for answer in (
        http.post("/api/v1/jobs/1/cancel", headers=headers),
        http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1"}, headers=headers),
        http.put("/api/v1/files/a.csv", content=b"a", headers=headers),
        http.delete("/api/v1/sources/a", headers=headers),
    ):
        assert_problem(answer, 403, "cross_origin")
    assert "access-control-allow-origin" not in http.get("/api/v1/jobs", headers=headers).headers


def test_the_servers_own_page_may_change_things(shared: World):
    answer = shared.http.post(
        "/api/v1/jobs",
        json={"kind": "sql", "sql": "select 1"},
        headers={"Origin": shared.url, "Sec-Fetch-Site": "same-origin"},
    )
    assert answer.status_code == 202


def test_a_request_id_is_given_back_or_made(shared: World):
    asked = shared.http.get("/api/v1/jobs", headers={"X-Request-Id": "build-7:42"})
    assert asked.headers["x-request-id"] == "build-7:42"
    for bad in ("", "a b", "x" * 200):
        made = shared.http.get("/api/v1/jobs", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert made != bad
        assert made.isalnum()


def test_every_answer_keeps_browsers_from_guessing_and_storing(shared: World):
    for path in ("/api/v1/jobs", "/api/v1/nothing", "/", "/openapi.json", "/health"):
        headers = shared.http.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_an_unknown_route_and_a_wrong_method_are_problems(shared: World):
    assert_problem(shared.http.get("/api/v1/nothing"), 404, "unknown_route")
    assert_problem(shared.http.get("/api/v1/jobs/"), 404, "unknown_route")
    assert_problem(shared.http.get("/docs"), 404, "unknown_route")
    wrong = shared.http.delete("/api/v1/jobs")
    assert "but GET, POST." in assert_problem(wrong, 405, "method_not_allowed")["detail"]
    assert wrong.headers["allow"] == "GET, POST"


def test_an_unforeseen_error_says_nothing_of_the_inside(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with service_in(tmp_path) as (service, _):
        app = create_app(service)

        async def broken() -> None:
            raise RuntimeError("the secret of /etc/shadow")

        app.add_api_route("/broken", broken)
        with serving(app) as url, caplog.at_level(logging.ERROR, "tidegate"):
            answer = httpx2.get(f"{url}/broken", headers={"X-Request-Id": "find-me"})
    problem = assert_problem(answer, 500, "internal")
    assert "secret" not in json.dumps(problem)
    record = next(r for r in caplog.records if r.name == "tidegate.access")
    assert record.exc_info
    assert getattr(record, "request_id", None) == "find-me"


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(
    shared: World, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.DEBUG, "tidegate.access"):
        with socket.create_connection(shared.url.removeprefix("http://").split(":")) as left:  # type: ignore[arg-type]
            left.sendall(
                b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100\r\n\r\n{"
            )
        assert shared.http.get("/api/v1/jobs").status_code == 200
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_a_request_is_logged_as_json_at_debug_level_only(shared: World, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "tidegate.access"):
        shared.http.get("/api/v1/jobs")
    assert [r for r in caplog.records if r.name == "tidegate.access"] == []
    with caplog.at_level(logging.DEBUG, "tidegate.access"):
        shared.http.get("/api/v1/queues", headers={"X-Request-Id": "q1"})
        line = json.loads(logged(shared, caplog, "q1"))
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/v1/queues", 200)
    assert line["elapsed_ms"] > 0


def test_the_index_needs_nothing_from_elsewhere_and_its_links_work(shared: World):
    answer = shared.http.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "//" not in answer.text
    links = [part.partition('"')[0] for part in answer.text.split('href="')[1:]]
    assert len(links) > 3
    assert {shared.http.get(link).status_code for link in links} == {200}


def test_readiness_shows_every_check(tmp_path: Path):
    with service_in(tmp_path) as (service, _), serving(create_app(service)) as url:
        ready = httpx2.get(f"{url}/api/v1/health/ready")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "checks": {"store": None}})
        service._checks = lambda: {"store": None, "disk": "Only 7 bytes are free."}
        not_ready = httpx2.get(f"{url}/api/v1/health/ready")
        assert not_ready.status_code == 503
        assert not_ready.json()["checks"] == {"store": None, "disk": "Only 7 bytes are free."}
        assert httpx2.get(f"{url}/health").status_code == 200
