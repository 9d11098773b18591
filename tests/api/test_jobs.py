from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.support import Played, World, assert_problem, fails_with, world_in
from tidegate.core.attempt import Assignment, Exit
from tidegate.core.job import TaskOrder
from tidegate.core.resources import MIB, Resources
from tidegate.core.states import ExitReason
from tidegate.ports import Accepted
from tidegate.testing.conformance.world import new_job


def test_a_submission_is_answered_with_its_id_status_position_and_links(world: World):
    world.pause()
    answer = world.http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1"})
    assert answer.status_code == 202
    job = answer.json()
    assert job["job_status"] == "ACCEPTED"
    assert job["position"] == 1
    assert job["created"] is True
    assert answer.headers["location"] == job["links"]["self"] == f"/api/v1/jobs/{job['job_id']}"
    assert isinstance(job["job_id"], str)


def test_a_job_that_waits_says_why_and_where(world: World):
    world.pause()
    first, second = world.submit(), world.submit(priority="low", name="later", labels=None)
    world.service._cycle.run_once()
    job = world.http.get(f"/api/v1/jobs/{second}").json()
    assert (job["job_status"], job["name"], job["priority"]) == ("QUEUED", "later", "low")
    assert job["waiting"]["code"] == "queue_paused"
    assert job["waiting"]["position"] == 2
    assert "paused" in job["waiting"]["sentence"]
    assert job["started_at"] is None
    assert job["exit"] is None
    assert job["result"] is None
    assert job["tasks"]["queued"] == 1
    assert job["created_at"].endswith("Z")
    assert first != second


def test_a_job_that_nobody_has_looked_at_yet_says_so(world: World):
    with world.no_pass():
        job = world.http.get(f"/api/v1/jobs/{world.submit()}").json()
    assert job["job_status"] == "ACCEPTED"
    assert (job["waiting"]["code"], job["waiting"]["position"]) == ("not_judged", None)
    assert job["waiting"]["sentence"].startswith(f"Job {job['job_id']} has not been looked at yet")
    assert job["waiting"]["expected_start_at"] is None


def test_a_job_that_leaves_its_queue_while_it_is_asked_about_says_so(world: World):
    """The answer is made of a record from before the start, and of a backlog from after it."""
    with world.no_pass():
        before = world.service.store.job(int(world.submit()))
        world.service._cycle.run_once()
        told = world.service.waiting(before)
    assert told is not None
    assert (told.code, told.position) == ("starting", None)


def test_a_job_that_the_server_will_not_look_at_any_more_waits_for_the_server(world: World):
    world.service._cycle.stop()
    job_id = world.submit()
    assert world.http.get(f"/api/v1/jobs/{job_id}").json()["waiting"]["code"] == "server_stopping"


def test_a_job_for_later_says_from_when_on_it_may_start(world: World):
    job_id = world.submit(not_before="2999-01-02T03:04:05Z")
    world.service._cycle.run_once()
    waiting = world.http.get(f"/api/v1/jobs/{job_id}").json()["waiting"]
    assert (waiting["code"], waiting["position"]) == ("not_before", None)
    assert waiting["expected_start_at"] == "2999-01-02T03:04:05.000Z"
    assert "2999-01-02 03:04:05 UTC" in waiting["sentence"]


def test_a_finished_job_shows_its_request_usage_and_result(world: World):
    job = world.finished(world.submit(cpus=0.5, memory="256MiB", result_name="answers"))
    assert job["job_status"] == "SUCCEEDED"
    assert job["progress"] == 1.0
    assert (job["request"]["cpus"], job["request"]["memory_bytes"]) == (0.5, 256 * MIB)
    assert job["usage"]["peak_memory_bytes"] == 1 << 20
    result = job["result"]
    assert (result["source"], result["row_count"], result["column_count"]) == ("answers", 1, 1)
    assert result["columns"] == [{"name": "answer", "type": "INTEGER"}]
    assert result["path"].endswith(".parquet")
    assert result["size_bytes"] > 0
    assert job["waiting"] is None


def test_a_failed_job_says_why_with_numbers(world: World):
    world.play(
        fails_with(
            Exit(ExitReason.MEMORY_LIMIT, "It took 300 MiB of 256 MiB.", 268435456, 314572800, "watchdog")
        )
    )
    job = world.finished(world.submit())
    assert job["job_status"] == "FAILED"
    assert job["exit"] == {
        "reason": "memory_limit", "message": "It took 300 MiB of 256 MiB.", "limit": 268435456,
        "observed": 314572800, "enforced_by": "watchdog", "code": None,
    }  # fmt: skip


def test_the_same_idempotency_key_answers_the_same_job(world: World):
    def send(sql: str) -> Any:
        return world.http.post(
            "/api/v1/jobs", json={"kind": "sql", "sql": sql}, headers={"Idempotency-Key": "k1"}
        )

    first = send("select 1").json()
    again = send("select 1")
    assert again.status_code == 202
    assert again.json()["job_id"] == first["job_id"]
    assert again.json()["created"] is False
    assert_problem(send("select 2"), 409, "idempotency_key_used")


@pytest.mark.parametrize(
    ("fields", "status", "code", "says"),
    [
        (
            {"kind": "sql", "sql": "select 1", "priorty": "high"},
            422,
            "invalid_input",
            "Did you mean `priority`?",
        ),
        ({"kind": "sqll", "sql": "select 1"}, 422, "invalid_input", "sql"),
        ({"sql": "select 1"}, 422, "invalid_input", "kind"),
        ({"kind": "sql", "sql": "select 1", "cpus": -1}, 422, "invalid_input", "cpus"),
        ({"kind": "sql", "sql": "select 1", "cpus": 10**30}, 422, "invalid_input", "cpus"),
        ({"kind": "sql", "sql": "select 1", "memory": "12 parsecs"}, 422, "invalid_input", "memory"),
        ({"kind": "sql", "sql": "select 1", "memory": "64GiB"}, 422, "never_fits", "8 GiB"),
        ({"kind": "sql", "sql": "select 1", "timeout_s": 0}, 422, "invalid_input", "timeout_s"),
        ({"kind": "sql", "sql": "select 1", "name": "a\u0000b"}, 422, "invalid_input", "name"),
        ({"kind": "sql", "sql": "select 1", "queue": "interactive"}, 422, "invalid_input", "interactive"),
        ({"kind": "sql", "sql": "select 1", "output": {"kind": "inline"}}, 422, "invalid_input", "output"),
        ({"kind": "inspect", "path": "/etc/passwd"}, 422, "invalid_input", "inspect"),
    ],
)
def test_a_bad_submission_is_refused_with_what_is_wrong(
    shared: World, fields: dict[str, Any], status: int, code: str, says: str
):
    before = shared.http.get("/api/v1/jobs").json()
    problem = assert_problem(shared.http.post("/api/v1/jobs", json=fields), status, code)
    assert says in problem["detail"]
    assert shared.http.get("/api/v1/jobs").json() == before


def test_a_request_that_never_fits_names_asked_and_limit(shared: World):
    fields = {"kind": "sql", "sql": "select 1", "memory": "64GiB"}
    problem = assert_problem(shared.http.post("/api/v1/jobs", json=fields), 422, "never_fits")
    assert (problem["asked"], problem["limit"]) == (64 << 30, 8 << 30)


def test_of_a_bulk_submission_each_job_is_accepted_or_refused_by_itself(world: World):
    world.pause()
    jobs = [{"kind": "sql", "sql": "select 1"}, {"kind": "nope"}, 7, {"kind": "sql", "sql": "select 2"}]
    answer = world.http.post("/api/v1/jobs/bulk", json={"jobs": jobs})
    assert answer.status_code == 202
    body = answer.json()
    assert (body["accepted"], body["refused"]) == (2, 2)
    good, unknown, number, last = body["items"]
    assert (good["position"], last["position"]) == (1, 2)
    assert unknown["problem"]["status"] == 422
    assert "JSON object" in number["problem"]["detail"]
    assert world.http.get(f"/api/v1/jobs/{last['job_id']}").json()["sql"] == "select 2"


def test_a_bulk_submission_that_is_too_long_names_the_limit(tmp_path: Path):
    with world_in(tmp_path, max_bulk=3) as small:
        answer = small.http.post("/api/v1/jobs/bulk", json={"jobs": [{"kind": "sql", "sql": "select 1"}] * 4})
        problem = assert_problem(answer, 422, "invalid_input")
        assert (problem["asked"], problem["limit"], problem["field"]) == (4, 3, "jobs")


def test_a_bulk_submission_is_not_read_further_than_its_limit(tmp_path: Path):
    with world_in(tmp_path, max_bulk=3) as small:
        body = '{"jobs": [{}, {}, {}, {}, and so on for 64 MiB'
        answer = small.http.post(
            "/api/v1/jobs/bulk", content=body, headers={"content-type": "application/json"}
        )
        assert_problem(answer, 422, "invalid_input")


def test_a_full_line_answers_429_with_a_retry_after(tmp_path: Path):
    with world_in(tmp_path, max_waiting=2) as small:
        small.pause()
        small.submit()
        small.submit()
        small.service._cycle.run_once()
        answer = small.http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1"})
        problem = assert_problem(answer, 429, "busy")
        assert problem["retry_after_s"] > 0
        assert int(answer.headers["retry-after"]) >= problem["retry_after_s"]


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_the_list_pages_in_its_order_without_gaps(world: World, order: str):
    ids = [world.submit() for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params: dict[str, str | int] = {"limit": 2, "order": order}
        params |= {"cursor": cursor} if cursor else {}
        body = world.http.get("/api/v1/jobs", params=params).json()
        seen += [job["job_id"] for job in body["items"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break
    assert seen == (ids if order == "oldest" else ids[::-1])


def test_a_cursor_of_one_order_is_none_of_the_other(world: World):
    for _ in range(2):
        world.submit()
    cursor = world.http.get("/api/v1/jobs", params={"limit": 1}).json()["next_cursor"]
    answer = world.http.get("/api/v1/jobs", params={"order": "oldest", "cursor": cursor})
    assert_problem(answer, 422, "bad_cursor")


def test_the_list_filters_by_status_kind_and_queue(world: World):
    done = world.submit()
    world.finished(done)
    world.pause("slow")
    waits = world.submit(queue="slow")

    def ids(**params: str) -> list[str]:
        return [job["job_id"] for job in world.http.get("/api/v1/jobs", params=params).json()["items"]]

    assert ids(status="SUCCEEDED") == [done]
    assert ids(queue="slow") == [waits]
    assert ids(kind="sql") == [waits, done]
    assert ids(kind="ingest") == []
    assert_problem(world.http.get("/api/v1/jobs", params={"status": "DONE"}), 422, "invalid_input")


def test_the_services_own_jobs_are_shown_only_when_asked_for(world: World):
    answer = world.http.post("/api/v1/query", json={"sql": "select 42 as answer"})
    assert answer.status_code == 200, answer.text
    assert world.http.get("/api/v1/jobs").json()["items"] == []
    own = world.http.get("/api/v1/jobs", params={"queue": "interactive"}).json()["items"]
    assert [job["job_id"] for job in own] == [answer.json()["job_id"]]


@pytest.mark.parametrize("cursor", ["", "nonsense", "!!", "am9iczo", "c291cmNlczph", "am9iczp4", "x" * 300])
def test_a_foreign_cursor_is_refused(shared: World, cursor: str):
    problem = assert_problem(shared.http.get("/api/v1/jobs", params={"cursor": cursor}), 422, "bad_cursor")
    assert problem["field"] == "cursor"


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "abc", "9" * 400, "NaN", "1.5", ""])
def test_a_limit_out_of_range_names_the_field(shared: World, limit: str):
    problem = assert_problem(shared.http.get("/api/v1/jobs", params={"limit": limit}), 422, "invalid_input")
    assert problem["field"] == "limit"


def test_a_long_poll_ends_with_the_job(world: World):
    world.pause()
    job_id = world.submit()
    assert world.http.get(f"/api/v1/jobs/{job_id}", params={"wait_s": 0.01}).json()["finished_at"] is None
    world.http.post("/api/v1/queues/default/resume")
    assert world.finished(job_id)["job_status"] == "SUCCEEDED"


@pytest.mark.parametrize("wait_s", ["-1", "61", "nan", "inf", "x"])
def test_a_wait_out_of_range_is_refused(shared: World, wait_s: str):
    answer = shared.http.get(f"/api/v1/jobs/{shared.submit()}", params={"wait_s": wait_s})
    assert assert_problem(answer, 422, "invalid_input")["field"] == "wait_s"


def test_a_cancelled_job_that_waits_has_ended_at_once(world: World):
    world.pause()
    job_id = world.submit()
    answer = world.http.post(f"/api/v1/jobs/{job_id}/cancel").json()
    assert (answer["job_status"], answer["ended_tasks"], answer["stopping_attempts"]) == ("CANCELLED", 1, [])
    again = world.http.post(f"/api/v1/jobs/{job_id}/cancel").json()
    assert (again["job_status"], again["ended_tasks"]) == ("CANCELLED", 0)
    assert world.finished(job_id)["job_status"] == "CANCELLED"


def test_tasks_show_their_attempts(world: World):
    job_id = world.submit()
    world.finished(job_id)
    listed = world.http.get(f"/api/v1/jobs/{job_id}/tasks").json()
    assert listed["next_cursor"] is None
    task = listed["items"][0]
    assert (task["task_id"], task["job_id"], task["state"]) == (f"{job_id}.1", job_id, "succeeded")
    attempt = task["attempts"][0]
    assert (attempt["attempt_id"], attempt["state"]) == (f"{job_id}.1.1", "succeeded")
    assert world.http.get(f"/api/v1/tasks/{job_id}.1").json() == task


def test_a_job_that_grows_shows_its_tasks_by_state(world: World):
    def play(assignment: Assignment) -> Played:
        if assignment.key.number == 1:
            wide = Resources(500, 96 * MIB, 0)
            return Played({"files": 7}, new_tasks=[TaskOrder(f"{i}.sql", {}, wide, 9.0) for i in range(7)])
        if assignment.name == "3.sql":
            return Played(exit=Exit(ExitReason.ERROR, "It went wrong.", code="wrong"))
        return Played({"name": assignment.name})

    world.play(play)
    (accepted,) = world.service.store.add_jobs([new_job(world.service.clock.now(), owner="local")])
    assert isinstance(accepted, Accepted)
    world.service._bell.ring("schedule")
    job_id = str(accepted.job_id)
    job = world.finished(job_id)
    assert (job["job_status"], job["tasks"]["succeeded"], job["tasks"]["failed"]) == ("FAILED", 7, 1)
    assert job["exit"]["message"] == f"1 of 8 tasks failed; first: task {job_id}.5: It went wrong."
    base = f"/api/v1/jobs/{job_id}/tasks"
    failed = world.http.get(base, params={"state": "failed"}).json()["items"]
    assert [(task["task_id"], task["exit"]["code"]) for task in failed] == [(f"{job_id}.5", "wrong")]
    assert failed[0]["request"] == {"cpus": 0.5, "memory_bytes": 96 * MIB, "disk_bytes": 0}
    assert failed[0]["timeout_s"] == 9.0
    seen, cursor = [], None
    while True:
        params = {"state": "succeeded", "limit": "3", **({"cursor": cursor} if cursor else {})}
        page = world.http.get(base, params=params).json()
        seen += [task["task_id"] for task in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == [f"{job_id}.{number}" for number in (1, 2, 3, 4, 6, 7, 8)]
    assert world.http.get(f"/api/v1/tasks/{job_id}.2").json()["result"] == {"name": "0.sql"}
    assert_problem(world.http.get(base, params={"state": "gone"}), 422, "invalid_input")


@pytest.mark.parametrize(
    "job_id", ["0", "99999", "-1", "1.5", "abc", "9" * 19, "9" * 300, "٣", "1e3", "%00", "0x1"]
)
def test_an_id_that_no_job_has_is_not_found(shared: World, job_id: str):
    base = f"/api/v1/jobs/{job_id}"
    assert_problem(shared.http.get(base), 404, "not_found")
    for route in ("tasks", "events", "logs", "result"):
        assert_problem(shared.http.get(f"{base}/{route}"), 404, "not_found")
    assert_problem(shared.http.post(f"{base}/cancel"), 404, "not_found")


@pytest.mark.parametrize(
    "task_id", ["1", "1.0", "1.99", "x.y", "9" * 25 + ".1", "1." + "9" * 25, "-1.1", "1.1.1"]
)
def test_an_id_that_no_task_has_is_not_found(shared: World, task_id: str):
    shared.finished(shared.submit())
    assert_problem(shared.http.get(f"/api/v1/tasks/{task_id}"), 404, "not_found")


def test_a_job_that_has_begun_says_why_its_other_tasks_wait(world: World) -> None:
    def play(assignment: Assignment) -> Played:
        world.pause()
        return Played({"files": 2}, new_tasks=[TaskOrder(f"{i}.sql", {}) for i in range(2)])

    world.play(play)
    (accepted,) = world.service.store.add_jobs([new_job(world.service.clock.now(), owner="local")])
    assert isinstance(accepted, Accepted)
    world.service._bell.ring("schedule")
    job_id = str(accepted.job_id)
    job = world.http.get(f"/api/v1/jobs/{job_id}").json()
    while job["tasks"]["queued"] < 2 or job["waiting"]["code"] in ("not_judged", "starting"):
        job = world.http.get(f"/api/v1/jobs/{job_id}").json()
    assert job["job_status"] == "RUNNING"
    assert job["waiting"]["code"] == "queue_paused"
    assert "paused" in job["waiting"]["sentence"]
