"""Processes that share a port answer for each other."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tidegate.telemetry import siblings as module
from tidegate.telemetry.meters import Distribution, Exemplar, Meters, Sample
from tidegate.telemetry.pages import Pages
from tidegate.telemetry.siblings import Siblings

OTHER = """
import sys
import threading
from tidegate.telemetry.meters import Distribution, Exemplar, Sample
from tidegate.telemetry.siblings import Siblings
passes = Distribution((1,) * 12, 0.5, {3: Exemplar("ab" * 16, 0.01, 1e9)})
told = [Sample("tidegate_starts_total", 7.0, ("etl",)), Sample("tidegate_cycle_pass_seconds", passes)]
siblings = Siblings(sys.argv[1], "worker", lambda: told)
print(siblings.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def group() -> str:
    return f"test-{secrets.token_hex(6)}"


@contextlib.contextmanager
def another(group: str) -> Iterator[str]:
    """Another process of the group; its name."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, group], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_a_process_tells_what_all_of_them_tell(group: str):
    meters = Meters()
    meters.count("tidegate_starts_total", "etl")
    with contextlib.closing(Siblings(group, "server", meters.samples)) as own, another(group) as other:
        assert (own.name, other) == ("server-0", "worker-1")
        assert own.ask() == [
            (
                other,
                [
                    Sample("tidegate_starts_total", 7.0, ("etl",)),
                    Sample(
                        "tidegate_cycle_pass_seconds",
                        Distribution((1,) * 12, 0.5, {3: Exemplar("ab" * 16, 0.01, 1e9)}),
                    ),
                ],
            )
        ]
        text = Pages(meters, own).page()[0].decode()
        assert 'tidegate_starts_total{process="server-0",queue="etl"} 1.0' in text
        assert 'tidegate_starts_total{process="worker-1",queue="etl"} 7.0' in text


def test_who_comes_back_gets_the_name_that_was_free(group: str):
    with contextlib.closing(Siblings(group, "server", list)) as own:
        with another(group) as first, another(group) as second:
            assert (first, second) == ("worker-1", "worker-2")
        with another(group) as again:  # both were killed: nothing is left of them
            assert again == "worker-1"
            assert [name for name, _ in own.ask()] == ["worker-1"]
        assert own.ask() == []


def test_groups_know_nothing_of_each_other(group: str):
    with (
        contextlib.closing(Siblings(group, "server", list)) as one,
        contextlib.closing(Siblings(f"{group}-b", "server", list)) as two,
    ):
        assert (one.name, two.name) == ("server-0", "server-0")
        assert one.ask() == two.ask() == []


@pytest.mark.parametrize("nonsense", [b"", b"[1, 2", b'["server-1", [["tidegate_leader"]]]'])
def test_one_that_tells_nonsense_is_told_of_in_its_place(group: str, nonsense: bytes):
    with contextlib.closing(Siblings(group, "server", list)) as own, impostor(own, 1) as listening:
        assert ask_while(own, listening, nonsense) == [
            ("1", [Sample("tidegate_metrics_missing", 1.0, ("process",))])
        ]


def test_one_that_stands_still_is_not_waited_for(group: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    with contextlib.closing(Siblings(group, "server", list)) as own, impostor(own, 3):
        assert own.ask() == [("3", [Sample("tidegate_metrics_missing", 1.0, ("process",))])]


def test_who_runs_under_another_user_is_not_believed(group: str, monkeypatch: pytest.MonkeyPatch):
    with contextlib.closing(Siblings(group, "server", list)) as own, another(group):
        monkeypatch.setattr(module, "_is_ours", lambda link: False)
        assert own.ask() == []


@contextlib.contextmanager
def impostor(own: Siblings, number: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{own._prefix}{number}")
        listening.listen()
        yield listening


def ask_while(own: Siblings, listening: socket.socket, answer: bytes) -> list[tuple[str, list[Sample]]]:
    """Ask, while whoever listens there answers this."""

    def serve() -> None:
        link, _ = listening.accept()
        with link:
            link.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        return own.ask()
    finally:
        thread.join()
