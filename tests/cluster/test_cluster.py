"""Two servers and two workers as one: what is submitted to one is seen, followed and cancelled on the other."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.server import final, started, submit
from tests.e2e.test_sql_jobs import ENDLESS
from tidegate.runtime.celery import make_app, node_name
from tidegate.testing.cluster import Cluster
from tidegate.testing.servers import Redis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("cluster")]
WITHIN_S = 30.0

Servers = list[httpx2.Client]


def until(look: Callable[[], Any], what: str, within_s: float = WITHIN_S) -> Any:
    """What `look` sees once that is true; looked at again and again, since other processes tell nobody here."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        pause.wait(0.05)
    return seen


def worker_of(http: httpx2.Client, job_id: str) -> str:
    """Where the job runs."""
    return str(http.get(f"/api/v1/jobs/{job_id}/tasks").json()["items"][0]["attempts"][-1]["worker"])


def worker(http: httpx2.Client, name: str) -> dict[str, Any]:
    found = {one["worker_id"]: one for one in http.get("/api/v1/workers").json()["items"]}
    return dict(found.get(name, {"status": "gone"}))


def shells(cluster: Cluster) -> set[int]:
    """The processes of attempts that are shells."""
    found = set()
    for pid in cluster.attempts_alive():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if Path(f"/proc/{pid}/comm").read_text() == "sh\n":
                found.add(pid)
    return found


def test_a_result_is_seen_and_read_on_both_servers(servers: Servers):
    one, other = servers
    job = final(other, submit(one, "select 40 + 2 as answer", result_name="answers"))
    assert job["job_status"] == "SUCCEEDED", job
    for http in servers:
        assert http.get("/api/v1/sources/answers").json()["row_count"] == 1
        rows = http.post("/api/v1/query", json={"sql": "from answers"})
        assert rows.json()["rows"] == [[42]], rows.text
    assert other.delete("/api/v1/sources/answers").status_code in (200, 204)


def test_work_is_spread_over_the_workers_and_none_is_oversold(servers: Servers):
    one, _ = servers
    assert one.put("/api/v1/queues/wide", json={"max_concurrent": None}).status_code == 200
    jobs = [submit(one, ENDLESS, queue="wide", cpus=1, memory="256MiB") for _ in range(4)]
    for job_id in jobs:
        started(one, job_id)
    places = [worker_of(one, job_id) for job_id in jobs]
    assert {name: places.count(name) for name in set(places)} == {"worker-0": 2, "worker-1": 2}
    fifth = submit(one, ENDLESS, queue="wide", cpus=1, memory="256MiB")

    def lacks() -> bool:
        return bool(one.get(f"/api/v1/jobs/{fifth}").json()["waiting"]["code"] == "resources")

    until(lacks, "to hear that there is no room")
    for job_id in [*jobs, fifth]:
        assert one.post(f"/api/v1/jobs/{job_id}/cancel").status_code in (200, 202)
    assert {final(one, job_id)["job_status"] for job_id in [*jobs, fifth]} == {"CANCELLED"}


def test_a_running_job_is_followed_and_cancelled_from_the_other_server(servers: Servers):
    one, other = servers
    job_id = submit(one, ENDLESS)
    started(other, job_id)
    with other.stream("GET", f"/api/v1/jobs/{job_id}/events") as events:
        lines = events.iter_lines()
        assert next(line for line in lines if "progress" in line)
    asked = time.monotonic()
    assert other.post(f"/api/v1/jobs/{job_id}/cancel").status_code in (200, 202)
    job = final(one, job_id)
    assert (job["job_status"], job["exit"]["reason"]) == ("CANCELLED", "cancelled")
    assert time.monotonic() - asked < WITHIN_S / 2  # by the broker, not by the beat half a minute later
    until(lambda: one.get(f"/api/v1/jobs/{job_id}").json()["finished_at"], "the end")


def test_commands_and_functions_run_on_workers_and_are_followed_on_servers(servers: Servers):
    one, other = servers
    script = "echo begun; read line; echo $line > $TIDEGATE_OUTPUT_DIR/x; env; echo done"
    asked = one.post(
        "/api/v1/jobs",
        json={"kind": "command", "argv": ["sh", "-c", script], "stdin": "sent\n", "memory": "64MiB"},
    )
    job_id = asked.json()["job_id"]
    with other.stream("GET", f"/api/v1/jobs/{job_id}/logs", params={"follow": True}) as answer:
        text = b"".join(answer.iter_raw())
    assert text.startswith(b"begun\n")
    assert text.endswith(b"done\n")
    for secret in (b"DATABASE_URL", b"CELERY", b"REDIS", b"postgresql://"):
        assert secret not in text
    assert final(other, job_id)["result"]["exit_code"] == 0
    assert other.get(f"/api/v1/jobs/{job_id}/files/x").text == "sent\n"
    body = {
        "kind": "function",
        "function": "tide_words:add",
        "args": [2],
        "kwargs": {"b": 40},
        "memory": "64MiB",
    }
    called = other.post("/api/v1/jobs", json=body).json()["job_id"]
    assert final(one, called)["result"]["value"] == 42


def test_celery_shows_what_runs_and_where(servers: Servers, redis: Redis):
    one, _ = servers
    job_id = submit(one, ENDLESS)
    started(one, job_id)
    name = node_name(worker_of(one, job_id))
    app = make_app(redis.url)
    active = app.control.inspect(destination=[name], timeout=10, limit=1).active()
    ((task,),) = active.values()
    assert task["name"] == "tidegate.run"
    assert [int(job_id), 1, 1] in task["args"][1]
    stats = app.control.inspect(destination=[name], timeout=10, limit=1).stats()[name]
    assert stats["pool"]["implementation"].endswith("thread:TaskPool")
    told = app.control.broadcast("tidegate_worker", destination=[name], reply=True, timeout=10, limit=1)
    assert told[0][name]["running"] == 1
    one.post(f"/api/v1/jobs/{job_id}/cancel")
    final(one, job_id)
    until(
        lambda: not app.control.inspect(destination=[name], timeout=10, limit=1).active()[name],
        "no task is active",
    )
    app.close()


def test_a_drained_worker_gets_nothing_and_a_resumed_one_does(servers: Servers):
    one, other = servers
    assert one.post("/api/v1/workers/worker-0/drain").json()["status"] == "draining"
    assert worker(other, "worker-0")["status"] == "draining"
    jobs = [submit(other, "select 1", cpus=2) for _ in range(4)]
    assert {worker_of(one, job_id) for job_id in jobs if final(one, job_id)} == {"worker-1"}
    assert other.post("/api/v1/workers/worker-0/resume").json()["status"] == "online"


def test_a_worker_that_is_told_to_end_puts_back_what_it_runs(cluster: Cluster, servers: Servers):
    one, other = servers
    job_id = submit(one, ENDLESS)
    started(one, job_id)
    first = worker_of(one, job_id)
    assert other.post(f"/api/v1/workers/{first}/stop").status_code == 202
    member = next(member for member in cluster.workers if member.name == first)
    until(lambda: not member.alive, "the worker ends")
    member.kill()  # which lets go of its output
    until(lambda: worker_of(one, job_id) != first, "the job runs on the other worker")
    attempts = one.get(f"/api/v1/jobs/{job_id}/tasks").json()["items"][0]["attempts"]
    assert [attempt["exit"]["reason"] for attempt in attempts[:-1]] == ["lease_expired"]
    one.post(f"/api/v1/jobs/{job_id}/cancel")
    assert final(one, job_id)["job_status"] == "CANCELLED"
    assert worker(other, first)["status"] == "gone"
    member.start()
    member.wait_ready()
    assert worker(other, first)["status"] == "online"


def test_a_server_that_goes_leaves_the_work_to_the_other(cluster: Cluster, servers: Servers):
    one, other = servers
    job_id = submit(one, "select sum(range) from range(1000)")
    final(one, job_id)
    cluster.servers[0].kill()
    job = final(other, submit(other, "select 7 as n"))
    assert job["job_status"] == "SUCCEEDED", json.dumps(job)


def test_attempts_outlive_the_servers_and_are_adopted(cluster: Cluster, servers: Servers):
    one, _ = servers
    wait = 'cd "$TIDEGATE_OUTPUT_DIR"; touch here-$0; until [ -e go ]; do sleep 0.05; done; echo over'
    one.put("/api/v1/queues/long", json={"max_concurrent": None})
    body = {"kind": "command", "queue": "long", "cpus": 1, "memory": "64MiB"}
    jobs = [
        one.post("/api/v1/jobs", json=body | {"argv": ["sh", "-c", wait, str(n)]}).json()["job_id"]
        for n in range(4)
    ]
    for job_id in jobs:
        started(one, job_id)
    places = {job_id: worker_of(one, job_id) for job_id in jobs}
    assert sorted(places.values()) == ["worker-0", "worker-0", "worker-1", "worker-1"]
    waiting = [
        until(lambda: list(cluster.shared.rglob(f"here-{n}")), "the command runs")[0]  # noqa: B023 - used at once
        for n in range(4)
    ]
    running = shells(cluster)
    assert len(running) == 4

    for server in cluster.servers:
        server.kill()
    assert shells(cluster) == running
    ended = [waiting[0].parent, waiting[1].parent]
    for folder in ended:
        (folder / "go").touch()
    left = until(lambda: len(now := shells(cluster)) == 2 and now, "two end while no server is there")
    assert left < running
    cluster.heal()

    with httpx2.Client(base_url=cluster.servers[0].url, timeout=60) as http:
        assert [final(http, job_id)["job_status"] for job_id in jobs[:2]] == ["SUCCEEDED"] * 2
        fresh = submit(
            http, "select 1", queue="long", cpus=1
        )  # who has begun to lead has looked at all that is there
        assert final(http, fresh)["job_status"] == "SUCCEEDED"
        assert shells(cluster) == left
        for folder in (waiting[2].parent, waiting[3].parent):
            (folder / "go").touch()
        for job_id in jobs:
            assert final(http, job_id)["job_status"] == "SUCCEEDED"
            (task,) = http.get(f"/api/v1/jobs/{job_id}/tasks").json()["items"]
            seen = [(attempt["state"], attempt["worker"]) for attempt in task["attempts"]]
            assert seen == [("succeeded", places[job_id])]


def test_a_second_worker_of_one_name_is_refused(cluster: Cluster, servers: Servers):
    again = Cluster(cluster.folder / "again", cluster.services, {}, servers=0, workers=1, clocks=False)
    (twin,) = again.workers
    twin.environment["NFS_SHARE_ROOT_PATH"] = str(cluster.shared)
    twin.start()
    with pytest.raises(RuntimeError, match="A worker named 'worker-0' runs already"):
        twin.wait_ready()
    again.close()


def test_a_redis_that_forgets_everything_under_load_oversells_nothing(servers: Servers, redis: Redis):
    one, other = servers
    one.put("/api/v1/queues/load", json={"max_concurrent": None})
    jobs = [
        {"kind": "sql", "sql": f"select {n} as n", "queue": "load", "memory": "256MiB", "cpus": 0.5}
        for n in range(120)
    ]
    answer = one.post("/api/v1/jobs/bulk", json={"jobs": jobs[:60]})
    redis.flush()  # with it go starts on their way to the workers
    answers = [answer, other.post("/api/v1/jobs/bulk", json={"jobs": jobs[60:]})]
    redis.flush()
    ids = [item["job_id"] for answer in answers for item in answer.json()["items"]]
    assert len(ids) == len(jobs)
    assert {final(other, job_id)["job_status"] for job_id in ids} == {"SUCCEEDED"}
    for job_id in ids:
        (task,) = one.get(f"/api/v1/jobs/{job_id}/tasks").json()["items"]
        assert [attempt["state"] for attempt in task["attempts"]] == ["succeeded"]

    def emptied(http: httpx2.Client) -> bool:
        free = http.get("/api/v1/capacity").json()
        return bool(free["source"] == "cache" and free["total"]["allocated"]["cpus"] == 0)

    for http in servers:
        until(lambda: emptied(http), "the counters are right again")  # noqa: B023 - used at once


def test_monitoring_answers_from_either_server_and_controls_any_worker(servers: Servers):
    one, other = servers
    final(one, submit(one, "select 1"))
    body = other.get("/api/v1/monitoring/workers").json()
    assert body["online_workers"] >= 2
    name = body["workers"][0]["worker_name"]

    def monitored() -> dict[str, Any]:
        return dict(other.get(f"/api/v1/monitoring/workers/{name}").json())

    before = monitored()
    assert {"sql", "command"} <= set(before["registered_tasks"])
    told = one.post(f"/api/v1/monitoring/workers/{name}/control?action=pool_restart")
    assert told.status_code == 200, told.text
    until(
        lambda: monitored()["pool_processes"][:1] not in ([], before["pool_processes"][:1]), "fresh processes"
    )
    until(lambda: monitored()["status"] == "online", "the worker takes jobs again")
    assert one.post(f"/api/v1/monitoring/workers/{name}/control?action=reset_stats").status_code == 200
    until(lambda: monitored()["total_tasks"] == 0, "counting from 0")
    health = one.get("/api/v1/health/workers")
    assert health.status_code == 200, health.text
