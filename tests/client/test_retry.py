"""What a client does about a server that refuses it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidegate
from tidegate.client import calls
from tidegate.client.call import Call
from tidegate.client.problems import error_from_problem
from tidegate.client.retry import LONGEST_PAUSE_S, Patience
from tidegate.client.throttle import FEW, WINDOW_S, Throttle
from tidegate.errors import Busy, NotFound, TidegateError


def refusal(code: str = "overloaded", retry_after_s: float | None = 3.0, status: int = 429) -> TidegateError:
    numbers = {} if retry_after_s is None else {"retry_after_s": retry_after_s}
    problem = {"status": status, "code": code, "detail": "Later.", "numbers": numbers, "ticket": "t7"}
    return error_from_problem(problem)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def patience_with(call: Call[Any], throttle: Throttle | None = None) -> Patience[Any]:
    return Patience(call, throttle or Throttle(Clock(), lambda: 0.5))


# One call


def test_a_server_with_too_many_requests_is_asked_three_times_in_all():
    patience = patience_with(calls.jobs.submit({}, "k"))
    assert [patience.pause_after(refusal()) for _ in range(3)] == [3.0, 3.0, None]


def test_the_ticket_is_shown_at_the_next_try():
    patience = patience_with(calls.jobs.submit({}, "k"))
    patience.pause_after(refusal())
    assert patience.call.headers == {"Idempotency-Key": "k", "Tidegate-Ticket": "t7"}
    assert calls.jobs.submit({}, "k").headers == {"Idempotency-Key": "k"}


def test_what_must_not_be_sent_twice_is_not_sent_again():
    for call in (calls.keys.create("o", "user", "", None), calls.jobs.submit_many([{}])):
        assert patience_with(call).pause_after(refusal()) is None


def test_an_unavailable_server_is_waited_for_when_it_says_how_long():
    assert patience_with(calls.jobs.get("1")).pause_after(refusal("unavailable", 2.0, 503)) == 2.0
    assert patience_with(calls.jobs.get("1")).pause_after(refusal("unavailable", None, 503)) is None


def test_nobody_is_kept_waiting_for_long_unasked():
    long = refusal(retry_after_s=LONGEST_PAUSE_S + 1)
    assert patience_with(calls.jobs.submit({}, "k")).pause_after(long) is None
    assert (
        patience_with(calls.jobs.submit({}, "k", busy_timeout_s=100)).pause_after(long) == LONGEST_PAUSE_S + 1
    )


# All calls of a client


def test_at_most_a_tenth_of_many_requests_is_sent_again():
    throttle = Throttle(Clock(), lambda: 0.999)
    for _ in range(1000):
        throttle.answered(accepted=True)
    sent_again = sum(
        patience_with(calls.jobs.get("1"), throttle).pause_after(refusal()) is not None for _ in range(500)
    )
    assert sent_again == 100


def test_a_client_that_is_refused_much_refuses_a_share_itself():
    clock = Clock()
    chances = iter([0.4, 0.6] * 50)
    throttle = Throttle(clock, lambda: next(chances))
    for _ in range(100):
        throttle.answered(accepted=False)
    for _ in range(25):
        throttle.answered(accepted=True)
    assert [throttle.refuses(), throttle.refuses()] == [
        True,
        False,
    ]  # (125 - 2 × 25) / 126 = 0.595, and 0.598
    for _ in range(51):
        throttle.answered(accepted=True)
    assert not throttle.refuses()  # it sends twice what is accepted, and no more than that


def test_a_refusal_of_its_own_says_so_and_sends_nothing():
    throttle = Throttle(Clock(), lambda: 0.0)
    for _ in range(FEW):
        throttle.answered(accepted=False)
    patience = patience_with(calls.jobs.get("1"), throttle)
    with pytest.raises(Busy, match="was not sent"):
        patience.check()
    patience.pause_after(refusal())
    patience.check()  # the server has told it to come


def test_a_short_program_is_not_throttled_and_two_minutes_are_forgotten():
    clock = Clock()
    throttle = Throttle(clock, lambda: 0.0)
    for _ in range(FEW - 1):
        throttle.answered(accepted=False)
    assert not throttle.refuses()
    throttle.answered(accepted=False)
    assert throttle.refuses()
    clock.now_s += WINDOW_S + 10
    assert not throttle.refuses()


def test_answers_that_are_no_refusal_are_accepted_ones():
    throttle = Throttle(Clock(), lambda: 0.0)
    patience = patience_with(calls.jobs.get("1"), throttle)
    for _ in range(50):
        patience.answered(NotFound("no such job"))
    assert not throttle.refuses()


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 60))))
def test_whatever_happens_the_counts_are_those_of_the_last_two_minutes(steps: list[tuple[bool, float]]):
    clock = Clock()
    throttle = Throttle(clock, lambda: 0.0)
    seen: list[tuple[float, bool]] = []
    for accepted, pause_s in steps:
        clock.now_s += pause_s
        throttle.answered(accepted=accepted)
        seen.append((clock.now_s, accepted))
        least = sum(at > clock.now_s - WINDOW_S for at, _ in seen)
        most = sum(at > clock.now_s - WINDOW_S - 6 for at, _ in seen)
        assert least <= throttle._sums.requests <= most
        assert 0 <= throttle._sums.accepted <= throttle._sums.requests


# Against a server that refuses the first two tries of every call


class Refusing(BaseHTTPRequestHandler):
    tries: list[str | None]
    after_s = 0.1
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        seen = type(self).tries
        seen.append(self.headers.get("Tidegate-Ticket"))
        refused = self.path != "/health" and len(seen) % 3
        body = {"status": 429, "code": "overloaded", "detail": "Too many.", "ticket": f"t{len(seen)}"}
        body |= {"numbers": {"retry_after_s": self.after_s}}
        content = json.dumps(body if refused else {"job_id": "7", "job_status": "SUCCEEDED"}).encode()
        self.send_response(429 if refused else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def refusing() -> Iterator[tuple[str, list[str | None]]]:
    handler = type("Handler", (Refusing,), {"tries": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.tries  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_both_faces_come_back_with_their_ticket(refusing: tuple[str, list[str | None]]):
    url, tries = refusing
    waits: list[float] = []
    with tidegate.connect(url) as client:
        client.on_wait = lambda pause_s, error: waits.append(pause_s)
        assert client.job("7").status == "SUCCEEDED"
    assert (tries, waits) == ([None, "t1", "t2"], [0.1, 0.1])

    async def story() -> None:
        async with tidegate.connect_async(url) as client:
            client.on_wait = lambda pause_s, error: waits.append(pause_s)
            assert (await client.job("7")).status == "SUCCEEDED"

    asyncio.run(story())
    assert (tries[3:], waits) == ([None, "t4", "t5"], [0.1] * 4)


def test_the_command_line_says_that_it_waits(
    refusing: tuple[str, list[str | None]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Refusing, "after_s", 0.5)
    command = [sys.executable, "-m", "tidegate", "job", "show", "7", "--json", "--url", refusing[0]]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "Too many. Waiting 0.5 s.\n" * 2
