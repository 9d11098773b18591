"""A server's entry in Consul, with a double of its agent that takes documented fields alone."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from tests.discovery.consul_double import WITHIN_S, ConsulDouble
from tests.environment import others_environment
from tidegate.app.consul import consul_fault, make_registration
from tidegate.app.wiring import registration
from tidegate.discovery.consul import ConsulAgent, ConsulFailed, Entry, Forgotten
from tidegate.discovery.registration import Registration
from tidegate.settings import load_settings
from tidegate.testing.servers import free_port

SECRET = "b1gs08hh-not-a-real-token"
ENTRY = Entry("tidegate-a-8420", "tidegate", "192.0.2.7", 8420, "0.1.0", ttl_s=30, forgotten_after_s=600)
CHECK = "service:tidegate-a-8420"


@pytest.fixture
def consul() -> Iterator[ConsulDouble]:
    with ConsulDouble() as double:
        yield double


def agent_of(double: ConsulDouble, token: str | None = None, wait_s: float = 5.0) -> ConsulAgent:
    return ConsulAgent("127.0.0.1", double.port, lambda: token, wait_s=wait_s)


@contextmanager
def registered(
    double: ConsulDouble, faults: Callable[[], list[str]] = list, **options: float
) -> Iterator[Registration]:
    kept = Registration(
        agent_of(double, wait_s=options.pop("wait_s", 5.0)), lambda: ENTRY, faults, every_s=0.02
    )
    kept.start()
    try:
        yield kept
    finally:
        kept.close()


def test_the_entry_is_made_told_and_removed(consul):
    wrong: list[str] = []
    with registered(consul, lambda: wrong):
        consul.until(lambda: consul.checks)
        assert consul.services[ENTRY.id] == {
            "ID": "tidegate-a-8420",
            "Name": "tidegate",
            "Address": "192.0.2.7",
            "Port": 8420,
            "Meta": {"version": "0.1.0"},
            "Check": {
                "CheckID": CHECK,
                "Name": "able to work",
                "Notes": "The server itself tells it; 30 s of silence are critical.",
                "TTL": "30s",
                "Status": "passing",
                "DeregisterCriticalServiceAfter": "600s",
            },
        }
        wrong[:] = ["store", "disk"]
        consul.until(lambda: consul.checks[CHECK]["Status"] == "critical")
        assert consul.checks[CHECK]["Output"] == "Not able to work: store, disk."
        wrong.clear()
        consul.until(lambda: consul.checks[CHECK]["Status"] == "passing")
    assert consul.services == consul.checks == {}
    assert consul.refused == []


@pytest.mark.parametrize(
    "answer",
    [
        (404, 'Unknown check ID "{id}"'),
        (500, 'Unknown check "{id}"'),
        (500, 'CheckID "{id}" does not have associated TTL'),
    ],
)
def test_what_the_agent_forgot_is_registered_again(consul, answer):
    consul.unknown = answer
    with registered(consul):
        consul.until(lambda: consul.services)
        consul.forget()
        consul.until(lambda: consul.services)


def test_while_the_agent_is_away_nothing_waits_and_the_log_says_so_once(caplog):
    caplog.set_level(logging.INFO, "tidegate.consul")
    double = ConsulDouble()
    double.port = free_port()
    turns = _Counter()
    with registered(double, turns):
        turns.wait_for(5)
        with double:
            double.until(lambda: double.services)
            double.stop()
            turns.wait_for(turns.count + 5)
            double.start()
            seen = double.calls
            double.until(lambda: double.calls > seen)
    told = [record.levelname for record in caplog.records if "cannot be told" in record.message]
    assert 2 <= len(told) <= 3  # a connection that is cut and one that is refused have different words
    assert "Consul is told of this server again." in caplog.messages


def test_an_agent_that_hangs_does_not_hold_up_the_end(consul):
    """Without a bound this would wait for the agent's answer, longer than a test may take."""
    consul.hangs.set()
    agent = agent_of(consul, wait_s=600.0)
    kept = Registration(agent, lambda: ENTRY, list, every_s=0.02, leave_within_s=0.2)
    kept.start()
    kept.close()
    assert consul.services == {}


def test_an_entry_whose_registration_had_no_answer_is_removed_too(consul, caplog):
    consul.loses_answers.set()
    with registered(consul):
        consul.until(lambda: consul.services)
    assert consul.services == consul.checks == {}
    assert "has forgotten" not in caplog.text


def test_a_token_goes_with_each_call_and_is_never_told(caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "token"
    file.write_text("an old one\n")
    with ConsulDouble(token=SECRET) as double:
        settings = load_settings(
            consul_host="127.0.0.1", consul_port=double.port, consul_token_file=file, host="0.0.0.0"
        )
        kept = make_registration(settings, 8420, dict)
        kept._every_s = 0.02
        kept.start()
        double.until(lambda: double.calls > 1)
        file.write_text(SECRET + "\n")  # a new one is used without a restart
        double.until(lambda: double.services)
        kept.close()
        assert double.services == {}
    assert "refused with 403" in caplog.text
    assert "CONSUL_HTTP_TOKEN" in caplog.text
    assert SECRET not in caplog.text
    assert SECRET not in repr(load_settings(consul_token=SECRET))


def test_a_token_may_come_from_the_environment(consul, monkeypatch):
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", SECRET)
    monkeypatch.setenv("CONSUL_HOST", "127.0.0.1")
    monkeypatch.setenv("CONSUL_PORT", str(consul.port))
    consul.token = SECRET
    kept = registration(load_settings(share_port=False), 8421, dict)
    assert kept is not None
    kept.start()
    consul.until(lambda: consul.services)
    (entry,) = consul.services.values()
    kept.close()
    assert (entry["Port"], entry["Address"]) == (8421, "127.0.0.1")
    assert entry["ID"].endswith("-8421")


def test_servers_that_share_a_port_have_entries_of_their_own_and_no_address_for_all(consul):
    settings = load_settings(
        consul_host="127.0.0.1",
        consul_port=consul.port,
        host="0.0.0.0",
        share_port=True,
        broker_url="redis://r",
    )
    kept = make_registration(settings, 8420, dict)
    kept.start()
    consul.until(lambda: consul.services)
    (entry,) = consul.services.values()
    kept.close()
    assert entry["ID"].endswith(f"-8420-{os.getpid()}")
    assert "Address" not in entry  # the agent is on this machine: its own address is right


def test_without_a_host_there_is_nothing():
    assert registration(load_settings(), 8420, dict) is None
    assert registration(load_settings(consul_host=""), 8420, dict) is None


def test_what_the_doctor_says_of_consul(consul):
    def fault(**more: object) -> str | None:
        return consul_fault(load_settings(**{"consul_host": "127.0.0.1", "consul_port": consul.port, **more}))

    assert fault() is None
    assert "does not answer" in str(fault(consul_port=1))
    assert "token cannot be read" in str(fault(consul_token_file="/nowhere"))


def test_the_calls_say_what_was_refused(consul):
    with closing(agent_of(consul)) as agent:
        with pytest.raises(Forgotten):
            agent.deregister("nobody")
        with pytest.raises(Forgotten):
            agent.tell("nobody", "passing", "")
        with pytest.raises(ConsulFailed, match="refused with 400"):
            agent.register(Entry("a", "a", None, 1, "0", 30, forgotten_after_s=5), "passing", "")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_is_found_while_it_runs(consul, tmp_path, how):
    port = free_port()
    settings = {
        "TIDEGATE_DATA_DIR": str(tmp_path),
        "CONSUL_HOST": "127.0.0.1",
        "CONSUL_PORT": str(consul.port),
        "TIDEGATE_GRACE_S": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tidegate", "serve", "--port", str(port)],
        env={**others_environment(), **settings}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        consul.until(lambda: consul.services)
        (entry,) = consul.services.values()
        process.send_signal(how)
        _, logged = process.communicate(timeout=WITHIN_S)
    finally:
        process.kill()
        process.wait()
    assert entry["Port"] == port
    assert entry["Check"]["Status"] == "passing"
    # Nobody can remove the entry of a server that was killed: it is critical after its time, and then forgotten.
    assert (consul.services == {}) == (how == signal.SIGTERM)
    assert consul.refused == []
    assert how == signal.SIGKILL or "Registered with Consul" in logged


@pytest.mark.slow
def test_a_server_without_consul_loads_nothing_for_it():
    code = "import sys, tidegate.app.serving; print([m for m in sys.modules if 'discovery' in m or m == 'httpx2'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class _Counter:
    """Counts turns of the registration: each asks for faults."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def __call__(self) -> list[str]:
        with self._changed:
            self.count += 1
            self._changed.notify_all()
        return []

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= count, WITHIN_S)
