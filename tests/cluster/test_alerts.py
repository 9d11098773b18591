"""Two servers on PostgreSQL: each event of an alert is told once, whoever leads and whoever dies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.channels.receivers import Mailbox, Webhook, mail_server, webhook
from tests.cluster.test_cluster import until
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
