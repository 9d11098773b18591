"""Lint jobs the whole way: HTTP in, sandbox, verdicts and reports out."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from typing import Any
from xml.etree import ElementTree

import httpx2
import pytest

from tests.e2e.ingesting import House
from tests.e2e.server import final

BIG = "SELECT 1;\n" * 3000


def archive(files: dict[str, str | bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return made.getvalue()


HOSTILE = archive(
    {
        "good.sql": "SELECT 1\n",
        "sub/bad.sql": "SELECT  a from t\n",
        "../climbs.sql": "SELECT 1\n",
        "/absolute.sql": "SELECT 1\n",
        "inner.zip": b"PK",
        "big.sql": BIG,
        "binary.sql": b"\x00\x01\x02",
        "bomb.sql": b"0" * (20 * 1024 * 1024),
        "GOOD.sql": "SELECT 2\n",
        "./good.sql": "SELECT 3\n",
    }
)
VERDICTS = {
    "good.sql": "linted",
    "sub/bad.sql": "linted",
    "../climbs.sql": "unreadable",
    "/absolute.sql": "unreadable",
    "inner.zip": "skipped",
    "big.sql": "too_large",
    "binary.sql": "unreadable",
    "bomb.sql": "too_large",
    "GOOD.sql": "linted",
    "./good.sql": "unreadable",
}


def lint(house: House, **fields: Any) -> dict[str, Any]:
    """The job once it has ended."""
    answer = house.http.post("/api/v1/jobs", json=fields)
    assert answer.status_code == 202, answer.text
    return final(house.http, answer.json()["job_id"])


def report(house: House, job: dict[str, Any], format: str) -> httpx2.Response:
    return house.http.get(f"/api/v1/jobs/{job['job_id']}/report", params={"format": format})


@pytest.fixture(scope="module")
def hostile(house: House) -> dict[str, Any]:
    upload = house.http.put("/api/v1/files/hostile.zip", params={"source": "false"}, content=HOSTILE)
    assert upload.status_code == 201, upload.text
    return lint(house, zip_file_path="files/hostile.zip")


def test_a_statement_is_answered_with_its_violations(house: House) -> None:
    job = lint(house, sql_content="SELECT  a from t\n", fix=True)
    assert (job["job_status"], job["kind"], job["submission_type"]) == ("SUCCEEDED", "lint", "SINGLE_FILE")
    assert job["summary"]["by_rule"] == {"CP01": 1, "LT01": 1}
    assert job["summary"]["clean"] is False
    (task,) = house.http.get(f"/api/v1/jobs/{job['job_id']}/tasks").json()["items"]
    assert (task["file"], task["verdict"], task["fixed"]) == ("statement.sql", "linted", "SELECT a FROM t\n")
    assert task["violations"][0] == {
        **task["violations"][0],
        "rule": "LT01",
        "line": 1,
        "column": 7,
        "severity": "error",
        "fixable": True,
    }
    assert task["summary"] == {
        "clean": False, "violations": 2, "warnings": 0, "fixable": 2, "by_rule": {"CP01": 1, "LT01": 1},
    }  # fmt: skip
    assert house.http.get(f"/api/v1/tasks/{task['task_id']}").json() == task
    assert lint(house, kind="lint", sql_content="SELECT 1\n")["summary"]["clean"] is True


def test_each_file_of_a_hostile_archive_gets_its_verdict(house: House, hostile: dict[str, Any]) -> None:
    assert (hostile["job_status"], hostile["submission_type"]) == ("SUCCEEDED", "ZIP_ARCHIVE")
    tasks = house.tasks(hostile)
    assert {name: task["verdict"] for name, task in tasks.items() if task.get("file")} == VERDICTS
    for name, verdict in VERDICTS.items():
        assert (tasks[name]["reason"] is None) == (verdict == "linted"), name
    summary = hostile["summary"]
    assert (summary["files"], summary["clean"], summary["violations"]) == (10, False, 2)
    assert summary["by_verdict"]["too_large"] == 2
    written = {path.name for path in house.folder.rglob("*.sql")}
    assert not written & {"climbs.sql", "absolute.sql", "good.sql"}


def test_tasks_are_filtered_by_verdict_page_by_page(house: House, hostile: dict[str, Any]) -> None:
    path = f"/api/v1/jobs/{hostile['job_id']}/tasks"
    found: list[str] = []
    cursor: str | None = None
    while True:
        asked = {"verdict": "unreadable", "limit": "1", **({"cursor": cursor} if cursor else {})}
        page = house.http.get(path, params=asked).json()
        found += [task["file"] for task in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert sorted(found) == sorted(name for name, verdict in VERDICTS.items() if verdict == "unreadable")
    assert house.http.get(path, params={"verdict": "nonsense"}).status_code == 422
    both = [
        house.http.get(path, params={"verdict": "unreadable", "state": state}).json()["items"]
        for state in ("succeeded", "failed")
    ]
    assert (sorted(task["file"] for task in both[0]), both[1]) == (sorted(found), [])


def test_every_format_tells_of_every_file(house: House, hostile: dict[str, Any]) -> None:
    files = json.loads(report(house, hostile, "json").text)["files"]
    assert {file["file"]: file["verdict"] for file in files} == VERDICTS
    (run,) = json.loads(report(house, hostile, "sarif").text)["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["LT01", "CP01"]
    assert len(run["invocations"][0]["toolExecutionNotifications"]) == 7
    assert len(report(house, hostile, "github").text.splitlines()) == 9
    cases = list(ElementTree.fromstring(report(house, hostile, "junit").text).iter("testcase"))
    assert {case.get("name") for case in cases} == set(VERDICTS)
    rows = list(csv.DictReader(io.StringIO(report(house, hostile, "csv").text)))
    assert {row["file"].lstrip("'"): row["verdict"] for row in rows} == VERDICTS
    assert report(house, hostile, "pdf").json()["code"] == "unsupported_format"


def test_a_folder_of_the_server_is_linted(house: House) -> None:
    folder = house.folder / "project"
    folder.mkdir()
    (folder / ".sqlfluff").write_text("[sqlfluff]\ndialect = postgres\n")
    (folder / "q.sql").write_text("SELECT 1::INT AS one\n")
    job = lint(house, kind="lint", folder_path=str(folder))
    assert (job["submission_type"], job["summary"]["files"], job["exit"]) == ("FOLDER", 1, None)
    assert house.tasks(job)["q.sql"]["verdict"] == "linted"


def test_a_job_that_cannot_know_its_files_has_no_report_and_is_not_clean(house: House) -> None:
    for content, code in ((b"no zip", "archive_unreadable"), (archive({"a.txt": "x"}), "no_sql_files")):
        house.http.put(
            "/api/v1/files/odd.zip", params={"source": "false", "overwrite": "true"}, content=content
        )
        job = lint(house, zip_file_path="files/odd.zip")
        assert (job["job_status"], job["exit"]["code"], job["summary"]) == ("FAILED", code, None)
        assert report(house, job, "json").json()["code"] == "job_failed"


def test_bad_options_are_told_with_what_is_wrong(house: House) -> None:
    job = lint(house, sql_content="SELECT 1\n", dialect="klingon")
    assert (job["job_status"], job["exit"]["code"]) == ("FAILED", "unknown_dialect")
    (task,) = house.tasks(job).values()
    assert (task["verdict"], task["reason"]) == ("skipped", "SQLFluff has no dialect 'klingon'.")
    refused = house.http.post("/api/v1/jobs", json={"sql_content": "SELECT 1", "dialekt": "x"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert "dialect" in refused.json()["detail"]


def test_other_jobs_have_no_lint_report(house: House) -> None:
    answer = house.http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1"})
    job = final(house.http, answer.json()["job_id"])
    assert report(house, job, "json").json()["code"] == "no_result"
    asked = house.http.get(f"/api/v1/jobs/{job['job_id']}/tasks", params={"verdict": "linted"})
    assert asked.status_code == 422


CACHE: dict[str, str | bytes] = {
    "deep/.sqlfluff": "[sqlfluff]\ndialect = postgres\n",
    "one.sql": "SELECT  1 AS a\n",
    "deep/two.sql": "SELECT a::int FROM b\n",
    "too_large.sql": f"{BIG}-- known\n",
    "broken.sql": "SELECT (1 + ;\n",
    "inner.zip": b"PK",
}


def shown(tasks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What tasks tell of their files, without what differs from job to job."""
    own = ("task_id", "job_id", "attempts", "cached", "links", "name", "file", "timeout_s")
    return {
        name.rpartition("/")[2]: {key: value for key, value in task.items() if key not in own}
        for name, task in tasks.items()
        if task.get("file")
    }


def test_files_that_are_known_are_answered_without_an_attempt(house: House) -> None:
    jobs = []
    for place in ("", "moved/"):  # the same files elsewhere: neither the archive nor its names have a say
        content = archive({f"{place}{name}": text for name, text in CACHE.items()})
        house.http.put(
            "/api/v1/files/cache.zip", params={"source": "false", "overwrite": "true"}, content=content
        )
        jobs.append(lint(house, zip_file_path="files/cache.zip"))
    first, second = (house.tasks(job) for job in jobs)
    assert shown(first) == shown(second)
    for tasks, cached in ((first, False), (second, True)):
        files = {name.rpartition("/")[2]: task for name, task in tasks.items() if task.get("file")}
        known = {name: (task["cached"], len(task["attempts"])) for name, task in files.items()}
        assert known.pop("inner.zip") == (False, 0)  # nothing to look at
        assert set(known.values()) == {(cached, 0 if cached else 1)}
        assert {task["state"] for task in files.values()} == {"succeeded"}
    assert (jobs[0]["summary"]["cached"], jobs[1]["summary"]["cached"]) == (0, 4)
    assert {**jobs[0]["summary"], "cached": 4} == jobs[1]["summary"]
    assert jobs[1]["job_status"] == "SUCCEEDED"
    (same,) = [
        file for file in json.loads(report(house, jobs[1], "json").text)["files"] if "one" in file["file"]
    ]
    assert (same["file"], same["cached"]) == ("moved/one.sql", True)


def test_a_statement_that_is_known_is_answered_at_once(house: House) -> None:
    text = {"sql_content": "SELECT  b from known_statement\n", "exclude_rules": "CP01"}
    first = lint(house, **text)
    answer = house.http.post("/api/v1/jobs", json={**text, "file_name": "other.sql"}).json()
    assert (answer["created"], answer["position"]) == (True, 0)
    second = house.http.get(f"/api/v1/jobs/{answer['job_id']}").json()
    assert (second["job_status"], second["progress"]) == ("SUCCEEDED", 1.0)
    assert second["summary"] == {**first["summary"], "cached": 1}
    (task,) = house.http.get(f"/api/v1/jobs/{answer['job_id']}/tasks").json()["items"]
    assert (task["file"], task["cached"], task["attempts"]) == ("other.sql", True, [])
    events = house.http.get(f"/api/v1/jobs/{answer['job_id']}/events", headers={"Accept": "application/json"})
    assert [event["type"] for event in events.json()["items"]] == ["accepted", "succeeded"]
    for other in ({"exclude_rules": "LT01"}, {"fix": True}, {"cache": False}, {"dialect": "duckdb"}):
        assert lint(house, **{**text, **other})["summary"]["cached"] == 0, other


def test_what_may_be_otherwise_next_time_is_not_kept(house: House) -> None:
    slow = {"sql_content": "SELECT slow FROM b;\n" * 300, "file_timeout_s": 0.001}
    assert lint(house, **slow)["summary"]["by_verdict"]["timed_out"] == 1
    again = lint(house, **{**slow, "file_timeout_s": 60})
    assert (again["summary"]["by_verdict"]["linted"], again["summary"]["cached"]) == (1, 0)
    assert lint(house, **slow)["summary"]["cached"] == 1  # the time it may take has no say in the answer
