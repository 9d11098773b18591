"""Queries over real files, the whole way: HTTP in, sandbox, Parquet out."""

import random
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.server import Running, final, started, submit, until

ENDLESS = "select sum(a.range * b.range) from range(10000000) a, range(10000000) b"


def test_a_result_is_a_parquet_file_and_a_source_with_lineage(http: httpx2.Client, server: Running) -> None:
    (server.data_dir / "files" / "cities.csv").write_text("city,people\nKiel,247\nBonn,330\nUlm,126\n")
    http.post("/api/v1/sources", json={"name": "cities", "path": "files/cities.csv"}).raise_for_status()

    job = final(
        http, submit(http, "select * from cities where people > 200 order by city", result_name="large")
    )

    assert job["job_status"] == "SUCCEEDED"
    assert job["result"]["row_count"] == 2
    assert Path(job["result"]["path"]).read_bytes()[:4] == b"PAR1"
    source = http.get("/api/v1/sources/large").json()
    assert source["lineage"] == ["cities"]
    assert source["job_id"] == job["job_id"]
    assert [c["type"] for c in source["columns"]] == ["VARCHAR", "BIGINT"]
    again = http.post("/api/v1/query", json={"sql": "select city from large"}).json()
    assert again["rows"] == [["Bonn"], ["Kiel"]]


def test_an_unnamed_result_is_named_after_its_job(http: httpx2.Client) -> None:
    job = final(http, submit(http, "select 7 as seven"))
    source = f"async_result_{job['job_id']}"
    assert job["result"]["source"] == source
    assert http.post("/api/v1/query", json={"sql": f"from {source}"}).json()["rows"] == [[7]]


def test_the_default_queue_can_be_paused_before_the_first_job(own_server: Running) -> None:
    own_server.start()
    with own_server.client() as client:
        assert client.post("/api/v1/queues/default/pause").json()["paused"] is True
    own_server.stop()
    own_server.start()
    with own_server.client() as client:
        assert client.get("/api/v1/queues/default").json()["paused"] is True


def test_higher_priority_starts_first_and_equal_priority_keeps_its_order(http: httpx2.Client) -> None:
    queue = {"queue": "orderly"}
    http.put("/api/v1/queues/orderly", json={"max_concurrent": 1}).raise_for_status()
    http.post("/api/v1/queues/orderly/pause").raise_for_status()
    asked = ["low", "normal", "high", "normal", "low", "high"]
    random.Random(7).shuffle(asked)
    jobs = [(submit(http, "select 1", priority=priority, **queue), priority) for priority in asked]
    http.post("/api/v1/queues/orderly/resume").raise_for_status()

    finished = {job_id: final(http, job_id)["started_at"] for job_id, _ in jobs}

    order = sorted(finished, key=lambda job_id: (finished[job_id], int(job_id)))
    rank = {"high": 0, "normal": 1, "low": 2}
    assert order == [job_id for job_id, priority in sorted(jobs, key=lambda j: (rank[j[1]], int(j[0])))]


def test_a_waiting_job_says_why_and_where_it_stands(http: httpx2.Client) -> None:
    http.put("/api/v1/queues/narrow", json={"max_concurrent": 1}).raise_for_status()
    running = submit(http, ENDLESS, queue="narrow")
    started(http, running)
    first, second = (submit(http, "select 1", queue="narrow") for _ in range(2))

    assert http.get(f"/api/v1/jobs/{second}").json()["waiting"] is not None

    def looked_at(job_id: str) -> dict[str, Any] | None:
        waiting: dict[str, Any] = http.get(f"/api/v1/jobs/{job_id}").json()["waiting"]
        return None if waiting["code"] == "not_judged" else waiting

    waiting = until(lambda: looked_at(second))
    assert waiting["position"] == 2
    assert waiting["code"] in ("behind", "queue_cap")
    assert "narrow" in until(lambda: looked_at(first))["sentence"]
    http.post(f"/api/v1/jobs/{running}/cancel").raise_for_status()
    assert final(http, second)["job_status"] == "SUCCEEDED"


def test_a_running_query_can_be_cancelled_and_leaves_the_machine(http: httpx2.Client) -> None:
    job_id = submit(http, ENDLESS)
    started(http, job_id)
    http.post(f"/api/v1/jobs/{job_id}/cancel").raise_for_status()
    job = final(http, job_id)
    assert (job["job_status"], job["exit"]["reason"]) == ("CANCELLED", "cancelled")
    assert http.get(f"/api/v1/sources/async_result_{job_id}").status_code == 404


def test_a_waiting_query_is_cancelled_at_once(http: httpx2.Client) -> None:
    http.put("/api/v1/queues/closed", json={"max_concurrent": 1}).raise_for_status()
    http.post("/api/v1/queues/closed/pause").raise_for_status()
    job_id = submit(http, "select 1", queue="closed")
    assert http.post(f"/api/v1/jobs/{job_id}/cancel").json()["job_status"] == "CANCELLED"
    assert final(http, job_id)["started_at"] is None


def test_a_time_limit_ends_the_query_with_its_numbers(http: httpx2.Client) -> None:
    job = final(http, submit(http, ENDLESS, timeout_s=1))
    assert job["exit"]["reason"] == "time_limit"
    assert job["exit"]["limit"] == 1
    assert job["exit"]["observed"] >= 1


def test_the_same_idempotency_key_gives_the_same_job(http: httpx2.Client) -> None:
    body = {"kind": "sql", "sql": "select 'once'"}
    first, second = (
        http.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": "k-1"}).json() for _ in range(2)
    )
    assert first["job_id"] == second["job_id"]
    other = http.post("/api/v1/jobs", json={**body, "sql": "select 2"}, headers={"Idempotency-Key": "k-1"})
    assert other.status_code == 409


def test_events_can_be_followed_and_resumed(http: httpx2.Client) -> None:
    job_id = submit(http, "select 1")
    final(http, job_id)
    every = http.get(f"/api/v1/jobs/{job_id}/events", headers={"Accept": "application/json"}).json()["items"]
    assert [event["type"] for event in every] == ["accepted", "started", "succeeded"]
    resumed = http.get(f"/api/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(every[1]["id"])}).text
    assert "succeeded" in resumed
    assert "accepted" not in resumed


def test_a_query_in_the_request_states_the_limit_it_reached(http: httpx2.Client) -> None:
    answer = http.post("/api/v1/query", json={"sql": "from range(1000)", "limit": 10}).json()
    assert (len(answer["rows"]), answer["truncated"], answer["reached"]) == (10, True, "rows")
    late = http.post("/api/v1/query", json={"sql": ENDLESS, "timeout_s": 1})
    assert late.json()["code"] == "time_limit"


def test_downloads_come_in_each_format(http: httpx2.Client) -> None:
    job_id = submit(http, "select i as n, 'v' || i as t from range(3) r(i)")
    final(http, job_id)
    source = f"/api/v1/sources/async_result_{job_id}/download"
    assert http.get(source, params={"format": "csv"}).text == "n,t\n0,v0\n1,v1\n2,v2\n"
    assert http.get(source, params={"format": "jsonl"}).text.splitlines()[2] == '{"n":2,"t":"v2"}'
    assert http.get(source, params={"format": "parquet"}).content[:4] == b"PAR1"


def test_the_record_says_by_which_means_the_limits_were_held(http: httpx2.Client) -> None:
    rungs = ("cgroup2", "cgroup1", "watchdog")
    job = final(http, submit(http, "select 1"))
    assert job["usage"]["enforced_by"] in rungs
    [task] = http.get(f"/api/v1/jobs/{job['job_id']}/tasks").json()["items"]
    assert task["attempts"][0]["usage"]["enforced_by"] == job["usage"]["enforced_by"]
