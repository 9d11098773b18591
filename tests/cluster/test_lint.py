"""SQL lint in a cluster: an archive uploaded to one server is linted by workers, and known to all afterwards."""

from __future__ import annotations

import httpx2
import pytest

from tests.e2e.server import final
from tests.e2e.test_lint import archive
from tidegate.testing.cluster import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("cluster")]

FILES: dict[str, str | bytes] = {
    ".sqlfluff": "[sqlfluff]\ndialect = postgres\n",
    **{f"f{number}.sql": f"SELECT  a::int FROM t{number}\n" for number in range(6)},
    "inner.zip": b"PK",
}


def lint(submits: httpx2.Client, reads: httpx2.Client, content: bytes, name: str):
    """The job and its tasks by file, asked of another server than it was submitted to."""
    stored = submits.put(f"/api/v1/files/{name}", params={"source": "false"}, content=content)
    assert stored.status_code == 201, stored.text
    made = submits.post("/api/v1/jobs", json={"zip_file_path": f"files/{name}"})
    assert made.status_code == 202, made.text
    job = final(reads, made.json()["job_id"])
    tasks = reads.get(f"/api/v1/jobs/{job['job_id']}/tasks").json()["items"]
    return job, {task["file"]: task for task in tasks if task.get("file")}


def test_an_archive_is_linted_by_workers_and_known_on_every_server(
    cluster: Cluster, servers: list[httpx2.Client]
):
    one, other = servers
    content = archive(FILES)
    job, tasks = lint(one, other, content, "first.zip")
    assert (job["job_status"], job["summary"]["files"], job["summary"]["cached"]) == ("SUCCEEDED", 7, 0)
    assert job["summary"]["by_rule"] == {"LT01": 6}
    places = {attempt["worker"] for task in tasks.values() for attempt in task["attempts"]}
    assert places <= {member.name for member in cluster.workers}
    assert places

    again, known = lint(other, one, content, "second.zip")
    assert (again["job_status"], again["summary"]) == ("SUCCEEDED", {**job["summary"], "cached": 6})
    assert {name: task["violations"] for name, task in known.items()} == {
        name: task["violations"] for name, task in tasks.items()
    }
    assert not any(task["attempts"] for task in known.values())

    text = {"sql_content": "SELECT  b FROM known_in_the_cluster\n"}
    final(one, one.post("/api/v1/jobs", json=text).json()["job_id"])
    answer = other.post("/api/v1/jobs", json=text).json()
    assert one.get(f"/api/v1/jobs/{answer['job_id']}").json()["summary"]["cached"] == 1
    report = other.get(f"/api/v1/jobs/{again['job_id']}/report", params={"format": "csv"})
    assert report.text.count("LT01") == 6
