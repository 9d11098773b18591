"""What clients are written against: names, fields and answers that stay. One suite, for a server alone and for a cluster.

More fields are welcome, so sets are compared by "at least".
"""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.support import assert_problem
from tests.e2e.loading import load_test
from tests.e2e.server import final, started, submit, until
from tests.e2e.test_sql_jobs import ENDLESS

SUBMITTED = {"job_id", "job_status", "position", "links"}
JOB = {
    "job_id", "kind", "name", "queue", "priority", "job_status", "created_at", "started_at", "finished_at", "tasks",
    "progress", "request", "usage", "exit", "waiting", "result",
}  # fmt: skip
USAGE = {"peak_memory_bytes", "cpu_seconds", "wall_seconds"}
EXIT = {"reason", "message", "limit", "observed", "enforced_by"}
WAITING = {"code", "sentence", "expected_start_at"}
SQL_RESULT = {"source", "path", "row_count", "column_count", "columns", "size_bytes"}
TASK = {"task_id", "job_id", "name", "state", "attempts"}
LINT_TASK = {"task_id", "job_id", "file", "state", "verdict", "violations", "attempts"}
VIOLATION = {"rule", "line", "column", "description", "severity", "fixable"}
PROBLEM = {"type", "title", "status", "detail", "code"}
OVERVIEW = {"timestamp", "total_workers", "online_workers", "workers", "queues"}
WORKER = {
    "worker_name", "status", "active_tasks", "current_tasks", "total_tasks", "pool_implementation", "pool_processes",
    "rusage", "registered_tasks",
}  # fmt: skip
SYSTEM = {"cpu", "memory", "disk", "nfs_storage", "network", "process"}
CHECKS = {"celery_workers", "message_queues", "task_processing"}
JSON = {"Content-Type": "application/json"}
LISTS = ("jobs", "sources", "queues", "workers", "keys", "audit")

_numbers = itertools.count(1)


def fresh(stem: str) -> str:
    """A name that no other test has."""
    return f"{stem}_{next(_numbers)}"


def accepted(http: httpx2.Client, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = http.post("/api/v1/jobs", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def succeeded(http: httpx2.Client, body: dict[str, Any]) -> dict[str, Any]:
    job = final(http, accepted(http, body)["job_id"])
    assert job["job_status"] == "SUCCEEDED", json.dumps(job)
    return job


def uploaded(http: httpx2.Client, name: str, content: bytes, **params: str) -> dict[str, Any]:
    answer = http.put(f"/api/v1/files/{name}", content=content, params=params)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def archive(**files: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        for name, text in files.items():
            made.writestr(f"{name}.sql", text)
    return held.getvalue()


class Contract:
    """A subclass gives `http`, of a server that takes commands and the functions of `tide_words`, and `shared`, its folder."""

    has_shared_path = False

    # Jobs

    def test_a_submission_is_answered(self, http: httpx2.Client) -> None:
        name = fresh("by_city")
        answer = accepted(
            http, {"kind": "sql", "sql": "select 1 as n", "result_name": name}, **{"Idempotency-Key": name}
        )
        assert set(answer) >= SUBMITTED
        assert isinstance(answer["job_id"], str)
        assert answer["position"] >= 1
        again = accepted(
            http, {"kind": "sql", "sql": "select 1 as n", "result_name": name}, **{"Idempotency-Key": name}
        )
        assert again["job_id"] == answer["job_id"]
        for link in answer["links"].values():
            assert link.startswith(f"/api/v1/jobs/{answer['job_id']}")

    @pytest.mark.parametrize("memory", [268435456, "256MiB"])
    def test_every_common_field_is_taken(self, http: httpx2.Client, memory: int | str) -> None:
        common = {
            "name": "a name", "queue": "contract", "priority": "low", "cpus": 0.5, "memory": memory, "disk": "1GiB",
            "timeout_s": 60, "max_attempts": 2, "labels": {}, "not_before": "2999-01-01T00:00:00Z",
        }  # fmt: skip
        job_id = accepted(http, {"kind": "sql", "sql": "select 1", **common})["job_id"]
        job = http.get(f"/api/v1/jobs/{job_id}").json()
        for name in ("name", "queue", "priority", "timeout_s", "max_attempts"):
            assert job[name] == common[name]
        asked = {"cpus": 0.5, "memory_bytes": 268435456, "disk_bytes": 1 << 30, "labels": {}}
        assert job["request"] == asked
        assert http.post(f"/api/v1/jobs/{job_id}/cancel").json()["job_status"] == "CANCELLED"

    def test_sql_makes_a_source(self, http: httpx2.Client) -> None:
        name = fresh("made")
        job = succeeded(http, {"kind": "sql", "sql": "select 1 as n, 'x' as t", "result_name": name})
        assert set(job) >= JOB
        assert set(job["usage"]) >= USAGE
        assert set(job["result"]) >= SQL_RESULT
        assert (job["result"]["source"], job["result"]["row_count"], job["progress"]) == (name, 1, 1.0)
        assert job["tasks"]["succeeded"] == 1
        assert Path(job["result"]["path"]).stat().st_size == job["result"]["size_bytes"]
        unnamed = succeeded(http, {"kind": "sql", "sql": "select 1 as n"})
        assert unnamed["result"]["source"] == f"async_result_{unnamed['job_id']}"

    def test_commands_and_functions_run(self, http: httpx2.Client) -> None:
        command = {"kind": "command", "argv": ["sh", "-c", "echo $0 $1", "--n", "4"], "memory": "64MiB"}
        job = succeeded(http, command)
        assert http.get(f"/api/v1/jobs/{job['job_id']}/logs").text == "--n 4\n"
        function = {"kind": "function", "function": "tide_words:add", "args": [2], "kwargs": {"b": 40}}
        assert succeeded(http, function)["result"]["value"] == 42

    def test_files_are_ingested(self, http: httpx2.Client) -> None:
        table = fresh("orders")
        file = uploaded(http, f"{table}.csv", b"id,city\n1,Kiel\n2,Bonn\n", source="false")
        succeeded(http, {"kind": "ingest", "files": [file["path"]], "into": "source", "table": table})
        assert http.get(f"/api/v1/sources/{table}").json()["row_count"] == 2

    def test_the_two_bodies_of_lint_need_no_kind(self, http: httpx2.Client) -> None:
        one = succeeded(http, {"sql_content": "SELECT a FROM  t\n"})
        assert (one["kind"], one["submission_type"]) == ("lint", "SINGLE_FILE")
        (task,) = http.get(f"/api/v1/jobs/{one['job_id']}/tasks").json()["items"]
        assert set(task) >= LINT_TASK
        assert set(task["violations"][0]) >= VIOLATION
        assert http.get(f"/api/v1/tasks/{task['task_id']}").json() == task
        file = uploaded(http, fresh("queries") + ".zip", archive(a="SELECT 1\n", b="x"), source="false")
        many = succeeded(http, {"zip_file_path": file["path"]})
        assert (many["kind"], many["submission_type"]) == ("lint", "ZIP_ARCHIVE")

    def test_a_job_that_waits_runs_and_is_cancelled(self, http: httpx2.Client) -> None:
        assert http.put("/api/v1/queues/contract", json={"paused": True}).status_code == 200
        job_id = submit(http, ENDLESS, queue="contract")
        job = until(lambda: (seen := http.get(f"/api/v1/jobs/{job_id}").json())["waiting"] and seen)
        assert job["job_status"] in ("ACCEPTED", "QUEUED")
        assert set(job) >= JOB
        assert set(job["waiting"]) >= WAITING
        assert http.post("/api/v1/queues/contract/resume").status_code == 200
        started(http, job_id)
        job = http.get(f"/api/v1/jobs/{job_id}").json()
        assert (job["job_status"], job["waiting"], job["tasks"]["running"]) == ("RUNNING", None, 1)
        assert http.post(f"/api/v1/jobs/{job_id}/cancel").json()["stopping_attempts"] == [f"{job_id}.1.1"]
        job = final(http, job_id)
        assert (job["job_status"], job["exit"]["reason"]) == ("CANCELLED", "cancelled")

    def test_a_job_that_fails_says_why(self, http: httpx2.Client) -> None:
        job = final(http, submit(http, ENDLESS, timeout_s=0.5))
        assert job["job_status"] == "FAILED"
        assert set(job["exit"]) >= EXIT
        assert (job["exit"]["reason"], job["exit"]["limit"]) == ("time_limit", 0.5)
        (task,) = http.get(f"/api/v1/jobs/{job['job_id']}/tasks").json()["items"]
        assert set(task) >= TASK
        assert task["state"] == "failed"
        assert [attempt["number"] for attempt in task["attempts"]] == [1]

    def test_of_many_each_is_accepted_or_refused_by_itself(self, http: httpx2.Client) -> None:
        jobs = [{"kind": "sql", "sql": "select 1"}, {"kind": "sql"}]
        answer = http.post("/api/v1/jobs/bulk", json={"jobs": jobs})
        assert answer.status_code == 202
        taken, refused = answer.json()["items"]
        assert set(taken) >= {"job_id", "job_status", "position"}
        assert set(refused["problem"]) >= PROBLEM

    def test_events_are_a_stream_that_resumes(self, http: httpx2.Client) -> None:
        job_id = submit(http, "select 1")
        final(http, job_id)
        whole = http.get(f"/api/v1/jobs/{job_id}/events")
        assert whole.headers["content-type"].startswith("text/event-stream")
        blocks = [
            dict(line.split(": ", 1) for line in b.splitlines()) for b in whole.text.strip().split("\n\n")
        ]
        kept = [block for block in blocks if "id" in block]
        assert {"accepted", "started", "succeeded"} <= {block["event"] for block in kept}
        assert set(json.loads(kept[0]["data"])) >= {"id", "job_id", "task_id", "at", "type", "message"}
        rest = http.get(f"/api/v1/jobs/{job_id}/events", headers={"Last-Event-ID": kept[0]["id"]}).text
        assert kept[0]["data"] not in rest
        assert kept[-1]["data"] in rest

    def test_lists_are_pages(self, http: httpx2.Client) -> None:
        ids = [submit(http, "select 1", queue="contract") for _ in range(3)]
        for name in LISTS:
            assert {"items", "next_cursor"} == set(http.get(f"/api/v1/{name}").json()), name
        for job_id in ids:
            final(http, job_id)
        for name in ("tasks", "files"):
            assert {"items", "next_cursor"} == set(http.get(f"/api/v1/jobs/{ids[0]}/{name}").json()), name
        asked: dict[str, Any] = {"status": "SUCCEEDED", "kind": "sql", "queue": "contract", "limit": 2}
        first = http.get("/api/v1/jobs", params=asked).json()
        rest = http.get("/api/v1/jobs", params={**asked, "cursor": first["next_cursor"]}).json()
        assert [job["job_id"] for job in first["items"] + rest["items"]][:3] == ids[::-1]

    # Sources

    def test_sources_are_registered_previewed_downloaded_and_deleted(
        self, http: httpx2.Client, shared: Path
    ) -> None:
        name = fresh("towns")
        path = shared / "files" / f"{name}.csv"
        path.write_text("city,people\nKiel,247000\nBonn,330000\nUlm,126000\n")
        made = http.post("/api/v1/sources", json={"name": name, "path": str(path)})
        assert made.status_code == 201, made.text
        shown = http.get(f"/api/v1/sources/{name}").json()
        assert [column["name"] for column in shown["columns"]] == ["city", "people"]
        page = http.get(f"/api/v1/sources/{name}/preview", params={"limit": 1, "offset": 1}).json()
        assert page["rows"] == [["Bonn", 330000]]
        begins = {"parquet": b"PAR1", "csv": b"city", "jsonl": b'{"city"', "arrow": b"ARROW1", "xlsx": b"PK"}
        for form, magic in begins.items():
            got = http.get(f"/api/v1/sources/{name}/download", params={"format": form})
            assert (got.status_code, got.content[: len(magic)]) == (200, magic), got.text
        assert http.delete(f"/api/v1/sources/{name}").status_code == 204
        assert path.exists()

    def test_an_upload_makes_a_source_unless_told(self, http: httpx2.Client) -> None:
        name = fresh("up")
        assert uploaded(http, f"{name}.csv", b"n\n1\n")["source"]["name"] == name
        assert http.get(f"/api/v1/sources/{name}").status_code == 200
        other = fresh("up")
        assert uploaded(http, f"{other}.csv", b"n\n1\n", source="false")["source"] is None
        assert http.get(f"/api/v1/sources/{other}").status_code == 404

    # Errors

    def test_errors_have_one_shape_and_their_numbers(self, http: httpx2.Client) -> None:
        for answer, status, code in (
            (http.get("/api/v1/jobs/999999999"), 404, "not_found"),
            (http.get("/api/v1/nothing"), 404, "unknown_route"),
            (http.post("/api/v1/jobs", content=b"{", headers=JSON), 400, "malformed"),
            (http.post("/api/v1/jobs", content=b"{"), 415, "unsupported_media_type"),
            (http.post("/api/v1/jobs", json={"kind": "none"}), 422, "invalid_input"),
            (http.put("/api/v1/jobs"), 405, "method_not_allowed"),
        ):
            assert set(assert_problem(answer, status, code)) >= PROBLEM
        large = http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1", "memory": "4000GiB"})
        problem = assert_problem(large, 422, "never_fits")
        assert problem["asked"] == 4000 << 30
        assert 0 < problem["limit"] < problem["asked"]

    # Monitoring

    def test_workers_queues_and_the_machine_are_monitored(self, http: httpx2.Client) -> None:
        job_id = submit(http, ENDLESS)
        started(http, job_id)
        base = "/api/v1/monitoring"

        def claimed() -> dict[str, Any] | None:
            told: dict[str, Any] = http.get(f"{base}/workers").json()
            return told if any(worker["active_tasks"] for worker in told["workers"]) else None

        overview = until(claimed)
        assert set(overview) >= OVERVIEW
        assert overview["total_workers"] >= overview["online_workers"] >= 1
        for worker in overview["workers"]:
            assert set(worker) >= WORKER
        (busy,) = [worker for worker in overview["workers"] if worker["active_tasks"]]
        assert [task["job_id"] for task in busy["current_tasks"]] == [job_id]
        one = http.get(f"{base}/workers/{busy['worker_name']}").json()
        assert set(one) >= {"active", "scheduled", "reserved", "stats"}
        assert [task["job_id"] for task in one["active"]] == [job_id]
        for queue in overview["queues"] + http.get(f"{base}/queues").json()["queues"]:
            assert set(queue) >= {"name", "length", "status"}
        system = http.get(f"{base}/system").json()
        assert set(system) >= SYSTEM
        assert (system["nfs_storage"] is not None) == self.has_shared_path
        http.post(f"/api/v1/jobs/{job_id}/cancel")
        final(http, job_id)

    def test_control_knows_three_actions(self, http: httpx2.Client) -> None:
        base = "/api/v1/monitoring/workers"
        name = http.get(base).json()["workers"][0]["worker_name"]
        assert_problem(http.get(f"{base}/nobody"), 404, "not_found")
        for action in ("shutdown", "pool_restart", "reset_stats"):
            assert_problem(http.post(f"{base}/nobody/control?action={action}"), 404, "not_found")
        assert_problem(http.post(f"{base}/{name}/control?action=dance"), 400, "unknown_action")
        assert_problem(http.post(f"{base}/nobody/control?action=dance"), 400, "unknown_action")
        assert_problem(http.post(f"{base}/{name}/control"), 400, "unknown_action")
        assert http.post(f"{base}/{name}/control?action=reset_stats").status_code == 200

    def test_health(self, http: httpx2.Client) -> None:
        for path in ("/health", "/api/v1/health"):
            assert http.get(path).json()["status"] == "healthy"
        assert http.get("/api/v1/health/ready").status_code == 200
        workers = http.get("/api/v1/health/workers").json()
        assert workers["status"] == "healthy"
        assert set(workers["checks"]) == CHECKS

    def test_a_load_test_tells_what_became_of_each_job(self, http: httpx2.Client) -> None:
        done = load_test(str(http.base_url), "--rate", "8", "--for", "3", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        assert sum(told["sent"].values()) == told["ended"] > 5
        assert told["wrong"] == []
        assert told["ended_ms"]["p50"] > told["accepted_ms"]["p50"] > 0
