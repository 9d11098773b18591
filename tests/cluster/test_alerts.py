"""Two servers on PostgreSQL: each event of an alert is told once and levels hold, whoever leads and whoever dies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.channels.receivers import Mailbox, Webhook, mail_server, webhook
from tests.cluster.test_cluster import until
from tests.cluster.test_overload import QUIET, felt
from tests.e2e.server import final, started, submit
from tests.e2e.test_alerts import CALM, RAISE, events
from tidegate.testing.cluster import Cluster, Member, Services
from tidegate.testing.servers import PostgreSQL, Redis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("cluster")]


@pytest.fixture
def told(tmp_path: Path, redis: Redis, postgresql: PostgreSQL) -> Iterator[tuple[Cluster, Webhook, Mailbox]]:
    """Two servers without workers, with two channels."""
    with webhook() as hook, mail_server() as box, postgresql.database() as database:
        settings = {
            "alert_channels": json.dumps({"hook": hook.url, "mail": box.url()}),
            "alert_every_s": 0.2,
            "leader_lease_s": 2.0,
            "cluster_name": "alerted",
        }
        services = Services(database, redis.url, redis.url)
        cluster = Cluster(tmp_path, services, settings, workers=0, clocks=False)
        try:
            cluster.start()
            yield cluster, hook, box
        finally:
            cluster.close()


def leader(cluster: Cluster) -> Member:
    """The one whose log says last that it leads."""
    said = {
        member.name: [line for line in member.log.read_text().splitlines() if "This server " in line]
        for member in cluster.servers
    }
    leading = [
        one for one in cluster.servers if said[one.name] and "leads" in said[one.name][-1] and one.alive
    ]
    assert len(leading) == 1, said
    return leading[0]


def test_each_event_is_told_once_though_the_leader_is_killed(told: tuple[Cluster, Webhook, Mailbox]):
    cluster, hook, box = told
    with httpx2.Client(base_url=cluster.servers[0].url, timeout=60) as http:
        http.patch("/api/v1/alerts/rules/no_worker", json={"enabled": False})
        http.patch("/api/v1/alerts/rules/memory", json=RAISE)
        assert json.loads(hook.next().body)["event"] == "raised"
        assert box.next()["Subject"].startswith("Tidegate, warning: Memory")
        until(lambda: {one[2] for one in events(http)} == {"sent"}, "that both are noted")
    first = leader(cluster)
    first.kill()
    (second,) = [one for one in cluster.servers if one is not first]
    with httpx2.Client(base_url=second.url, timeout=60) as http:
        until(lambda: "This server leads" in second.log.read_text(), "that the other leads")
        http.patch("/api/v1/alerts/rules/memory", json=CALM)
        call = json.loads(hook.next().body)
        assert (call["event"], call["source"]) == ("resolved", "alerted")
        assert box.next()["Subject"].startswith("Tidegate, resolved: Over: Memory")
        until(
            lambda: len(events(http)) == 4 and {one[2] for one in events(http)} == {"sent"}, "all are noted"
        )
        assert {one[3] for one in events(http)} == {1}
    assert hook.calls.empty()
    assert box.mails.empty()


@pytest.fixture
def paced(tmp_path: Path, redis: Redis, postgresql: PostgreSQL) -> Iterator[tuple[Cluster, Webhook]]:
    """Two servers with a channel, and a worker."""
    with webhook() as hook, postgresql.database() as database:
        settings = {
            "alert_channels": json.dumps({"hook": hook.url}),
            "alert_every_s": 0.2,
            "leader_lease_s": 2.0,
            "resend_after_s": 2.0,
            "beat_s": 2.0,
            "cpus": 2,
            "memory": "1GiB",
            "headroom_memory": "64MiB",
            "yield_cpu": "off",
        }
        cluster = Cluster(
            tmp_path, Services(database, redis.url, redis.url), settings, workers=1, clocks=False
        )
        try:
            cluster.start()
            yield cluster, hook
        finally:
            cluster.close()


WARNS: dict[str, Any] = {
    "signals": {
        **QUIET["signals"],
        "memory": {
            "warn": [{"thresholds": {"memory_used_percent": {"bound": 1}}, "hold_s": 0}],
            "critical": [],
            "emergency": [],
        },
    }
}
"""Rules by which the worker's level is `warn`, whatever it feels."""


def test_starts_stay_paced_and_alerts_are_told_once_when_the_leader_dies_in_the_midst(
    paced: tuple[Cluster, Webhook],
):
    cluster, hook = paced
    first = leader(cluster)
    (second,) = [one for one in cluster.servers if one is not first]
    with httpx2.Client(base_url=second.url, timeout=60) as http:
        for rule in ("pressure", "memory"):
            assert http.patch(f"/api/v1/alerts/rules/{rule}", json={"hold_s": 0}).status_code == 200
        assert http.put("/api/v1/pressure/rules", json=WARNS).status_code == 200
        until(lambda: felt(http, "worker-0").get("level") == "warn", "that the worker warns")
        http.patch("/api/v1/alerts/rules/memory", json=RAISE)  # fires while the leader dies
        jobs = [submit(http, f"select {number}") for number in range(8)]
        started(http, jobs[1])
        first.kill()
        until(lambda: "This server leads" in second.log.read_text(), "that the other leads")
        assert felt(http, "worker-0")["level"] == "warn"
        ended = [final(http, job) for job in jobs]
        assert {job["job_status"] for job in ended} == {"SUCCEEDED"}
        begun = sorted(datetime.fromisoformat(job["started_at"]) for job in ended)
        gaps_s = [(late - early).total_seconds() for early, late in pairwise(begun)]
        assert min(gaps_s) > 0.9, gaps_s
        until(lambda: told_of(http) >= {"pressure", "memory"}, "that both are noted", within_s=150.0)
    # A message that was sent in the very instant of the death comes again with its id.
    told = {call.headers["x-tidegate-id"]: json.loads(call.body) for call in hook.calls.queue}
    raised = sorted(
        (one["event"], one["rule"]) for one in told.values() if one["rule"] in ("pressure", "memory")
    )
    assert raised == [("raised", "memory"), ("raised", "pressure")], told


def told_of(http: httpx2.Client) -> set[str]:
    """The rules whose open alerts were sent to all."""
    found = http.get("/api/v1/alerts?state=open").json()["items"]
    notices = {
        alert["rule"]: http.get(f"/api/v1/alerts/{alert['alert_id']}").json()["notices"] for alert in found
    }
    return {rule for rule, sent in notices.items() if sent and {one["state"] for one in sent} == {"sent"}}
