"""`tidegate alerts` and `client.alerts`, against a real server that raises a real alert."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import tidegate
from tests.channels.receivers import Webhook, webhook
from tests.client.live import live_client
from tests.ui.test_commands import run
from tidegate.errors import InvalidInput, NotFound

WITHIN_S = 30.0


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    with webhook() as made:
        yield made


@pytest.fixture(scope="module")
def alarmed(hook: Webhook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tidegate.Client]:
    """A server on which memory in use is an alert."""
    settings = {"alert_channels": json.dumps({"hook": hook.url}), "alert_every_s": 0.1}
    with live_client(tmp_path_factory.mktemp("data"), **settings) as client:
        client.alerts.change_rule("memory", warning=0.01, severe=None, danger=None, hold_s=0.0)
        assert json.loads(hook.next().body)["rule"] == "memory"
        yield client


def printed(client: tidegate.Client, *arguments: str) -> Any:
    done = run("alerts", *arguments, "--json", url=client.url)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_real_alert_is_listed_shown_and_acknowledged(alarmed: tidegate.Client):
    (alert,) = printed(alarmed, "list", "--rule", "memory")
    assert (alert["level"], alert["state"]) == ("warning", "open")
    table = run("alerts", "list", url=alarmed.url).stdout
    assert "Memory in use of" in table
    shown = run("alerts", "show", alert["alert_id"], url=alarmed.url).stdout
    assert "Find out who uses it" in shown
    assert "hook" in shown
    done = run("alerts", "ack", alert["alert_id"], "--note", "seen", url=alarmed.url)
    assert done.stdout == f"Alert {alert['alert_id']} is acknowledged by local.\n"
    assert printed(alarmed, "list", "--state", "acknowledged", "--level", "warning")[0]["rule"] == "memory"
    assert printed(alarmed, "list", "--level", "danger") == []
    assert printed(alarmed, "show", alert["alert_id"])["history"][1]["text"] == "seen"
    assert run("alerts", "show", "99999", url=alarmed.url).returncode == 3


def test_silences_are_made_listed_and_ended(alarmed: tidegate.Client):
    done = run("alerts", "silence", "--rule", "disk", "--minutes", "5", url=alarmed.url)
    assert "nobody is told of disk until" in done.stdout
    (silence,) = printed(alarmed, "silences")
    assert "disk" in run("alerts", "silences", url=alarmed.url).stdout
    printed(alarmed, "unsilence", silence["silence_id"])
    assert printed(alarmed, "silences") == []


def test_rules_are_listed_and_changed(alarmed: tidegate.Client):
    changed = printed(alarmed, "rule", "cpu", "--warning", "90", "--danger", "none", "--hold", "5", "--off")
    assert (changed["warning"], changed["danger"], changed["hold_s"], changed["enabled"]) == (
        90,
        None,
        5,
        False,
    )
    table = run("alerts", "rules", url=alarmed.url).stdout
    assert [line.split()[0] for line in table.splitlines()[1:3]] == ["channel_lost", "cpu"]
    assert "> 90" in table
    assert "off" in run("alerts", "rule", "cpu", "--warning", "91", url=alarmed.url).stdout
    assert printed(alarmed, "rule", "cpu", "--defaults")["enabled"] is True
    assert run("alerts", "rule", "cpu", url=alarmed.url).returncode == 2
    assert run("alerts", "rule", "cpu", "--warning", "much", url=alarmed.url).returncode == 2
    assert run("alerts", "rule", "odd", "--warning", "1", url=alarmed.url).returncode == 3


def test_channels_are_listed_and_tested(alarmed: tidegate.Client, hook: Webhook):
    (channel,) = printed(alarmed, "channels")
    assert channel["name"] == "hook"
    assert "…" in run("alerts", "channels", url=alarmed.url).stdout
    assert run("alerts", "test", "hook", url=alarmed.url).stdout == "Channel hook: the message was sent.\n"
    assert json.loads(hook.next().body)["event"] == "test"
    hook.statuses.append(503)
    done = run("alerts", "test", "hook", url=alarmed.url)
    assert (done.returncode, "status 503" in done.stdout) == (4, True)
    assert run("alerts", "test", "none", url=alarmed.url).returncode == 3


def test_both_faces_of_the_client_do_the_same(alarmed: tidegate.Client):
    with pytest.raises(NotFound):
        alarmed.alerts.get("777")
    with pytest.raises(InvalidInput):
        alarmed.alerts.change_rule("disk", warning=200.0)
    silence = alarmed.alerts.silence(1, subject="node", reason="a drill")
    assert [one["reason"] for one in alarmed.alerts.silences()] == ["a drill"]
    alarmed.alerts.end_silence(silence["silence_id"])

    async def asked() -> list[Any]:
        async with tidegate.connect_async(alarmed.url) as client:
            alerts = [alert async for alert in client.alerts.list(state="active", rule="memory")]
            made = await client.alerts.silence(1, rule="cpu")
            found = [one["rule"] async for one in client.alerts.silences()]
            await client.alerts.end_silence(made["silence_id"])
            rule = await client.alerts.change_rule("disk", hold_s=5.0)
            back = await client.alerts.reset_rule("disk")
            seen = await client.alerts.acknowledge(alerts[0]["alert_id"])
            shown = await client.alerts.get(alerts[0]["alert_id"])
            tested = await client.alerts.test("hook")
            names = [one["name"] async for one in client.alerts.channels()]
            rules = [one["name"] async for one in client.alerts.rules()]
            return [
                found,
                rule["hold_s"],
                back["hold_s"],
                seen["state"],
                shown["rule"],
                tested["sent"],
                names,
                len(rules),
            ]

    assert asyncio.run(asked()) == [["cpu"], 5, 60, "acknowledged", "memory", True, ["hook"], 12]


def test_an_alert_ends_when_its_rule_is_put_back(alarmed: tidegate.Client):
    alarmed.alerts.change_rule("memory", warning=99.9, clear_s=0.0)
    deadline, pause = time.monotonic() + WITHIN_S, threading.Event()
    while list(alarmed.alerts.list(state="active", rule="memory")):
        assert time.monotonic() < deadline
        pause.wait(0.05)
    (ended,) = alarmed.alerts.list(state="resolved", rule="memory")
    assert ended["message"].startswith("Over: Memory in use of")
