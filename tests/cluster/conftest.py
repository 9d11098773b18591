"""A cluster of two servers and two workers, real processes on a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tidegate.testing.cluster import Cluster, Services
from tidegate.testing.servers import PostgreSQL, Redis

SETTINGS = {
    "yield_cpu": "off",  # tests share the machine with each other
    "pressure": "watch",  # and fill it
    "cpus": 2,
    "memory": "1GiB",
    "headroom_memory": "64MiB",
    "grace_s": 0.5,
    "resend_after_s": 2.0,
    "enable_commands": 1,
    "function_modules": '["tide_words"]',
    "function_path": json.dumps([str(Path(__file__).parents[1] / "e2e" / "modules")]),
}


def database_in(folder: Path) -> str:
    """SQLite on the shared folder; the braces are those of `Services`."""
    return f"sqlite:///{folder}/shared/tidegate.db".replace("{", "{{").replace("}", "}}")


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, redis: Redis, postgresql: PostgreSQL
) -> Iterator[Cluster]:
    with postgresql.database() as database:
        services = Services(database, redis.url, redis.url)
        made = Cluster(tmp_path_factory.mktemp("cluster"), services, SETTINGS, clocks=False)
        try:
            made.start()
            yield made
        finally:
            made.close()


@pytest.fixture
def servers(cluster: Cluster) -> Iterator[list[httpx2.Client]]:
    """A client of each server, all members alive and taking work."""
    cluster.heal()
    clients = [httpx2.Client(base_url=server.url, timeout=60) for server in cluster.servers]
    for worker in cluster.workers:
        assert clients[0].post(f"/api/v1/workers/{worker.name}/resume").status_code == 200
    yield clients
    for client in clients:
        client.close()
