"""A server, a mail server and a receiver of webhooks, all real: each event is told once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.channels.receivers import mail_server, webhook
from tests.cluster.test_cluster import until
from tests.e2e.server import Running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
RAISE = {"warning": 0.01, "severe": None, "danger": None, "hold_s": 0, "clear_s": 0}
CALM = {"warning": 99.9, "severe": None, "danger": None, "hold_s": 0, "clear_s": 0}


def events(http: Any, rule: str = "memory") -> list[tuple[str, str, str, int]]:
    """What was told to whom, in how many tries."""
    (alert,) = http.get("/api/v1/alerts", params={"rule": rule}).json()["items"]
    shown = http.get(f"/api/v1/alerts/{alert['alert_id']}").json()
    return [(one["what"], one["channel"], one["state"], one["tries"]) for one in shown["notices"]]


def test_each_event_is_one_mail_and_one_call_also_when_the_server_starts_anew(own_server: Running):
    with webhook() as hook, mail_server() as box:
        channels = json.dumps({"hook": hook.url, "mail": box.url()})
        own_server.start(alert_channels=channels, alert_every_s=0.1)
        with own_server.client() as http:
            http.patch("/api/v1/alerts/rules/memory", json=RAISE)
            assert json.loads(hook.next().body)["event"] == "raised"
            assert "warning" in box.next()["Subject"]
            until(lambda: {one[2] for one in events(http)} == {"sent"}, "that both are noted")
        own_server.kill()
        own_server.start()
        with own_server.client() as http:
            http.patch("/api/v1/alerts/rules/memory", json=CALM)
            assert json.loads(hook.next().body)["event"] == "resolved"
            assert "resolved" in box.next()["Subject"]
            until(
                lambda: len(events(http)) == 4 and {one[2] for one in events(http)} == {"sent"},
                "all are noted",
            )
            assert [one[3] for one in events(http)] == [1, 1, 1, 1]
        assert hook.calls.empty()
        assert box.mails.empty()


def test_a_channel_that_cannot_be_used_stops_the_server_at_once(tmp_path: Path):
    channels = json.dumps({"ops": "https://:token-of-mine@host/path"})
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")],
        env={**os.environ, "TIDEGATE_ALERT_CHANNELS": channels, "TIDEGATE_YIELD_CPU": "off"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "the URL of 'ops' cannot be used: the secret that signs has 13 characters" in done.stderr
    assert "token-of-mine" not in done.stderr + done.stdout
