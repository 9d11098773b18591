from __future__ import annotations

from pathlib import Path

from tests.api.support import Played, World, assert_problem, fails_with
from tidegate.core.attempt import Exit
from tidegate.core.states import ExitReason


def test_a_result_is_described_with_links_to_its_source_and_files(world: World):
    job_id = world.submit(result_name="answers")
    world.finished(job_id)
    result = world.http.get(f"/api/v1/jobs/{job_id}/result").json()
    assert (result["job_id"], result["job_status"], result["source"]) == (job_id, "SUCCEEDED", "answers")
    assert (result["row_count"], result["rows"]) == (1, None)
    for link in result["links"].values():
        assert world.http.get(link).status_code == 200


def test_a_result_nobody_named_gets_a_name(world: World):
    job_id = world.submit()
    assert world.finished(job_id)["result"]["source"] == f"async_result_{job_id}"


def test_rows_of_a_result_come_with_a_limit(world: World):
    job_id = world.submit()
    world.finished(job_id)
    result = world.http.get(f"/api/v1/jobs/{job_id}/result", params={"limit": 10, "offset": 2}).json()
    assert result["rows"] == [[42]]


def test_a_result_downloads_as_parquet_and_csv(world: World):
    job_id = world.submit()
    path = Path(world.finished(job_id)["result"]["path"])
    url = f"/api/v1/jobs/{job_id}/result"
    assert world.http.get(url, params={"format": "parquet"}).content == path.read_bytes()
    part = world.http.get(url, params={"format": "parquet"}, headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"PAR1")
    assert world.http.get(url, params={"format": "csv"}).content.startswith(b"PAR1 csv")
    assert_problem(world.http.get(url, params={"format": "exe"}), 422, "unsupported_format")


def test_a_result_that_is_not_there_yet_is_a_conflict(world: World):
    world.pause()
    answer = world.http.get(f"/api/v1/jobs/{world.submit()}/result")
    assert "wait_s" in assert_problem(answer, 409, "not_finished")["detail"]


def test_a_failed_jobs_result_says_why_it_failed(world: World):
    world.play(fails_with(Exit(ExitReason.TIME_LIMIT, "It took longer than 5 s.", 5.0, 5.01, "timer")))
    job_id = world.submit()
    world.finished(job_id)
    problem = assert_problem(world.http.get(f"/api/v1/jobs/{job_id}/result"), 409, "job_failed")
    assert problem["exit"]["reason"] == problem["numbers"]["reason"] == "time_limit"
    assert (problem["limit"], problem["numbers"]["observed"]) == (5.0, 5.01)
    assert "longer than 5 s" in problem["detail"]


def test_a_cancelled_job_has_no_result(world: World):
    world.pause()
    job_id = world.submit()
    world.http.post(f"/api/v1/jobs/{job_id}/cancel")
    problem = assert_problem(world.http.get(f"/api/v1/jobs/{job_id}/result"), 409, "job_failed")
    assert problem["job_status"] == "CANCELLED"


def test_a_deleted_result_is_not_taken_for_another_of_its_name(world: World):
    first = world.submit(result_name="answers")
    world.finished(first)
    assert world.http.delete("/api/v1/sources/answers").status_code == 204
    second = world.submit(result_name="answers")
    world.finished(second)
    gone = world.http.get(f"/api/v1/jobs/{first}/result", params={"format": "parquet"})
    assert_problem(gone, 404, "no_result")
    there = world.http.get(f"/api/v1/jobs/{second}/result", params={"format": "parquet"})
    assert there.status_code == 200


def test_a_job_without_a_result_says_so(world: World):
    world.play(lambda assignment: Played(None))
    job_id = world.submit()
    world.finished(job_id)
    assert_problem(world.http.get(f"/api/v1/jobs/{job_id}/result"), 404, "no_result")
