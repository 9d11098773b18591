"""Which requests are let in while not all can be."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import pytest

from tests.api.support import World, assert_problem, world_in
from tidegate.api.access import ACCESS
from tidegate.api.admission import Turnstile
from tidegate.api.lanes import WAYS, Way, Work, criticality_of, way_of
from tidegate.cache.rates import LocalRates, rules_of
from tidegate.core.criticality import Criticality
from tidegate.core.gate import Gate
from tidegate.core.identity import Caller, Role
from tidegate.errors import InvalidInput
from tidegate.ports import OverRate
from tidegate.runtime.clock import SystemClock

READ = Way(Work.READ)


@contextlib.contextmanager
def nothing_runs(world: World) -> Iterator[None]:
    """Queries wait for room."""
    world.pause("interactive")
    yield
    assert world.http.post("/api/v1/queues/interactive/resume").status_code == 200


def query(world: World, **headers: str) -> httpx2.Response:
    return world.http.post("/api/v1/query", json={"sql": "select 1"}, headers=headers)


def turnstile(world: World, work: Work = Work.RUN) -> Turnstile:
    return world.admission.turnstiles[work]


def until(world: World, holds: Callable[[Gate], bool], work: Work = Work.RUN) -> None:
    """Ask for the server's health until this holds of a gate; the test's own time limit ends it."""
    while not holds(turnstile(world, work).gate):
        assert world.http.get("/health").status_code == 200


@pytest.fixture
def small(tmp_path: Path) -> Iterator[World]:
    """A server that works at two requests of a kind; one slot is kept for control, so at one of all others."""
    with world_in(tmp_path, max_requests=2) as made:
        yield made


# Which way a request goes


@pytest.mark.parametrize(("method", "path"), ACCESS)
def test_every_route_is_found_by_its_path(method: str, path: str):
    parts = [
        {"{name:path}": "a/b c.csv"}.get(part, "81" if part.startswith("{") else part)
        for part in path.split("/")
    ]
    assert way_of(method, "/".join(parts), b"") == WAYS.get((method, path), READ)


def test_every_way_is_that_of_a_route():
    assert WAYS.keys() <= ACCESS.keys()


@pytest.mark.parametrize(
    "path", ["", "/", "//", "/api/v1", "/api/v1/jobs//cancel", "/nothing/at/all", "*", "/" * 5000]
)
@pytest.mark.parametrize("method", ["GET", "POST", "BREW"])
def test_whatever_else_is_asked_has_a_way_too(method: str, path: str):
    assert way_of(method, path, b"") in {*WAYS.values(), READ}


def test_waiting_for_a_job_is_no_sample_of_how_fast_jobs_are_read():
    assert way_of("GET", "/api/v1/jobs/81", b"wait_s=30").work is Work.STREAM
    assert way_of("GET", "/api/v1/jobs/81", b"").work is Work.READ


def test_a_client_may_say_that_a_request_matters_less_and_an_operator_that_it_matters_more():
    user, operator = (Caller("u", role, SystemClock().now()) for role in (Role.USER, Role.OPERATOR))
    assert criticality_of(READ, "sheddable", user) is Criticality.SHEDDABLE
    assert criticality_of(READ, "critical_plus", user) is Criticality.CRITICAL
    assert criticality_of(READ, "critical_plus", operator) is Criticality.CRITICAL_PLUS
    assert criticality_of(READ, "critical_plus", None) is Criticality.CRITICAL
    control = Way(Work.CONTROL, Criticality.CONTROL)
    assert criticality_of(control, "sheddable", user) is Criticality.CONTROL
    with pytest.raises(InvalidInput, match="there are sheddable, sheddable_plus, critical, critical_plus"):
        criticality_of(READ, "control", operator)


def test_a_word_that_is_no_criticality_is_a_problem(shared: World):
    answer = shared.http.get("/api/v1/jobs", headers={"Tidegate-Criticality": "urgent"})
    assert_problem(answer, 422, "invalid_input")


# At the gate


def test_a_request_that_finds_no_slot_is_refused_with_numbers_and_a_ticket(small: World):
    with ThreadPoolExecutor(1) as threads, nothing_runs(small):
        first = threads.submit(query, small)
        until(small, lambda gate: gate.in_flight == 1)
        refused = query(small)  # after a second in the line
        problem = assert_problem(refused, 429, "overloaded")
        assert (problem["asked"], problem["limit"]) == (2, 2)
        assert problem["retry_after_s"] <= int(refused.headers["retry-after"]) < problem["retry_after_s"] + 1
        assert refused.headers["tidegate-ticket"] == problem["ticket"]
        # Neither health nor other kinds of work hear of it.
        for path in ("/health", "/api/v1/queues"):
            assert small.http.get(path).status_code == 200
        assert small.submit()
        figures = small.http.get("/api/v1/monitoring/gates").json()
        run = next(gate for gate in figures["gates"] if gate["name"] == "run")
        assert (run["limit"], run["in_flight"], run["waiting"], run["due"]) == (2, 1, 0, 1)
        assert run["refused"] == [{"criticality": "critical", "reason": "waited", "count": 1}]
    assert first.result().status_code == 200
    assert turnstile(small).gate.due == 1
    turnstile(small).clock = lambda: monotonic() + 10
    assert query(small, **{"Tidegate-Ticket": problem["ticket"]}).status_code == 200
    assert turnstile(small).gate.due == 0


def test_a_request_that_finds_a_slot_in_time_waits_for_it(small: World):
    turnstile(small).gate.patience_s = 30.0
    with ThreadPoolExecutor(8) as threads, nothing_runs(small):
        asked = [threads.submit(query, small) for _ in range(8)]
        until(small, lambda gate: gate.waiting == 7)
    assert [one.result().status_code for one in asked] == [200] * 8
    assert (turnstile(small).gate.in_flight, turnstile(small).gate.waiting) == (0, 0)


def test_who_waits_at_a_gate_of_the_service_is_felt_and_who_waits_for_the_sandbox_is_not(small: World):
    turnstile(small).gate.patience_s = 30.0
    with ThreadPoolExecutor(2) as threads, nothing_runs(small):
        asked = [threads.submit(query, small) for _ in range(2)]
        until(small, lambda gate: gate.waiting == 1)
        assert small.service.sojourns.read()["sojourn_s"] == 0.0
    assert [one.result().status_code for one in asked] == [200] * 2
    turnstile(small, Work.READ).gate.patience_s = 30.0
    hold = threading.Event()
    for _ in range(4):
        small.service._readers.submit(hold.wait, 30.0)
    small.service.sojourns.read()
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(small.http.get, "/api/v1/queues") for _ in range(2)]
        until(small, lambda gate: gate.waiting == 1, Work.READ)
        felt = small.service.sojourns.read()
        hold.set()
    assert felt["sojourn_s"] >= felt["thread_wait_s"] > 0.0
    assert [one.result().status_code for one in asked] == [200] * 2


def test_a_body_that_is_slow_to_come_holds_no_slot(small: World):
    address = small.url.removeprefix("http://").split(":")
    head = (
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 31\r\n\r\n"
    )
    body = b'{"kind":"sql","sql":"select 1"}'
    with contextlib.ExitStack() as open_sockets:
        slow = [
            open_sockets.enter_context(socket.create_connection((address[0], int(address[1]))))
            for _ in range(5)
        ]
        for one in slow:
            one.sendall(head + body[:10])
        assert small.submit()
        for one in slow:
            one.sendall(body[10:])
            assert one.recv(12) == b"HTTP/1.1 202"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/jobs/77", 404),
        ("GET", "/nothing", 404),
        ("PUT", "/api/v1/jobs", 405),
        ("POST", "/api/v1/jobs", 422),
    ],
)
def test_a_slot_is_given_back_however_the_request_ends(small: World, method: str, path: str, status: int):
    for _ in range(5):
        answer = small.http.request(method, path, json={"kind": "sql"} if method == "POST" else None)
        assert answer.status_code == status
    assert all(each.gate.in_flight == 0 for each in small.admission.turnstiles.values())


def test_a_client_that_goes_away_gives_its_slot_back(tmp_path: Path):
    with world_in(tmp_path, max_streams=2) as world:
        world.pause()
        job_id = world.submit()
        for _ in range(3):
            with world.http.stream(
                "GET", f"/api/v1/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}
            ) as stream:
                assert stream.status_code == 200
                lines = stream.iter_lines()  # kept: without it the answer would be closed
                assert next(lines)
                assert turnstile(world, Work.STREAM).gate.in_flight == 1
            until(world, lambda gate: gate.in_flight == 0, Work.STREAM)


def test_a_long_body_is_refused_before_it_is_sent(small: World, monkeypatch: pytest.MonkeyPatch):
    submissions = turnstile(small, Work.SUBMIT)
    monkeypatch.setattr(submissions.gate, "would_refuse", lambda *_: True)

    address = small.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))) as one:
        one.sendall(
            b"POST /api/v1/jobs/bulk HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000000\r\n\r\n"
        )
        assert one.recv(12) == b"HTTP/1.1 429"


def test_an_owner_who_asks_too_often_is_told_when_again(tmp_path: Path):
    with world_in(tmp_path, rates=LocalRates(rules_of("3/minute"))) as world:
        for _ in range(3):
            assert world.http.get("/api/v1/queues").status_code == 200
        refused = world.http.get("/api/v1/queues")
        problem = assert_problem(refused, 429, "rate_limited")
        assert (problem["asked"], problem["limit"], problem["numbers"]["window_s"]) == (4, 3, 60)
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        for path in ("/health", "/api/v1/health/ready"):
            assert world.http.get(path).status_code == 200
        assert (
            world.http.post("/api/v1/jobs/1/cancel").status_code == 404
        )  # what ends an overload is not counted


def test_rates_that_are_counted_elsewhere_are_asked_for_in_a_thread(tmp_path: Path):
    asked_in: list[str] = []

    class Elsewhere(LocalRates):
        blocks = True

        def take(self, owner: str) -> OverRate | None:
            asked_in.append(threading.current_thread().name)
            return super().take(owner)

    with world_in(tmp_path, rates=Elsewhere(rules_of("3/minute"))) as world:
        assert world.http.get("/api/v1/queues").status_code == 200
    assert asked_in
    assert asked_in[0].startswith("tidegate-read")


# The turnstile by itself


def test_those_who_wait_and_go_away_lose_no_slot():
    async def story() -> None:
        gate = Gate(0.0, fixed=2)
        stile = Turnstile("things", gate)
        await stile.enter(Criticality.CRITICAL, None)
        waiting = [asyncio.create_task(stile.enter(Criticality.CRITICAL, None)) for _ in range(3)]
        await asyncio.sleep(0)  # each of them runs until it waits
        assert gate.waiting == 3
        waiting[0].cancel()  # while it waits
        stile.leave(0.1)  # names the next, in the same turn of the loop
        waiting[1].cancel()  # when it has been let in, but has not heard of it
        ended: list[Any] = await asyncio.gather(*waiting[:2], return_exceptions=True)
        assert [type(one) for one in ended] == [asyncio.CancelledError] * 2
        await waiting[2]
        assert (gate.in_flight, gate.waiting) == (1, 0)
        stile.leave(0.1)
        assert gate.in_flight == 0

    asyncio.run(story())
