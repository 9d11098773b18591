"""Of two workers one is in trouble: the servers see it, start nothing there, and start again when it is over."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.cluster.test_cluster import until, worker, worker_of
from tests.e2e.server import final, submit
from tidegate.core.resources import GIB
from tidegate.runtime.ancestry import groups_above, number_field_of
from tidegate.runtime.limits.paths import UNIFIED
from tidegate.testing.cluster import Cluster, Services
from tidegate.testing.servers import PostgreSQL, Redis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("cluster")]
SETTINGS = {
    "yield_cpu": "off",  # tests share the machine with each other
    "cpus": 2,
    "memory": "512MiB",
    "headroom_memory": "64MiB",
    "grace_s": 0.5,
    "resend_after_s": 2.0,
    "beat_s": 2.0,
    "alert_every_s": 0.5,
    "max_crashes": 2,
}
LIMIT_BYTES = GIB
QUIET: dict[str, Any] = {
    "signals": {
        "memory": {"emergency": []},
        "memory_stall": {"warn": [], "critical": [], "emergency": []},
        "io_stall": {"warn": [], "critical": []},
        "disk": {"warn": [], "critical": [], "emergency": []},
    }
}
"""Rules by which the other tests on this machine make no pressure, and nothing is ended."""


class Group:
    """A control group of memory of a test's own, with a limit; made as whoever may, which is root."""

    def __init__(self, name: str, limit_bytes: int) -> None:
        above = groups_above()
        v1 = "memory" in above
        self.folder = Path(above["memory" if v1 else UNIFIED][-1].folder) / name
        self.folder.mkdir()
        (self.folder / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(limit_bytes))
        self._used = self.folder / ("memory.usage_in_bytes" if v1 else "memory.current")
        self._cache = "total_inactive_file" if v1 else "inactive_file"

    def within(self, command: list[str]) -> list[str]:
        """The command, begun in this group."""
        return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.folder), *command]

    def used_bytes(self) -> int:
        """Without page cache that nobody uses."""
        cache = number_field_of((self.folder / "memory.stat").read_text(), self._cache)
        return int(self._used.read_text()) - (cache or 0)

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            until(lambda: not (self.folder / "cgroup.procs").read_text(), "that the group is empty")
        self.folder.rmdir()


@pytest.fixture
def cluster(tmp_path: Path, redis: Redis, postgresql: PostgreSQL) -> Iterator[Cluster]:
    """Two servers and two workers, not started yet; jobs can be sent to each worker by the label `box`."""
    with postgresql.database() as database:
        made = Cluster(tmp_path, Services(database, redis.url, redis.url), SETTINGS, clocks=False)
        for number, member in enumerate(made.workers):
            member.environment["TIDEGATE_LABELS"] = json.dumps({"box": str(number)})
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def small_box(cluster: Cluster) -> Iterator[Group]:
    """The first worker has 1 GiB of memory in a group of its own."""
    group = Group(f"tidegate-test-{os.getpid()}", LIMIT_BYTES)
    cluster.workers[0].command = group.within(cluster.workers[0].command)
    yield group
    cluster.workers[0].kill()
    group.remove()


@contextlib.contextmanager
def holding(group: Group, count_bytes: int) -> Iterator[None]:
    """Another program in the group, which holds this much memory."""
    program = f"held = bytearray(b'x') * {count_bytes}; print(len(held), flush=True); input()"
    command = group.within([sys.executable, "-c", program])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == count_bytes
        try:
            yield
        finally:
            process.kill()


def felt(http: httpx2.Client, name: str) -> dict[str, Any]:
    workers = http.get("/api/v1/pressure").json()["workers"]
    return next((one for one in workers if one["worker_id"] == name), {})


def spared(http: httpx2.Client, job_id: str) -> dict[str, Any] | None:
    """Why the job waits, once that is the pressure on a worker."""
    waiting = http.get(f"/api/v1/jobs/{job_id}").json()["waiting"]
    return dict(waiting) if waiting and waiting["code"] == "pressure" else None


@pytest.mark.root
def test_a_worker_under_pressure_is_seen_elsewhere_and_spared_until_it_is_over(
    cluster: Cluster, small_box: Group
):
    cluster.start()
    with contextlib.ExitStack() as opened:
        one, other = (
            opened.enter_context(httpx2.Client(base_url=server.url, timeout=60)) for server in cluster.servers
        )
        assert one.put("/api/v1/pressure/rules", json=QUIET).status_code == 200
        until(lambda: felt(other, "worker-0").get("readings"), "its readings")
        with holding(small_box, int(0.93 * LIMIT_BYTES) - small_box.used_bytes()):
            until(lambda: felt(other, "worker-0")["level"] == "critical", "that the other server hears of it")
            told = felt(other, "worker-0")["readings"]
            assert (told["memory_limit_bytes"], told["memory_used_percent"] >= 90) == (LIMIT_BYTES, True)
            held = submit(one, "select 1", labels={"box": "0"})
            spare = final(one, submit(one, "select 2"))
            assert (spare["job_status"], worker_of(one, spare["job_id"])) == ("SUCCEEDED", "worker-1")
            reason = until(lambda: spared(other, held), "that the other server says why it waits")
            assert "worker-0" in reason["sentence"]
            assert "critical: memory_used_percent 9" in reason["sentence"]
            urgent = final(one, submit(one, "select 3", labels={"box": "0"}, priority="high"))
            assert worker_of(one, urgent["job_id"]) == "worker-0"
            assert other.get(f"/api/v1/jobs/{held}").json()["job_status"] == "QUEUED"
        until(lambda: felt(other, "worker-0")["level"] == "normal", "that it is over", within_s=60.0)
        assert final(other, held)["job_status"] == "SUCCEEDED"


def zygote(http: httpx2.Client, other_than: int) -> int:
    told = http.get("/api/v1/monitoring/workers/worker-0").json()["pool_processes"]
    return next((int(pid) for pid in told if int(pid) != other_than), 0)


def alerts(http: httpx2.Client) -> list[tuple[str, str, str]]:
    found = http.get("/api/v1/alerts?state=open").json()["items"]
    return sorted((alert["rule"], alert["subject"], alert["level"]) for alert in found)


def test_a_worker_that_keeps_crashing_takes_no_starts_and_the_others_go_on(cluster: Cluster):
    cluster.start()
    with httpx2.Client(base_url=cluster.servers[1].url, timeout=60) as http:
        killed = 0
        for _ in range(3):
            killed = until(partial(zygote, http, killed), "a new zygote")
            os.kill(killed, signal.SIGKILL)
        until(lambda: worker(http, "worker-0")["status"] == "draining", "that it is drained")
        assert http.get("/api/v1/safe-mode").json()["mode"] == "normal"
        until(lambda: ("crash_loop", "worker worker-0", "warning") in alerts(http), "the alert")
        assert [one for one in alerts(http) if one[0] == "crash_loop"] == [
            ("crash_loop", "worker worker-0", "warning")
        ]
        for _ in range(3):
            job = final(http, submit(http, "select 1"))
            assert (job["job_status"], worker_of(http, job["job_id"])) == ("SUCCEEDED", "worker-1")
        assert http.post("/api/v1/workers/worker-0/resume").status_code == 200
        job = final(http, submit(http, "select 2", labels={"box": "0"}))
        assert (job["job_status"], worker_of(http, job["job_id"])) == ("SUCCEEDED", "worker-0")
