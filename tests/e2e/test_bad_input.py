"""Bad input of each kind gets a clear error in the one shape, and loses nothing."""

import json
import os
from typing import Any

import httpx2
import pytest

from tests.e2e.server import Running, final, submit

GIB = 1024**3


@pytest.fixture(scope="module")
def files(server: Running) -> Running:
    folder = server.data_dir / "files"
    (folder / "ok.csv").write_text("a,b\n1,x\n2,y\n")
    (folder / "empty.csv").touch()
    (folder / "broken.parquet").write_bytes(b"PAR1" + os.urandom(2000) + b"PAR1")
    (folder / "cut.parquet").write_bytes(b"PAR1" + os.urandom(2000))
    with (folder / "nonsense.csv").open("wb") as nonsense:
        nonsense.write(os.urandom(1024 * 1024))
        nonsense.truncate(2 * GIB)
    (folder / "leak.csv").symlink_to("/etc/passwd")
    with server.client() as http:
        http.post("/api/v1/sources", json={"name": "ok", "path": "files/ok.csv"}).raise_for_status()
    return server


def problem(answer: httpx2.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code"} <= body.keys()
    assert body["status"] == answer.status_code
    assert 400 <= answer.status_code < 500
    return body


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("select nope from ok", "unknown_column"),
        ("select * from nope", "unknown_table"),
        ("selec 1", "syntax_error"),
        ("select cast('x' as integer)", "conversion_error"),
        ("copy (select 1) to '/tmp/tidegate-escape.csv'", "not_a_query"),
        ("install httpfs", "not_a_query"),
        ("load httpfs", "not_a_query"),
        ("set memory_limit = '1TB'", "not_a_query"),
        ("attach '/tmp/x.db'", "not_a_query"),
        ("select 1; drop view ok", "not_a_query"),
        ("select * from read_csv('/etc/passwd')", "permission"),
        ("select * from read_text('/proc/self/environ')", "permission"),
        ("select * from read_csv('https://example.invalid/x.csv')", "permission"),
    ],
)
def test_a_query_that_cannot_run_fails_with_a_code(
    http: httpx2.Client, files: Running, sql: str, code: str
) -> None:
    job = final(http, submit(http, sql))
    assert job["job_status"] == "FAILED"
    assert (job["exit"]["reason"], job["exit"]["code"]) == ("error", code)
    assert job["exit"]["message"].endswith((".", "?"))
    assert str(files.data_dir) not in job["exit"]["message"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("files/none.csv", "missing_file"),
        ("/etc/passwd", "path_outside"),
        ("files/../../../etc/passwd", "invalid_input"),
        ("files/leak.csv", "path_outside"),
        ("files/empty.csv", "empty_file"),
        ("files/broken.parquet", "corrupt_file"),
        ("files/cut.parquet", "corrupt_file"),
        ("files/nonsense.csv", "not_text"),
        ("files/\0.csv", "invalid_input"),
        ("tidegate.db", "path_outside"),
    ],
)
def test_a_file_that_cannot_be_a_source_is_refused(
    http: httpx2.Client, files: Running, path: str, code: str
) -> None:
    assert problem(http.post("/api/v1/sources", json={"name": "bad", "path": path}))["code"] == code
    assert http.get("/api/v1/sources/bad").status_code == 404


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"kind": "sql"}, "sql_missing"),
        ({"kind": "sql", "sql": 5}, "sql_missing"),
        ({"kind": "sql", "sql": "select\0 1"}, "sql_nul"),
        ({"kind": "nope", "sql": "select 1"}, "invalid_input"),
        ({"sql": "select 1"}, "invalid_input"),
        ({"kind": "sql", "sql": "select 1", "memroy": "1GiB"}, "invalid_input"),
        ({"kind": "sql", "sql": "select 1", "memory": "lots"}, "invalid_input"),
        ({"kind": "sql", "sql": "select 1", "memory": -1}, "invalid_input"),
        ({"kind": "sql", "sql": "select 1", "cpus": True}, "invalid_input"),
        ({"kind": "sql", "sql": "select 1", "cpus": 0}, "invalid_input"),
        ({"kind": "sql", "sql": "select 1", "priority": "urgent"}, "invalid_input"),
        ({"kind": "sql", "sql": "select 1", "timeout_s": 0}, "invalid_input"),
        ({"kind": "sql", "sql": "select 1", "not_before": "tomorrow"}, "invalid_input"),
        ({"kind": "sql", "sql": "select 1", "queue": "interactive"}, "invalid_input"),
        ({"kind": "sql", "sql": "select 1", "output": {"kind": "file"}}, "invalid_input"),
        ({"kind": "inspect", "path": "/etc/passwd"}, "invalid_input"),
        ({"kind": "sql", "sql": "select 1", "memory": "100TiB"}, "never_fits"),
        ({"kind": "sql", "sql": "select 1", "labels": {"gpu": "none-here"}}, "never_fits"),
    ],
)
def test_a_submission_that_makes_no_sense_is_refused(
    http: httpx2.Client, fields: dict[str, object], code: str
) -> None:
    assert problem(http.post("/api/v1/jobs", json=fields))["code"] == code


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"kind": NaN}', b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(http: httpx2.Client, body: bytes) -> None:
    problem(http.post("/api/v1/jobs", content=body, headers={"Content-Type": "application/json"}))


def test_one_bad_job_does_not_hold_up_the_others_of_its_batch(http: httpx2.Client) -> None:
    jobs = [{"kind": "sql", "sql": "select 1"}, {"kind": "sql"}, {"kind": "sql", "sql": "select 2"}]
    items = http.post("/api/v1/jobs/bulk", json={"jobs": jobs}).json()["items"]
    assert ["problem" in item for item in items] == [False, True, False]
    assert final(http, items[2]["job_id"])["job_status"] == "SUCCEEDED"


def test_a_taken_name_is_refused_at_submission(http: httpx2.Client, files: Running) -> None:
    answer = http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1", "result_name": "OK"})
    assert answer.status_code == 409
    problem(answer)
    problem(http.post("/api/v1/sources", json={"name": "ok", "path": "files/ok.csv"}))


def test_unknown_routes_and_ids_have_the_same_shape(http: httpx2.Client) -> None:
    for path in (
        "/nowhere",
        "/api/v1/jobs/0",
        "/api/v1/jobs/abc",
        f"/api/v1/jobs/{2**70}",
        "/api/v1/tasks/1",
    ):
        assert problem(http.get(path))["status"] == 404
    assert problem(http.delete("/api/v1/jobs"))["status"] == 405


def test_a_full_line_answers_429_with_a_time_to_come_back(own_server: Running) -> None:
    own_server.start(max_waiting=3)
    with own_server.client() as http:
        http.put("/api/v1/queues/shut", json={"paused": True}).raise_for_status()
        for _ in range(3):
            submit(http, "select 1", queue="shut")
        refused = http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1", "queue": "shut"})
        assert problem(refused)["code"] == "busy"
        assert float(refused.headers["Retry-After"]) >= 1
        assert refused.json()["limit"] == 3
        assert http.post("/api/v1/query", json={"sql": "select 1"}).status_code == 200, json.dumps(
            refused.json()
        )


def test_a_second_server_on_the_same_data_is_refused(server: Running) -> None:
    second = Running(server.data_dir)
    with pytest.raises(AssertionError, match="ended at once"):
        second.start()
    assert second.process is not None
    second.process.stdout.close()  # type: ignore[union-attr]
    second.process = None
