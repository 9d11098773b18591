"""One trace of a job through the processes of a cluster, as a collector gets it."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from tests.cluster.conftest import SETTINGS
from tests.cluster.test_cluster import until
from tests.e2e.server import final
from tests.telemetry.collector import Received, collecting
from tidegate.testing.cluster import Cluster, Services
from tidegate.testing.servers import PostgreSQL, Redis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("cluster")]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SUBMISSION = "POST /api/v1/jobs"
BY = {SUBMISSION: "server", "intake": "server", "plan": "server", "launch": "server", "attempt": "worker"}


def _spans(received: list[Received]) -> dict[str, Received]:
    """Those of our trace by their names."""
    return {one.span.name: one for one in list(received) if one.span.trace_id.hex() == TRACE}


def test_a_job_is_one_trace_from_its_client_through_server_and_worker(
    tmp_path: Path, redis: Redis, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with collecting() as collector, postgresql.database() as database:
        services = Services(database, redis.url, redis.url)
        settings = SETTINGS | {"otel_endpoint": collector.url}
        cluster = Cluster(tmp_path, services, settings, servers=1, workers=1, clocks=False)
        try:
            cluster.start()
            with httpx2.Client(base_url=cluster.servers[0].url, timeout=60) as http:
                asked = http.post(
                    "/api/v1/jobs",
                    json={"kind": "command", "argv": ["sh", "-c", "echo $TRACEPARENT"], "memory": "64MiB"},
                    headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
                )
                job = asked.json()["job_id"]
                assert final(http, job)["job_status"] == "SUCCEEDED"
                seen_inside = http.get(f"/api/v1/jobs/{job}/logs").text.strip()
            spans = until(
                lambda: found if set(found := _spans(collector.received)) >= set(BY) else None, "every span"
            )
        finally:
            cluster.close()
    assert {name: about["tidegate.role"] for name, (_, about) in spans.items() if name in BY} == BY
    submission, attempt = spans[SUBMISSION].span, spans["attempt"].span
    assert submission.parent_span_id.hex() == CALLER
    parents = {spans[name].span.parent_span_id for name in BY if name != SUBMISSION}
    assert parents == {submission.span_id}
    assert seen_inside == f"00-{TRACE}-{attempt.span_id.hex()}-01"
