from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.support import World, assert_problem, fails_with, world_in
from tidegate.core.attempt import Exit
from tidegate.core.states import ExitReason


def test_a_small_query_is_answered_in_the_request_and_states_its_limits(world: World):
    answer = world.http.post(
        "/api/v1/query", json={"sql": "select 42 as answer", "limit": 10, "timeout_s": 5}
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["columns"] == [{"name": "answer", "type": "INTEGER"}]
    assert (body["rows"], body["row_count"], body["truncated"], body["reached"]) == ([[42]], 1, False, None)
    assert body["limits"] == {"rows": 10, "time_s": 5, "bytes": 8 << 20}
    assert body["elapsed_ms"] > 0
    own = world.http.get(f"/api/v1/jobs/{body['job_id']}").json()
    assert (own["priority"], own["timeout_s"], own["request"]["cpus"]) == ("high", 5, 0)


def test_rows_left_out_are_stated_with_the_limit_that_was_reached(world: World):
    body = world.http.post("/api/v1/query", json={"sql": "select 1", "limit": 1}).json()
    assert (body["truncated"], body["reached"]) == (True, "rows")


@pytest.mark.parametrize(
    ("exit", "status", "code"),
    [
        (Exit(ExitReason.ERROR, "There is no column `x`.", code="unknown_column"), 422, "unknown_column"),
        (Exit(ExitReason.ERROR, "It failed."), 422, "query_failed"),
        (Exit(ExitReason.TIME_LIMIT, "It took longer than 5 s.", 5.0, 5.1), 422, "time_limit"),
        (Exit(ExitReason.MEMORY_LIMIT, "It took 300 MiB of 256 MiB.", 256, 300), 422, "memory_limit"),
        (Exit(ExitReason.HOST_MEMORY, "The host ran out of memory."), 503, "unavailable"),
    ],
)
def test_a_query_that_ends_badly_is_a_problem_with_its_reason(
    world: World, exit: Exit, status: int, code: str
):
    world.play(fails_with(exit))
    problem = assert_problem(world.http.post("/api/v1/query", json={"sql": "select 1"}), status, code)
    assert exit.message in problem["detail"]
    assert problem.get("limit") == exit.limit


def test_a_query_that_finds_no_room_is_told_to_come_back(tmp_path: Path):
    with world_in(tmp_path, query_timeout_s=0.05) as full:
        full.pause("interactive")
        answer = full.http.post("/api/v1/query", json={"sql": "select 1"})
        assert_problem(answer, 429, "busy")
        assert answer.headers["retry-after"] == "1"
        own = full.http.get("/api/v1/jobs", params={"queue": "interactive"}).json()["items"]
        assert [job["job_status"] for job in own] == ["CANCELLED"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "sql"),
        ({"sql": ""}, "sql"),
        ({"sql": 7}, "sql"),
        ({"sql": "select 1", "limit": 0}, "limit"),
        ({"sql": "select 1", "limit": 10_001}, "limit"),
        ({"sql": "select 1", "limit": 2**70}, "limit"),
        ({"sql": "select 1", "timeout_s": 0}, "timeout_s"),
        ({"sql": "select 1", "timeout_s": 11}, "timeout_s"),
        ({"sql": "select 1", "output": {}}, "output"),
    ],
)
def test_a_bad_query_names_the_field(shared: World, fields: dict[str, Any], field: str):
    answer = shared.http.post("/api/v1/query", json=fields)
    assert assert_problem(answer, 422, "invalid_input")["field"] == field


def test_a_query_that_asks_for_more_memory_than_there_is_never_fits(shared: World):
    answer = shared.http.post("/api/v1/query", json={"sql": "select 1", "memory": "64GiB"})
    assert_problem(answer, 422, "never_fits")
