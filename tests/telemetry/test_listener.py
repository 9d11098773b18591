"""The port of its own on which a process shows its metrics."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading

import httpx2
import pytest

from tidegate.errors import Unavailable
from tidegate.telemetry import listener
from tidegate.telemetry.listener import MOST_AT_ONCE, MetricsPort
from tidegate.telemetry.meters import Meters

OTHER = """
import sys
from tidegate.telemetry.listener import MetricsPort
from tidegate.telemetry.meters import Meters
meters = Meters()
meters.count("tidegate_starts_total", "etl", by=7)
port = MetricsPort("127.0.0.1", int(sys.argv[1]), meters, "worker")
print("ready", flush=True)
sys.stdin.read()
"""


def started(queue: str = "etl") -> Meters:
    meters = Meters()
    meters.count("tidegate_starts_total", queue)
    return meters


def no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_the_page_is_at_metrics_and_nothing_else_is_anywhere():
    with contextlib.closing(MetricsPort("127.0.0.1", 0, started(), "server")) as port:
        url = f"http://127.0.0.1:{port.port}"
        answer = httpx2.get(f"{url}/metrics?name=all")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'tidegate_starts_total{process="server-0",queue="etl"} 1.0' in answer.text
        asked = httpx2.get(f"{url}/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
        assert asked.text.endswith("# EOF\n")
        assert httpx2.get(f"{url}/").status_code == 404
        assert httpx2.post(f"{url}/metrics").status_code == 501


def test_processes_of_a_machine_share_it_and_whichever_is_asked_answers_for_all():
    with contextlib.closing(MetricsPort("127.0.0.1", 0, started(), "server")) as port:
        other = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(port.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "ready\n"
            for _ in range(20):  # each over a connection of its own, which the kernel gives to either
                page = httpx2.get(f"http://127.0.0.1:{port.port}/metrics").text
                assert 'tidegate_starts_total{process="server-0",queue="etl"} 1.0' in page
                assert 'tidegate_starts_total{process="worker-1",queue="etl"} 7.0' in page
        finally:
            other.kill()
            other.communicate()
        assert "worker-1" not in httpx2.get(f"http://127.0.0.1:{port.port}/metrics").text


def test_clients_that_say_nothing_do_not_keep_others_from_the_page():
    with (
        contextlib.closing(MetricsPort("127.0.0.1", 0, started(), "server")) as port,
        contextlib.ExitStack() as stalled,
    ):
        for _ in range(4):
            stalled.enter_context(socket.create_connection(("127.0.0.1", port.port)))
        assert httpx2.get(f"http://127.0.0.1:{port.port}/metrics").status_code == 200


def test_clients_that_never_come_to_an_end_are_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener._Handler, "timeout", None)  # as if each sent a byte now and then
    monkeypatch.setattr(listener, "OVER_AFTER_S", 0.0)
    with (
        contextlib.closing(MetricsPort("127.0.0.1", 0, started(), "server")) as port,
        contextlib.ExitStack() as slow,
    ):
        for _ in range(MOST_AT_ONCE):
            slow.enter_context(socket.create_connection(("127.0.0.1", port.port), timeout=10))
        one_more = slow.enter_context(socket.create_connection(("127.0.0.1", port.port), timeout=10))
        assert one_more.recv(1) == b""


def test_a_place_comes_back_when_no_thread_is_to_be_had(monkeypatch: pytest.MonkeyPatch):
    with contextlib.closing(MetricsPort("127.0.0.1", 0, started(), "server")) as port:
        url = f"http://127.0.0.1:{port.port}/metrics"
        with monkeypatch.context() as short:
            short.setattr(threading.Thread, "start", no_thread)
            for _ in range(MOST_AT_ONCE + 1):
                with pytest.raises(httpx2.HTTPError):
                    httpx2.get(url)
        assert httpx2.get(url).status_code == 200


def test_it_can_be_closed_while_all_places_are_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener._Handler, "timeout", None)
    monkeypatch.setattr(listener, "STALLS_AFTER_S", 0.01)
    port = MetricsPort("127.0.0.1", 0, started(), "server")
    with contextlib.ExitStack() as slow:
        for _ in range(MOST_AT_ONCE):
            slow.enter_context(socket.create_connection(("127.0.0.1", port.port)))
        one_more = slow.enter_context(socket.create_connection(("127.0.0.1", port.port), timeout=10))
        assert one_more.recv(1) == b""
        slow.enter_context(socket.create_connection(("127.0.0.1", port.port)))
        closing = threading.Thread(target=port.close, daemon=True)
        closing.start()
        closing.join(10)
        assert not closing.is_alive()


def test_a_port_that_is_taken_by_another_program_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(
            Unavailable, match=rf"127.0.0.1:{number} for metrics: .* Choose another `metrics_port`"
        ):
            MetricsPort("127.0.0.1", number, Meters(), "server")
